"""What results keep of what their input says."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from ccsr.images.metadata import MAX_TEXT, Metadata
from ccsr.images.picture import Picture
from ccsr.images.reading import load_picture
from ccsr.images.writing import save_png
from tests.unit.images.picture_files import encoded, levels, smooth

TAKEN = "2024:05:06 07:08:09"


def photograph(format: str) -> bytes:
    """A turned photograph with a thumbnail's tag, a place and a serial number."""
    exif = Image.Exif()
    exif[Base.Make], exif[Base.Model] = "Maker", "Camera 3"
    exif[Base.Copyright], exif[Base.Orientation] = "© Ada", 6
    photo: Any = exif.get_ifd(IFD.Exif)
    photo[Base.DateTimeOriginal], photo[Base.ExposureTime] = TAKEN, 0.004
    photo[Base.BodySerialNumber], photo[Base.ExifImageWidth] = "12345", 48
    place: Any = exif.get_ifd(IFD.GPSInfo)
    place[GPS.GPSLatitudeRef] = "N"
    options = {"dpi": (300, 300)} if format != "WEBP" else {}
    return encoded(Image.fromarray(smooth()), format, exif=exif, **options)


def rewritten(picture: Picture, path: Path) -> Image.Image:
    save_png(path, picture)
    return Image.open(path)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_date_camera_copyright_and_dpi_are_kept(tmp_path: Path, format: str, bits: int) -> None:
    picture = load_picture(io.BytesIO(photograph(format)))
    result = Picture(picture.rgb, bits=bits, metadata=picture.metadata)
    with rewritten(result, tmp_path / "a.png") as image:
        exif = image.getexif()
        photo = exif.get_ifd(IFD.Exif)
        assert (exif[Base.Make], exif[Base.Model]) == ("Maker", "Camera 3")
        if format != "TIFF":  # in which Pillow writes ASCII texts of the first directory only
            assert photo[Base.DateTimeOriginal] == TAKEN
            assert float(photo[Base.ExposureTime]) == pytest.approx(0.004)
            assert "Ada" in exif[Base.Copyright]
        if format != "WEBP":
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        # Upright already, of another size, and nobody's business.
        assert Base.Orientation not in exif
        assert not {Base.BodySerialNumber, Base.ExifImageWidth} & set(photo)
        assert not exif.get_ifd(IFD.GPSInfo)
        assert not exif.get_ifd(IFD.IFD1)


def test_a_picture_without_metadata_gets_none(tmp_path: Path) -> None:
    picture = load_picture(io.BytesIO(encoded(Image.fromarray(levels(20, 30)), "PNG")))
    assert picture.metadata is None
    with rewritten(picture, tmp_path / "a.png") as image:
        assert not image.getexif()
        assert "dpi" not in image.info


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0rubbish", b"Exif\0\0MM\0*\0\0\xff\xff"])
def test_damaged_metadata_does_not_lose_the_picture(exif: bytes) -> None:
    content = encoded(Image.fromarray(smooth()), "JPEG", exif=exif)
    picture = load_picture(io.BytesIO(content))
    assert picture.size == (32, 48)
    assert picture.metadata is None or not picture.metadata.exif


def test_huge_texts_are_left_out(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[Base.ImageDescription], exif[Base.Model] = "x" * (MAX_TEXT + 1), "Camera"
    content = encoded(Image.fromarray(smooth()), "JPEG", exif=exif)
    with rewritten(load_picture(io.BytesIO(content)), tmp_path / "a.png") as image:
        assert dict(image.getexif()) == {Base.Model: "Camera"}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("bits", [8, 16])
def test_nothing_but_a_finite_picture_is_written(tmp_path: Path, bits: int, bad: float) -> None:
    """NaN once became black without a word."""
    rgb = np.zeros((16, 16, 3), np.float32)
    rgb[3, 4, 1] = bad
    with pytest.raises(ValueError, match=r"a\.png is not written.*not finite.*--dtype"):
        save_png(tmp_path / "a.png", Picture(rgb, bits=bits, metadata=Metadata()))
    assert list(tmp_path.iterdir()) == []

"""Degraded test sets: LR pictures of a folder of HR pictures, and how each was made."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ccsr.config import DegradationModel
from ccsr.degradation.draws import generator_for
from ccsr.degradation.folder import MAX_HR_PIXELS, picture_paths
from ccsr.degradation.models import draw
from ccsr.degradation.operations import Degradation
from ccsr.errors import InputError
from ccsr.images.picture import picture_from_array
from ccsr.images.reading import load_picture
from ccsr.images.tensors import to_array, to_tensor, to_uint8
from ccsr.images.writing import save_png
from ccsr.whole_file import make_folder

MANIFEST = "manifest.jsonl"


class ManifestEntry(BaseModel):
    """One picture of a test set, a line of the manifest."""

    model_config = ConfigDict(frozen=True)

    index: int
    """Of the picture in the sorted folder; the draw is a function of (seed, index)."""
    seed: int
    hr: str
    """Path below HR_DIR."""
    lr: str
    """Path below OUT_DIR."""
    hr_size: tuple[int, int]
    """Height and width that were degraded: the top left part of HR in multiples of the scale."""
    degradation: Degradation


def write_test_set(
    hr_folder: Path, output: Path, model: DegradationModel, seed: int, scale: int
) -> Iterator[ManifestEntry]:
    """Degrade every picture of a folder and its subfolders, yielding each entry once written.

    Raises:
        InputError: If the folder holds no picture, a file is no picture, or the names of two differ
            in their suffix alone.
        FileExistsError: If `output` is not empty.
    """
    paths = picture_paths(hr_folder)
    names = [path.relative_to(hr_folder).with_suffix(".png") for path in paths]
    if repeated := [str(name) for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"more than one picture in {hr_folder} is called {', '.join(repeated)}")
    if output.exists() and any(output.iterdir()):
        raise FileExistsError(f"{output} is not empty; give a new folder")
    make_folder(output)
    with (output / MANIFEST).open("x") as manifest:
        for index, (path, name) in enumerate(zip(paths, names, strict=True)):
            hr = to_tensor(load_picture(path, max_pixels=MAX_HR_PIXELS).rgb)
            height, width = (side // scale * scale for side in hr.shape[2:])
            degradation = draw(model, scale, generator_for(seed, index))
            lr = to_uint8(to_array(degradation.apply(hr[:, :, :height, :width])))
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            save_png(output / name, picture_from_array(lr))
            entry = ManifestEntry(
                index=index,
                seed=seed,
                hr=path.relative_to(hr_folder).as_posix(),
                lr=name.as_posix(),
                hr_size=(height, width),
                degradation=degradation,
            )
            manifest.write(entry.model_dump_json() + "\n")
            yield entry

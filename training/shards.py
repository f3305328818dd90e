"""Shards: tar files of pictures, as WebDataset has them.

https://github.com/webdataset/webdataset. WebDataset reads shards from their beginning to their end
and shuffles what passes by. Here an example is a function of seed and index, so that pictures are
asked for in any order: the places of the members are found once, and each is read where it lies.
"""

import logging
import re
import tarfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ccsr.degradation.folder import SUFFIXES
from ccsr.errors import InputError, raised_here
from training.picture_file import PictureFile

logger = logging.getLogger(__name__)

_NAME = re.compile(r"\.(tar|tar\.\w+|tgz|tbz2?|txz|tzst)$", re.IGNORECASE)
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
"""How files of gzip, bzip2, xz and zstd begin."""
_BLOCK = 512
"""Bytes of a block of a tar file, https://www.gnu.org/software/tar/manual/html_node/Standard.html."""


@dataclass(frozen=True)
class Shard:
    """What is in a tar file."""

    pictures: dict[str, PictureFile]
    """By their names in it, in its order; what is no picture by its name is passed over."""
    faults: dict[PictureFile, str]
    """Members, or the tar file itself, that cannot be read, and why."""


def is_shard(path: Path) -> bool:
    """Whether a file is a tar file by its name, compressed or not."""
    return _NAME.search(path.name) is not None and path.is_file()


def read_shard(path: Path) -> Shard:
    """Look up where the pictures of a tar file are.

    Raises:
        InputError: If it is compressed.
    """
    with path.open("rb") as file:
        if file.read(8).startswith(_COMPRESSED):
            raise InputError(
                f"{path} is compressed, so that a picture cannot be read where it lies; unpack it, "
                "and make the shard by tar -cf: pictures are compressed already"
            )
    stat = path.stat()
    return _read(path, stat.st_size, stat.st_mtime_ns)


@cache
def _read(path: Path, size: int, changed: int) -> Shard:
    """Each step of a recipe asks for the pictures anew; a shard is scanned once."""
    pictures: dict[str, PictureFile] = {}
    faults: dict[PictureFile, str] = {}
    last = ""
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                last = member.name
                if member.isdir() or Path(last).suffix.lower() not in SUFFIXES:
                    continue
                picture = PictureFile(path, last, member.offset_data, member.size)
                if not member.isreg() or member.issparse():
                    faults[picture] = "it is a link or has holes; add --dereference to tar"
                elif member.offset_data + member.size > size:
                    faults[picture] = "its end is missing"
                else:
                    pictures[last] = picture
            file.seek(tar.offset)
            whole = not file.read(_BLOCK).strip(b"\0")
    except Exception as error:  # tarfile raises what it will on damaged files
        if raised_here(error) and not isinstance(error, OSError):
            raise
        logger.debug("%s is damaged", path, exc_info=True)
        whole = False
    if not whole:
        reason = f"nothing behind {last} can be read" if last else "it is no tar file"
        faults[PictureFile(path)] = reason
    return Shard(pictures, faults)

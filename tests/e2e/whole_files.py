"""Whether files that were written are whole."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ccsr.images.reading import load_picture


def check_whole(path: Path, num_rows: int | None = None) -> None:
    """Read a file to its end, by its kind; a table has `num_rows` rows, if they are known."""
    if path.suffix == ".png":
        load_picture(path)
    elif path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".npy":
        np.load(path)
    elif path.suffix == ".csv":
        rows = list(csv.reader(path.open(newline="")))
        assert len({len(row) for row in rows}) == 1
        assert len(rows) == (num_rows or len(rows))
    elif path.suffix == ".zip":
        assert shutil.unpack_archive(path, path.parent / "unpacked") is None
    else:
        pytest.fail(f"{path} is of no known kind")

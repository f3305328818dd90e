"""The pictures that tests share."""

import os
from pathlib import Path

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    # The processes of `pytest -n` share the cores, and so do the programs that they start.
    threads = max(1, (os.cpu_count() or 1) // int(workers))
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))

import numpy as np
import pytest
from PIL import Image
from skimage import data


@pytest.fixture
def picture_file(tmp_path: Path) -> Path:
    """A photograph of 60x40 pixels."""
    path = tmp_path / "cat.png"
    Image.fromarray(data.chelsea()).resize((60, 40), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def reference_file(tmp_path: Path) -> Path:
    """The same photograph, four times as large."""
    path = tmp_path / "cat_large.png"
    Image.fromarray(data.chelsea()).resize((240, 160), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def photograph() -> np.ndarray:
    """[64,96,3] float32 in [0,1]."""
    small = Image.fromarray(data.coffee()).resize((96, 64), Image.Resampling.BICUBIC)
    return np.asarray(small, np.float32) / 255

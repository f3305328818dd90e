import os
import time
from pathlib import Path

import numpy as np
import pytest

from ccsr.images.picture import Picture, Size
from ccsr.ui import files


def test_the_bicubic_enlargement_keeps_transparency() -> None:
    rgb = np.full((20, 30, 3), 0.5, np.float32)
    alpha = np.zeros((20, 30), np.float32)
    alpha[:, 15:] = 1
    enlarged = files.bicubic(Picture(rgb, alpha, bits=16), Size(40, 60))
    assert enlarged.size == (40, 60)
    assert enlarged.alpha is not None
    assert enlarged.alpha[:, :20].max() < 0.01
    assert enlarged.alpha[:, 40:].min() > 0.99


def test_files_of_old_runs_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    old, recent = files.new_folder(), files.new_folder()
    long_ago = time.time() - files.KEEP_SECONDS - 60
    os.utime(old, (long_ago, long_ago))
    files.new_folder()
    assert not old.exists()
    assert recent.exists()

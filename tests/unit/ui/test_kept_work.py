"""What a page that opens makes of what the browser kept."""

from pathlib import Path
from typing import Any

import pytest
from gradio.utils import get_upload_folder

from ccsr.ui.kept_work import opened, work_of
from tests.fakes import FakeEngine

INFO = FakeEngine().info


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "served"))
    folder = Path(get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_a_picture_without_its_result_is_kept_alone(uploads: Path, picture_file: Path) -> None:
    kept = uploads / "cat.png"
    kept.write_bytes(picture_file.read_bytes())
    found = work_of(str(kept), None)
    assert found == {"picture": str(kept)}
    assert opened(INFO, found) == (str(kept), None, "", None)
    assert opened(INFO, {**found, "result": str(uploads / "gone.png")})[3] is None
    # It is no result: it holds no settings.
    assert opened(INFO, {**found, "result": str(kept)})[3] is None


@pytest.mark.parametrize("found", [None, [], "x", {}, {"picture": 3}, {"picture": "/etc/passwd"}])
def test_what_was_not_sent_here_is_not_opened(uploads: Path, found: Any) -> None:  # noqa: ANN401
    assert "/etc/passwd" not in str(opened(INFO, found))


def test_nothing_is_kept_without_a_picture() -> None:
    assert work_of(None, None) is None

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import LocalTokenNotFoundError

from training.export import ORIGIN_OF_MODEL
from training.publish import main

MADE = {
    "variants": "ccsr, v2",
    "recipe": {"stage1": {"t_max": 0.6667}},
    "fingerprints": {"stage1": "0a1b2c"},
}


class FakeHub:
    """Keeps what is uploaded."""

    error: Exception | None = None

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.files: dict[str, str] = {}

    def create_repo(self, repository: str, **options: object) -> None:
        if self.error is not None:
            raise self.error
        self.calls.append((repository, options))

    def upload_folder(self, *, repo_id: str, folder_path: Path) -> str:
        self.files = {path.name: path.read_text() for path in folder_path.iterdir()}
        return f"https://huggingface.co/{repo_id}/commit/1"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    fake = FakeHub()
    monkeypatch.setattr("training.publish.HfApi", lambda: fake)
    return fake


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model_index.json").write_text("{}")
    (folder / ORIGIN_OF_MODEL).write_text(json.dumps(MADE))
    return folder


def test_model_is_uploaded_with_a_card_of_recipe_fingerprints_and_scores(
    hub: FakeHub, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = tmp_path / "tables"
    scores.mkdir()
    (scores / "RealSR-table1.md").write_text("### Table 1. RealSR\n")
    more = ["--scores", str(scores), "--licence", "openrail++", "--private"]
    assert main([str(model), "me/mine", *more]) == 0
    assert hub.calls == [("me/mine", {"private": True, "exist_ok": True})]
    assert hub.files.keys() == {"model_index.json", ORIGIN_OF_MODEL, "README.md"}
    card = hub.files["README.md"]
    assert card.startswith("---\nlibrary_name: diffusers\n")
    for part in ("license: openrail++", "# mine", "--model me/mine", "variants ccsr, v2",
                 '"t_max": 0.6667', "| stage1 | `0a1b2c` |", "### Table 1. RealSR"):  # fmt: skip
        assert part in card
    assert "https://huggingface.co/me/mine/commit/1" in capsys.readouterr().out


def test_card_that_was_written_by_hand_is_kept(hub: FakeHub, model: Path) -> None:
    (model / "README.md").write_text("by hand")
    assert main([str(model), "me/mine"]) == 0
    assert hub.files["README.md"] == "by hand"


def test_nothing_is_uploaded_without_a_model_tables_or_a_login(
    hub: FakeHub, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), "me/mine"]) == 2
    assert "holds no model_index.json" in capsys.readouterr().err
    assert main([str(model), "me/mine", "--scores", str(tmp_path)]) == 2
    assert "holds no tables" in capsys.readouterr().err
    hub.error = LocalTokenNotFoundError("Token is required")
    assert main([str(model), "me/mine"]) == 2
    assert "me/mine could not be written to (Token is required); log in" in capsys.readouterr().err
    assert not hub.files
    (model / "README.md").unlink()
    (model / ORIGIN_OF_MODEL).unlink()
    assert main([str(model), "me/mine"]) == 2
    assert "export anew" in capsys.readouterr().err

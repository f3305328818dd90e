"""What the content of a run folder was made with, so that nothing else is mixed into it."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RECORD = "made_with.json"

Record = dict[str, Any]
"""Names like "stage1.t_max" -> values, and names of steps -> digests of what they left."""


def record_of(sections: Mapping[str, Any], sources: Mapping[str, Path]) -> Record:
    """The record of something made with parts of a recipe from what earlier steps left.

    Args:
        sections: Name -> dataclass, or its values by name.
        sources: Step -> folder of networks.
    """
    keys = {
        f"{name}.{key}": value
        for name, section in sections.items()
        for key, value in _values(section).items()
    }
    record = keys | {f"networks of {step}": digest(folder) for step, folder in sources.items()}
    return json.loads(json.dumps(record))


def _values(section: Any) -> Mapping[str, Any]:  # noqa: ANN401 - any dataclass
    return section if isinstance(section, Mapping) else dataclasses.asdict(section)


def digest(folder: Path) -> str:
    """Of all weights in a folder."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def claim(folder: Path, record: Record) -> None:
    """Leave a record in a folder, which is made if it is not there.

    Raises:
        ValueError: If the folder has another record.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RECORD
    if path.exists() and (found := json.loads(path.read_text())) != record:
        names = sorted(k for k in record.keys() | found.keys() if found.get(k) != record.get(k))
        raise ValueError(
            f"{folder} holds what was made with other {', '.join(names)}; give another run folder, "
            "or delete this one to start it anew"
        )
    path.write_text(json.dumps(record, indent=1))

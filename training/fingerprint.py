"""Fingerprint of a run folder: what its content was computed from.

The content of a folder is only ever continued with an equal fingerprint, so that results of two
recipes are not mixed in it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ccsr.errors import InputError
from ccsr.inference.weights import weights_hash
from ccsr.option import Config
from ccsr.whole_file import make_folder, write_whole
from training.config import CHANGEABLE

FINGERPRINT_FILE = "made_with.json"

Fingerprint = dict[str, Any]
"""Settings by name, such as "stage1.t_max", and hashes of the networks of earlier steps."""


def fingerprint_of(sections: Mapping[str, Any], sources: Mapping[str, Path]) -> Fingerprint:
    """Fingerprint of a computation with some settings and networks.

    Args:
        sections: Parts of a recipe by name, each a config or a mapping.
        sources: Folders of networks, by the step that made them.
    """
    settings = {
        f"{name}.{key}": value
        for name, section in sections.items()
        for key, value in _values(section).items()
    }
    networks = {f"networks of {step}": weights_hash(folder) for step, folder in sources.items()}
    # Through JSON, so that it equals what is read back from a file: tuples become lists.
    return json.loads(json.dumps(settings | networks))


def _values(section: Config | Mapping[str, Any]) -> Mapping[str, Any]:
    return section.model_dump() if isinstance(section, Config) else section


def read_fingerprint(folder: Path) -> Fingerprint:
    """The fingerprint of a folder; empty if it has none yet."""
    path = folder / FINGERPRINT_FILE
    return json.loads(path.read_text()) if path.exists() else {}


def _comparable(fingerprint: Fingerprint) -> Fingerprint:
    """A fingerprint without what a training may go on with other values of."""
    return {
        name: {k: v for k, v in value.items() if k not in CHANGEABLE}
        if name.endswith(".loop")
        else value
        for name, value in fingerprint.items()
    }


def ensure_fingerprint(folder: Path, fingerprint: Fingerprint) -> None:
    """Create a folder with a fingerprint, or check that an existing folder has an equal one.

    Raises:
        InputError: If the folder has another fingerprint.
    """
    make_folder(folder)
    path = folder / FINGERPRINT_FILE
    if path.exists():
        found, asked = (_comparable(f) for f in (read_fingerprint(folder), fingerprint))
        different = sorted(k for k in found.keys() | asked.keys() if found.get(k) != asked.get(k))
        if different:
            raise InputError(
                f"{folder} was made with other values of {', '.join(different)}; give another run "
                "folder, or delete this one to start it anew"
            )
    write_whole(path, json.dumps(fingerprint, indent=1), overwrite=True)

"""Weight files."""

import hashlib
from pathlib import Path


def weights_hash(folder: Path) -> str:
    """SHA-256 over all safetensors files of a folder and its subfolders."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()

"""Where networks compute, and in which number format."""

import os


def on_zerogpu() -> bool:
    """Whether this is a Hugging Face Space on ZeroGPU, whose GPU is there during calls only."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")

"""CCSR: super-resolution by diffusion whose results hardly depend on the seed.

Shapes are written with: B batch, C channels, H, W pixels of the result, h, w latents. Pixels are
in [0,1], latents are scaled, t_max and t_min are fractions of the diffusion process.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "CCSRPipeline": "ccsr.pipeline",
    "NonUniformScheduler": "ccsr.schedule",
    "Picture": "ccsr.images",
    "PictureError": "ccsr.images",
    "SamplingConfig": "ccsr.config",
    "StabilityReport": "ccsr.stability",
    "load_engine": "ccsr.weights",
    "load_picture": "ccsr.images",
    "save_png": "ccsr.images",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Import a public name when it is first used: `import ccsr` alone stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ccsr' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

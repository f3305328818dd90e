"""CCSR: super-resolution by diffusion whose results hardly depend on the seed.

Shapes are written with: B batch, C channels, H, W pixels of the result, h, w latents. Pixels are
in [0,1], latents are scaled, t_max and t_min are fractions of the diffusion process.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ccsr.config import SamplingConfig as SamplingConfig
    from ccsr.images import Picture as Picture
    from ccsr.images import PictureError as PictureError
    from ccsr.images import load_picture as load_picture
    from ccsr.images import save_png as save_png
    from ccsr.pipeline import CCSRPipeline as CCSRPipeline
    from ccsr.schedule import NonUniformScheduler as NonUniformScheduler
    from ccsr.stability import StabilityReport as StabilityReport
    from ccsr.weights import load_engine as load_engine

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


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Import a public name when it is first used: `import ccsr` alone stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ccsr' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

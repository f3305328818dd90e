"""CCSR: super-resolution by diffusion whose results hardly depend on the seed.

Shapes are written with: B batch, C channels, H, W pixels of the result, h, w latents. Pixels are
in [0,1], latents are scaled, t_max and t_min are fractions of the diffusion process.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ccsr.config import SamplingConfig as SamplingConfig
    from ccsr.diffusion.scheduler import NonUniformScheduler as NonUniformScheduler
    from ccsr.evaluation.stability import StabilityReport as StabilityReport
    from ccsr.images.picture import Picture as Picture
    from ccsr.images.picture import PictureError as PictureError
    from ccsr.images.reading import load_picture as load_picture
    from ccsr.images.writing import save_png as save_png
    from ccsr.inference.engine import load_engine as load_engine
    from ccsr.inference.pipeline import CCSRPipeline as CCSRPipeline

_HOMES = {
    "CCSRPipeline": "ccsr.inference.pipeline",
    "NonUniformScheduler": "ccsr.diffusion.scheduler",
    "Picture": "ccsr.images.picture",
    "PictureError": "ccsr.images.picture",
    "SamplingConfig": "ccsr.config",
    "StabilityReport": "ccsr.evaluation.stability",
    "load_engine": "ccsr.inference.engine",
    "load_picture": "ccsr.images.reading",
    "save_png": "ccsr.images.writing",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Import a public name when it is first used: `import ccsr` alone stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ccsr' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

"""The pipeline class of this folder, for diffusers; it needs the package ccsr.

DiffusionPipeline.from_pretrained(FOLDER, custom_pipeline=FOLDER, trust_remote_code=True)
"""

from ccsr.inference.pipeline import CCSRPipeline

__all__ = ["CCSRPipeline"]

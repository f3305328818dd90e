"""The authors' weights, v1 checkpoints and v2 folders, converted to model folders.

Names and shapes decide where each weight goes, before any weight is read; the result is a folder in
diffusers layout. `python -m ccsr convert` runs it, and `inference` loads the folder.
"""

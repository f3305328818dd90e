"""The authors' weights, v1 checkpoints and v2 folders, turned into model folders.

Takes files of weights, reads names and shapes first, and writes a folder in diffusers layout.
`python -m ccsr convert` runs it.
"""

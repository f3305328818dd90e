"""Picture files, arrays and tensors, and colour alignment.

Reads files and arrays into `Picture`s (rgb [H,W,3] float32 in [0,1], alpha apart), converts them to
and from tensors [B,3,H,W], and writes results as PNG. All other packages work on these types.
"""

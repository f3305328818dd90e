"""Picture files, arrays and tensors.

Takes files and arrays in, gives `Picture`s (rgb [H,W,3] float32 in [0,1], alpha apart) and tensors
[B,3,H,W], and writes results back. Everything that touches pixels uses it; it knows no network.
"""

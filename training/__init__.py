"""Training of a model: autoencoder, uniform diffusion (V1), and the paper's two stages (V2, CCSR).

Takes a recipe (TOML) and folders of pictures, degrades them to LR/HR pairs, and writes a run folder
with checkpoints and a model folder. `python -m training` runs it; `ccsr` never imports it.
"""

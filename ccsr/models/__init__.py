"""The networks: autoencoders, ControlNet, LR adapter, text states, and how they are tiled.

Takes and gives tensors: pixels [B,3,H,W] in [0,1], scaled latents [B,C,h,w].
The pipeline, conversion and training build on them; none of them knows files or settings.
"""

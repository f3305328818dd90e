"""Networks: autoencoders, ControlNet, LR adapter, prompt embeddings, and their tiling.

They map tensors to tensors: pixels [B,3,H,W] in [0,1] and scaled latents [B,C,h,w].
`inference`, `conversion` and `training` build on them; files and devices are handled there.
"""

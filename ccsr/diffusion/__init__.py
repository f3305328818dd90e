"""The method of the paper: timesteps, noise schedule, sampler (Eq. 1 and Sec. 3.2).

From a network, a function of (x_t, t), and seeded noise it computes estimates of the clean latent.
`models`, `inference` and `training` use it; pictures and model classes are not its concern.
"""

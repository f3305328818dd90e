"""The method of the paper: timesteps, noise schedule, sampler (Eq. 1 and Sec. 3.2).

Takes a network as a function of (x_t, t) and seeded noise, gives estimates of the clean latent.
The pipeline and training use it; it knows neither pictures nor model classes.
"""

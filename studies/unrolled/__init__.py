"""Metz et al. 2017: Unrolled generative adversarial networks."""

"""Gulrajani et al. 2017: Improved training of Wasserstein GANs."""

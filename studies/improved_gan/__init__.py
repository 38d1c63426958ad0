"""Salimans et al. 2016: Improved techniques for training GANs."""

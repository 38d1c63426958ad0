"""Irpan 2017: Read-through: Wasserstein GAN; and what slides on it add."""

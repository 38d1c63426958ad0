"""Arjovsky and Bottou 2017: Towards principled methods for training GANs."""

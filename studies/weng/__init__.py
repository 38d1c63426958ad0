"""Weng 2017: From GAN to WGAN."""

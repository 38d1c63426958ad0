"""Goodfellow et al. 2014: Generative adversarial nets."""

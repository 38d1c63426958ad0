"""Tolstikhin et al. 2018: Wasserstein auto-encoders."""

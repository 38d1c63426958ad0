"""Figures of merit for sets of images: pure functions on arrays, and the feature extractors."""

"""Draws images from a generator file without torch, as an application needs them."""

"""Choosing what `auto` stands for: from the images, this machine, and what was measured."""

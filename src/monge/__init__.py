"""monge: from images to a generator that other programs can use."""

__version__ = "0.1.0"

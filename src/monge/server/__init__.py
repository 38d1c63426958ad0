"""A generator behind HTTP: requests share batches, and a new champion takes over in between."""

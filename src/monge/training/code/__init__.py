"""The code that decides the bits of a training: read, brought to a normal form, and hashed."""

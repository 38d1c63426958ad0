"""The cost of a training before it is done: memory, time, disk."""

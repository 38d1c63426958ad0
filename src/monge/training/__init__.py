"""The training engine: `loop.train` reads like the paper's Algorithm 1."""

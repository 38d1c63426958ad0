"""A training on disk: checkpoints, what they belong to, and how one goes on from them."""

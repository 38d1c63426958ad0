"""The routes: what a client may ask, and the fast path to the busy ones."""

"""Layers in front of the routes: who may ask, which methods, and redirects behind a proxy."""

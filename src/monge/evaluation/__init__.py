"""Judging a sampler against a dataset, and drawing the report."""

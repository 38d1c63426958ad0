"""The papers' claims, run here: each a short script with its figure and its number."""

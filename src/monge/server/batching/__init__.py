"""Requests that wait together are drawn in one batch."""

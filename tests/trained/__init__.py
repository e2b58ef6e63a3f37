"""Trained networks, used elsewhere."""

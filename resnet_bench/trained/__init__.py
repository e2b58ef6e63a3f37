"""Trained networks: used elsewhere, operated on, trained on from there."""

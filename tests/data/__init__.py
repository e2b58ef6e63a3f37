"""Datasets, pictures, batches."""

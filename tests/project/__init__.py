"""The repository itself: its shape, its versions, its benchmarks."""

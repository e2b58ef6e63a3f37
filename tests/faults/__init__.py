"""Faults that the harness must survive, injected on purpose."""

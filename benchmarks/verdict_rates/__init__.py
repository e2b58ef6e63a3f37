"""How often verdicts are right, on simulated studies whose truth is known: `python -m benchmarks.verdict_rates`."""

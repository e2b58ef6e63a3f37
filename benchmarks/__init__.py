"""How fast it is, how often the gate and the verdicts are right; see README.md beside this."""

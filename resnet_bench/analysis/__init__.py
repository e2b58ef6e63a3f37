"""What a study's numbers support: tests and intervals over seeds, claims and their verdicts. Needs no torch."""

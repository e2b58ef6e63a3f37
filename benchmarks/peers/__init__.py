"""Training beside the loop that people write today: speed and memory (`make bench-peers`)."""

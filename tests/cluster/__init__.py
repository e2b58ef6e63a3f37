"""Ray clusters of several nodes on one machine, and what may happen to them."""

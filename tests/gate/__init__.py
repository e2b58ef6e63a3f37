"""The throughput gate."""

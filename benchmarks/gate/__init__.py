"""Is the throughput gate right: gates whose answer is known, and resampling of their pairs."""

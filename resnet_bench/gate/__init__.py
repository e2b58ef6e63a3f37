"""The throughput gate: two checkouts of this code side by side, counted exactly and timed in pairs."""

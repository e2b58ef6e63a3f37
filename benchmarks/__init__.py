"""How fast it is: benchmarks of every part (`make bench`), and against the loop that people write (`make peers`)."""

"""Cases of pytest-benchmark: the speed of every part (`make bench`)."""

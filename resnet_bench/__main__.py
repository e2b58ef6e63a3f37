"""Entry point of `python -m resnet_bench`."""

import sys

from resnet_bench.cli import main

if __name__ == "__main__":  # worker processes import this module again
    sys.exit(main())

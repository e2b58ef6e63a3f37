"""Entry point of `python -m resnet_bench`."""

import sys

from resnet_bench.cli import main

sys.exit(main())

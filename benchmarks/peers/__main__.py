"""`python -m benchmarks.peers`."""

import sys

from benchmarks.peers.speed import main
from resnet_bench.errors import Failure, UsageError

try:
    main()
except (UsageError, Failure) as error:
    print(f"peers: {error}", file=sys.stderr)
    sys.exit(error.exit_code)

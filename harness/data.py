"""Door: `python -m harness.data {prepare, verify, list}`."""

import sys

from harness.tasks.benchmarks.cli import main

if __name__ == "__main__":
    sys.exit(main())

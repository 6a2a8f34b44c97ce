"""Door: `python -m harness.evaluate TARGET … [key=value …]`, see `harness.evaluation.evaluate_command`."""

import sys

from harness.evaluation.evaluate_command import main

if __name__ == "__main__":
    sys.exit(main())

"""Door: `python -m harness.ask QUESTION [key=value …]`, see `harness.evaluation.ask_command`."""

import sys

from harness.evaluation.ask_command import main

if __name__ == "__main__":
    sys.exit(main())

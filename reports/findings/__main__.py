"""Write FINDINGS.md, its pictures and the README's result from the studies in reports/results.

python -m reports.findings
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from harness.paths import checkout, command


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=command("findings", "reports.findings"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(arguments)
    if checkout() is None:
        print("findings are made in a checkout of the repository: an installed copy has no results", file=sys.stderr)
        return 2
    from reports.findings.page import FINDINGS_FILE, regenerate  # heavy: after the arguments were read

    page = regenerate()
    print(f"{FINDINGS_FILE} with {len(page.pictures)} pictures, and the README's result")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Store a finished sweep as small data, for `reports/FINDINGS.md`.

    python -m reports.packing runs/studies/granularity

Exit status: 0 done, 1 the sweep is not finished or cannot be read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.paths import checkout, command
from harness.types.redact import error_text


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=command("results", "reports.packing"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", help="a sweep's output folder")
    root = checkout()
    out = root / "reports" / "results" if root else Path("results")
    parser.add_argument("--out", type=Path, default=out, help="default: %(default)s")
    parser.add_argument("--revision", help="commit that the trials ran with, where the working tree is another one")
    options = parser.parse_args(arguments)
    from reports.packing.write_study import write_study  # heavy: after the arguments were read

    try:
        folder = write_study(options.source, options.out, options.revision)
    except ValueError as error:
        print(f"no results: {error_text(error)}", file=sys.stderr)
        return 1
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    then = f" Then: {command('findings', 'reports.findings')}" if checkout() else ""
    print(f"{folder}: {size / 1e6:.2f} MB.{then}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Type-I error, power and coverage of every test by simulation.

    python -m analysis.calibration                                  # the table of reports/calibration, long
    python -m analysis.calibration --simulations 50 --out /tmp/cal  # a quick look

Every row is one test in one design: rejection rate under the null (at most α), rejection rate under a known effect, and
coverage of its interval, each with its Monte-Carlo standard error. A test that is too liberal by more than that error
is not used in reports; `roles.ROLES` lists those in use.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.paths import checkout, command


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=command("calibrate", "analysis.calibration"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root = checkout()
    out = root / "reports/calibration" if root else Path("calibration")
    parser.add_argument(
        "--out", type=Path, default=out, help="folder of calibration.csv and .md (default: %(default)s)"
    )
    parser.add_argument("--simulations", type=int, default=1000, help="of each design (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 5, 8], help="seed counts an arm")
    parser.add_argument("--questions", type=int, default=500, help="of an evaluation (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation")
    options = parser.parse_args(arguments)
    from analysis.calibration.rejection_rates import (  # heavy: after the arguments were read
        calibration_page,
        designs,
        further_designs,
        run_calibration,
    )

    counts = tuple(options.seeds)
    listed = [*designs(counts, options.questions), *further_designs(counts)]
    table = run_calibration(listed, options.simulations, options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out / "calibration.csv", index=False, lineterminator="\n")
    text = calibration_page(table)
    (options.out / "calibration.md").write_text(text, encoding="utf-8")
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())

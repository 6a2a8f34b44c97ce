"""EM of each checkpoint of a sweep before and after training, by suite, on the same questions.

    python -m analysis.progress runs/granularity
    python -m analysis.progress runs/granularity --csv progress.csv     # all columns, in full precision

Intervals are over questions: claims about these checkpoints, not about the objectives that trained them. Exit status:
0 done, 1 the sweep cannot be read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from harness.paths import command
from harness.types.redact import error_text


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=command("progress", "analysis.progress"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sweep", help="folder of a sweep, such as runs/granularity")
    parser.add_argument("--csv", help="file for the whole table, in full precision")
    options = parser.parse_args(arguments)
    from analysis.checkpoint_progress import before_and_after  # heavy: after the arguments were read
    from analysis.episode_frames import GREEDY_SPLIT, load_episodes
    from analysis.load import LoadError, load_frames

    try:
        table = before_and_after(load_episodes(load_frames(options.sweep), [GREEDY_SPLIT]))
    except (LoadError, ValueError) as error:
        print(error_text(error), file=sys.stderr)
        return 1
    if options.csv:
        table.to_csv(options.csv, index=False, lineterminator="\n")
    print("EM before and after training, 95 % intervals over questions; a claim about each checkpoint")
    for trial, rows in table.groupby("trial", sort=False):
        print(f"\n{trial}")
        for r in rows.itertuples():
            print(
                f"  {r.suite:<18}{r.questions:>5} questions  {r.before:.3f} [{r.before_low:.3f}, {r.before_high:.3f}]"
                f" → {r.after:.3f} [{r.after_low:.3f}, {r.after_high:.3f}]"
                f"  {r.change:+.3f} [{r.low:+.3f}, {r.high:+.3f}]  +{r.gained} −{r.lost} questions"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())

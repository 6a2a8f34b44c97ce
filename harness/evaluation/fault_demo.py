"""An episode with an injected fault beside its fault-free counterpart, in natural language and in code.

    python -m harness.evaluation.fault_demo                    # a passage that states a wrong value
    python -m harness.evaluation.fault_demo timeout --seed 3

The agent is a script, see `harness.evaluation.faulted_pair`. Exit status: 0 done, 1 the fault strikes no episode.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rich.console import Console

from harness.env.fault_injection import FAULTS
from harness.paths import command


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=command("fault-demo", "harness.evaluation.fault_demo"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", nargs="?", default="stale_fact", choices=list(FAULTS), help="default: stale_fact")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    from harness.env.fault_detection import read_faults
    from harness.env.interfaces import INTERFACES
    from harness.evaluation.faulted_pair import faulted_pair, show_episode  # heavy: after the arguments were read

    console = Console(highlight=False, soft_wrap=True)
    found = False
    for interface in INTERFACES:
        pair = faulted_pair(interface, options.kind, options.seed)
        if pair is None:
            continue
        found = True
        for title, episode in zip(("with the fault", "its twin, without"), pair, strict=True):
            console.rule(f"{interface} interface, {title}")
            show_episode(console, episode)
        reading = read_faults(pair[0])[0]
        after = f", right after {reading.turns_to_recovery} turns" if reading.recovered else ", not recovered"
        signals = ", ".join(f"{signal.value} ({turns} later)" for turns, signal in reading.signals) or "none"
        console.print(f"\nfault in turn {reading.turn + 1}: {reading.response}; signals: {signals}{after}\n")
    if not found:
        console.print(f"no question was found on which {options.kind} can strike the script's first calls")
    return 0 if found else 1


if __name__ == "__main__":
    raise SystemExit(main())

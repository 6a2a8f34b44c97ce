"""Where the parser finds the thought and the action of turns, well formed or not, against their true places.

A *unit* is a turn: all tokens up to the end-of-turn token, whatever is written in it. No parse moves its boundary.
What a parse decides is where the turn's thought ends and its action begins (the halves of the ratio unit
`think_action`, and every count of actions), and whether an action is executed. Three sets are reported apart:

- in sample: malformations that the repairs of `recovery.py` were written for;
- held out: malformations that no repair may be written for;
- recorded: real turns of a small language model, labelled by hand, which no repair may be written for either.

python -m harness.protocol.reliability.benchmark
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from harness.paths import command
from harness.protocol.parse import action_start_char, parse_turn
from harness.protocol.reliability.held_out_malformations import HELD_OUT
from harness.protocol.reliability.recorded_turns import recorded_turns
from harness.protocol.reliability.synthetic_turns import KINDS, TrueTurn, make_turn
from harness.types import ParsedTurn, Span


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Parse accuracy over `turns` turns, as fractions in [0, 1].

    `boundaries`: of all starts and ends of the think element and of the first, second, ... action element, true or
    parsed, those that agree (white space at the edges aside); a missed or invented element is two wrong boundaries.
    `halves`: turns whose action half starts at the true offset. `judged`: turns that are executed exactly if they may
    be and whose expected failures are all reported. `wrongly_executed`: the number of turns that are executed although
    no action was clearly called.
    """

    kind: str
    turns: int
    boundaries: float
    halves: float
    judged: float
    wrongly_executed: int = 0


Parse = Callable[[TrueTurn], ParsedTurn]


def by_parser(turn: TrueTurn) -> ParsedTurn:
    """The harness's own parser as a `Parse`."""
    return parse_turn(turn.text, turn.operators, truncated=turn.truncated)


def boundary_accuracy(kind: str, n: int = 1000, seed: int = 0, parse: Parse = by_parser) -> Accuracy:
    """Accuracy of `parse` on `n` random turns with the malformation `kind`, which depend on the arguments alone.

    Raises:
        KeyError: for a kind in neither KINDS nor HELD_OUT.
    """
    rng = random.Random(f"{kind}/{seed}")
    return accuracy_on(kind, [make_turn(kind, rng) for _ in range(n)], parse)


def accuracy_on(kind: str, turns: Sequence[TrueTurn], parse: Parse = by_parser) -> Accuracy:
    """Accuracy of `parse` on turns with known elements."""
    agreed = claimed = halves = judged = wrong = 0
    for turn in turns:
        parsed = parse(turn)
        truth = boundaries(turn.text, turn.think, turn.actions)
        claim = boundaries(turn.text, parsed.think, parsed.action_spans)
        agreed += sum(claim.get(key) == at for key, at in truth.items())
        claimed += len(truth.keys() | claim.keys())
        begins = turn.actions[0].start if turn.actions else len(turn.text)
        halves += _same_place(turn.text, begins, action_start_char(parsed))
        executed = parsed.action is not None
        judged += executed == turn.executable and turn.expected <= set(parsed.failures)
        wrong += executed and not turn.executable
    n = len(turns)
    return Accuracy(kind, n, agreed / max(claimed, 1), halves / n, judged / n, wrong)


UNIT = (
    "A unit is a turn, which the end-of-turn token ends: no parse moves its boundary. A parse decides where the turn's "
    "thought ends and its action begins, and whether the action is executed."
)
"""What the accuracies are about, for readers of reports."""


@cache
def accuracy_by_set(turns: int = 200, seed: int = 0) -> tuple[Accuracy, ...]:
    """Means over the kinds of each set, `turns` turns a kind, and over the recorded turns."""
    sets = {"in sample": KINDS, "held out": HELD_OUT}
    made = [
        mean(f"{name} ({len(k)} kinds)", [boundary_accuracy(x, turns, seed) for x in k]) for name, k in sets.items()
    ]
    return (*made, mean("real turns", [accuracy_on(source, listed) for source, listed in recorded_turns().items()]))


def mean(name: str, rows: Sequence[Accuracy]) -> Accuracy:
    """Mean over `rows`, each of equal weight; turns and wrong executions are sums."""
    boundaries_, halves, judged = (
        sum(getattr(row, what) for row in rows) / len(rows) for what in ("boundaries", "halves", "judged")
    )
    turns, wrong = sum(row.turns for row in rows), sum(row.wrongly_executed for row in rows)
    return Accuracy(name, turns, boundaries_, halves, judged, wrong)


def boundaries(text: str, think: Span | None, actions: Sequence[Span]) -> dict[tuple[int, str], int]:
    """Offset of each boundary by element (-1: think, i: i-th action) and edge, without white space at edges."""
    found: dict[tuple[int, str], int] = {}
    spans = {i: span for i, span in enumerate([think, *actions], start=-1) if span is not None}
    for i, span in spans.items():
        inside = text[span.start : span.end]
        found[i, "start"] = span.start + len(inside) - len(inside.lstrip())
        found[i, "end"] = span.start + len(inside.rstrip())
    return found


def _same_place(text: str, a: int, b: int) -> bool:
    return not text[min(a, b) : max(a, b)].strip()


def table(rows: Sequence[Accuracy]) -> str:
    """Text table of accuracies, and their means."""
    head = f"{'malformation':<31}{'turns':>7}{'boundaries':>12}{'halves':>9}{'judged':>9}{'wrongly executed':>18}"
    lines = [
        f"{r.kind:<31}{r.turns:>7}{r.boundaries:>12.1%}{r.halves:>9.1%}{r.judged:>9.1%}{r.wrongly_executed:>18}"
        for r in (*rows, mean("mean", rows))
    ]
    return "\n".join([head, *lines])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=command("parser-benchmark", "harness.protocol.reliability.benchmark"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--turns", type=int, default=1000, help="turns of each kind")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    sets = {
        "In sample: kinds that the parser's repairs were written for": KINDS,
        "Held out: kinds that no repair was written for": HELD_OUT,
    }
    for title, kinds in sets.items():
        print(f"{title}\n{table([boundary_accuracy(kind, options.turns, options.seed) for kind in kinds])}\n")
    recorded = [accuracy_on(source, turns) for source, turns in recorded_turns().items()]
    print(f"Recorded: turns of SmolLM2-135M-Instruct, labelled by hand\n{table(recorded)}\n\n{UNIT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Share of Think-Action boundaries that the parser finds in malformed turns.

python -m harness.protocol.reliability.benchmark
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness.paths import command
from harness.protocol.parse import action_start_char, parse_turn
from harness.protocol.reliability.held_out_malformations import HELD_OUT
from harness.protocol.reliability.synthetic_turns import KINDS, OPERATORS, TrueTurn, make_turn
from harness.types import ParsedTurn, Span


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Parse accuracy over `turns` turns, as fractions in [0, 1].

    `boundaries`: of all starts and ends of the think element and of the first, second, ... action element, true or
    parsed, those that agree (white space at the edges aside); a missed or invented element is two wrong boundaries.
    `halves`: turns whose action half starts at the true offset. `judged`: turns that are executed exactly if they may
    be and whose expected failures are all reported.
    """

    kind: str
    turns: int
    boundaries: float
    halves: float
    judged: float


Parse = Callable[[TrueTurn], ParsedTurn]


def by_parser(turn: TrueTurn) -> ParsedTurn:
    """The harness's own parser as a `Parse`."""
    return parse_turn(turn.text, OPERATORS, truncated=turn.truncated)


def boundary_accuracy(kind: str, n: int = 1000, seed: int = 0, parse: Parse = by_parser) -> Accuracy:
    """Accuracy of `parse` on `n` random turns with the malformation `kind`, which depend on the arguments alone.

    Raises:
        KeyError: for a kind not in KINDS.
    """
    rng = random.Random(f"{kind}/{seed}")
    agreed = claimed = halves = judged = 0
    for _ in range(n):
        turn = make_turn(kind, rng)
        parsed = parse(turn)
        truth = boundaries(turn.text, turn.think, turn.actions)
        claim = boundaries(turn.text, parsed.think, parsed.action_spans)
        agreed += sum(claim.get(key) == at for key, at in truth.items())
        claimed += len(truth.keys() | claim.keys())
        begins = turn.actions[0].start if turn.actions else len(turn.text)
        halves += _same_place(turn.text, begins, action_start_char(parsed))
        judged += (parsed.action is not None) == turn.executable and turn.expected <= set(parsed.failures)
    return Accuracy(kind, n, agreed / max(claimed, 1), halves / n, judged / n)


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


def table(kinds: Iterable[str], n: int, seed: int) -> str:
    """Text table of accuracy by malformation, and the means."""
    rows = [boundary_accuracy(kind, n, seed) for kind in kinds]
    mean = [sum(getattr(row, name) for row in rows) / len(rows) for name in ("boundaries", "halves", "judged")]
    rows.append(Accuracy("mean", n * len(rows), mean[0], mean[1], mean[2]))
    head = f"{'malformation':<31}{'turns':>7}{'boundaries':>12}{'halves':>9}{'judged':>9}"
    return "\n".join(
        [head, *(f"{r.kind:<31}{r.turns:>7}{r.boundaries:>12.1%}{r.halves:>9.1%}{r.judged:>9.1%}" for r in rows)]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=command("parser-benchmark", "harness.protocol.reliability.benchmark"),
        description="Share of Think-Action boundaries that the parser finds, by malformation.",
    )
    parser.add_argument("--turns", type=int, default=1000, help="turns of each kind")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    print("In sample: kinds that the parser's repairs were written for\n" + table(KINDS, options.turns, options.seed))
    print("\nHeld out: kinds that no repair was written for\n" + table(HELD_OUT, options.turns, options.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())

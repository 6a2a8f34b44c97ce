"""Console tables of scores: coloured in a terminal, plain text elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.stats.types import Estimate
from harness.config.metric_names import FAULTED
from harness.evaluation.play import GREEDY, SAMPLED
from harness.evaluation.scores import Contrast, Score
from harness.training.evaluation import fault_metrics
from harness.types import Trajectory

MOST_COLUMNS = 6
"""The most answerers whose scores by suite are printed side by side; of more, only means (the CSV has all)."""


def print_scores(console: Console, scores: Sequence[Score], level: float) -> None:
    """Print means over suites of every answerer; then by suite and hops: all scores of one answerer, EM of several."""
    whole = [s for s in scores if s.scope == "all"]
    table = _table("", "questions", f"EM [{level:.0%}]", "F1", "lenient", "reward", "well formed", "calls", "tokens")
    shown_faults = any(s.mode == FAULTED for s in whole)
    if shown_faults:
        table.add_column("struck", justify="right")
    for s in whole:
        numbers = (_number(e.value) for e in (s.f1, s.lenient))
        costs = (f"{s.calls:.1f}", f"{s.operator_tokens:.0f}")
        shown = [_number(s.reward, "+"), _number(s.format_ok), *costs]
        if shown_faults:
            shown.append(f"{s.struck} of {s.episodes}" if s.mode == FAULTED else "")
        table.add_row(Text(_title(s)), str(s.questions), _interval(s.em), *numbers, *shown)
    _print(console, table)
    if len({s.answerer for s in whole}) == 1:
        for mode in dict.fromkeys(s.mode for s in whole):
            own = [s for s in scores if s.mode == mode]
            _by_scope(console, own, {f"{n} [{level:.0%}]": f for n, f in _SCORES.items()}, [_title(own[0])])
    elif len(whole) <= MOST_COLUMNS:
        _by_scope(console, scores, {}, [_title(s) for s in whole])


_SCORES: dict[str, Callable[[Score], Estimate]] = {
    "EM": lambda s: s.em,
    "F1": lambda s: s.f1,
    "lenient": lambda s: s.lenient,
}


def _by_scope(
    console: Console, scores: Sequence[Score], fields: dict[str, Callable[[Score], Estimate]], titles: Sequence[str]
) -> None:
    """Rows: suites, then hops. Columns: the fields of the one answerer, or the EM of each."""
    console.print()
    table = _table(titles[0] if fields else "", "questions", *(fields or (f"EM {title}" for title in titles)))
    for scope, name in dict.fromkeys((s.scope, s.name) for s in scores if s.scope != "all"):
        row = {_title(s): s for s in scores if (s.scope, s.name) == (scope, name)}
        first = next(iter(row.values()))
        cells = (
            [_interval(field(first)) for field in fields.values()]
            if fields
            else [_interval(row[t].em) if t in row else "" for t in titles]
        )
        table.add_row(Text(_scope(first)), str(first.questions), *cells)
    _print(console, table)


def print_contrasts(console: Console, contrasts: Sequence[Contrast], level: float) -> None:
    table = _table("EM on the same questions", f"difference [{level:.0%}]", "p", "p (McNemar)")
    for c in contrasts:
        mode = "" if c.mode == GREEDY else f", {_condition(c.mode)}"
        table.add_row(Text(f"{c.answerer} − {c.against}{mode}"), _interval(c.em, "+"), _p(c.test.p), _p(c.exact.p))
    _print(console, table)


def fault_lines(label: str, faulted: Sequence[Trajectory], twins: Sequence[Trajectory]) -> list[str]:
    """What injected faults did to an answerer; a warning where none struck."""
    found = fault_metrics(faulted, twins)
    if not found["struck"]:
        return [
            f"{label}: warning: no fault struck any of {len(faulted)} episodes, so its row of faults shows answers"
            " without faults (environment.faults: kinds, positions, eval_rate)"
        ]
    struck, n = (round(found[name] * len(faulted)) for name in ("struck", "exposed"))
    counts = f"{label}: {struck} of {len(faulted)} episodes struck by a fault, {n} read it"
    if not n:
        return [f"{counts} and took a further turn"]
    rates = f"detected {found['detected']:.0%} (base rate without the fault {found['detected_twin']:.0%})"
    em = f"EM {found['recovered']:.3f} against {found['em_twin']:.3f} without the fault"
    return [f"{counts}: {rates}, accepted {found['accepted']:.0%}, {em}"]


def _condition(split: str) -> str:
    return "faults" if split == FAULTED else split.removeprefix("eval_").replace("prompt_", "prompt ")


def _title(s: Score) -> str:
    if s.mode == FAULTED:
        return f"{s.answerer}, faults"
    if s.mode not in (GREEDY, SAMPLED):
        return f"{s.answerer}, {_condition(s.mode)}"
    return f"{s.answerer}, {s.episodes / s.questions:g} samples" if s.mode == SAMPLED else s.answerer


def _scope(s: Score) -> str:
    return s.name if s.scope != "hops" else "1 hop" if s.name == "1" else f"{s.name} hops"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if i else "left")
    return table


def _print(console: Console, table: Table) -> None:
    console.print(table)


def _number(value: float | None, sign: str = "") -> str:
    return "" if value is None else f"{value:{sign}.3f}"


def _interval(estimate: Estimate, sign: str = "") -> str:
    ends = estimate.interval
    shown = f" \\[{_number(ends.low, sign)}, {_number(ends.high, sign)}]" if ends else ""
    return _number(estimate.value, sign) + shown


def _p(value: float | None) -> str:
    return "" if value is None else "< .001" if value < 0.001 else f"{value:.3f}"

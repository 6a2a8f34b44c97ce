"""Type-I error, power and coverage of every test by simulation: `python -m analysis.calibration`.

Every row is one test in one design: rejection rate under the null (at most α), rejection rate under a known effect, and
coverage of its interval, each with its Monte-Carlo standard error. A test that is too liberal by more than that error
is not used in reports; `scenarios.ROLES` lists those in use.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.calibration import scenarios
from analysis.calibration.scenarios import ALPHA, EQUIVALENCE_MARGIN, SimulatedStudy, SimulatedTest
from analysis.calibration.simulate import SimulationSetting
from harness.paths import checkout, command

EFFECT = 0.05
SIGMAS = 3.0
"""A rate is off its nominal level when it differs by more than this many Monte-Carlo standard errors."""

HOLDS, LIBERAL, CONSERVATIVE, NO_POWER = "holds", "too liberal", "conservative", "no power"


CalibrationDesign = tuple[str, SimulatedStudy, SimulatedStudy | None]
"""Name, study without an effect, study with one."""


def designs(seed_counts: tuple[int, ...], questions: int) -> Iterator[CalibrationDesign]:
    """All designs of the calibration table."""
    for seeds in seed_counts:
        null = SimulationSetting(seeds=seeds, questions=questions)
        shifted = replace(null, effect=EFFECT)
        yield (
            f"{seeds} v {seeds} seeds, {questions} questions",
            scenarios.contrast_study(null),
            scenarios.contrast_study(shifted),
        )
        yield (
            f"{seeds} v {seeds} seeds, {questions} questions",
            scenarios.equivalence_study(replace(null, effect=EQUIVALENCE_MARGIN)),
            scenarios.equivalence_study(null),
        )
        small = SimulationSetting(seeds=seeds, questions=max(50, questions // 5))
        name = f"{seeds} v {seeds} seeds, 7 suites of {small.questions}"
        yield name, scenarios.family_study(small, 7), scenarios.family_study(replace(small, effect=EFFECT), 7)
        name = f"{seeds} v {seeds} seeds, 10 evaluations"
        yield name, scenarios.threshold_study(seeds, (25.0, 25.0)), scenarios.threshold_study(seeds, (15.0, 35.0))
        yield (
            f"{seeds} v {seeds} seeds, 100 faults each",
            scenarios.fault_study(seeds, 0.0),
            scenarios.fault_study(seeds, 0.1),
        )
    one = SimulationSetting(seeds=1, questions=questions, seed_sd=0.0)
    name = f"1 v 1 checkpoint, {questions} questions"
    yield name, scenarios.checkpoint_study(one), scenarios.checkpoint_study(replace(one, effect=EFFECT))
    yield "100 questions, 15 turns each", scenarios.rate_study, None
    yield "100 questions, 5 episodes each", scenarios.waiting_study, None
    yield "5 runs of 30 steps", scenarios.trace_study(0.0), scenarios.trace_study(0.5)
    yield "5 runs of 30 steps that drift", scenarios.trace_study(0.0, drift=3.0), scenarios.trace_study(0.5, drift=3.0)
    yield "15 runs of 140 questions", scenarios.regression_study(0.0), scenarios.regression_study(0.3)


def run_calibration(listed: Sequence[CalibrationDesign], simulations: int = 1000, seed: int = 0) -> pd.DataFrame:
    """design, test, role, type1, power, coverage (each with its Monte-Carlo standard error), verdict, simulations.

    `coverage` is under no effect. Absent measures are empty strings. Progress goes to stderr.
    """
    rows = []
    started = shown = time.monotonic()
    for number, (design, null, effect) in enumerate(listed):
        if time.monotonic() - shown > 5:
            shown = time.monotonic()
            print(f"{number} of {len(listed)} designs, {shown - started:.0f} s", file=sys.stderr)
        under_null = _repeat(null, simulations, [seed, number, 0])
        under_effect = _repeat(effect, simulations, [seed, number, 1]) if effect else {}
        for test, outcomes in under_null.items():
            row: dict[str, object] = {"design": design, "test": test, "role": scenarios.role_of(test)}
            row |= _share("type1", [o.rejected for o in outcomes])
            row |= _share("power", [o.rejected for o in under_effect.get(test, [])])
            row |= _share("coverage", [o.covered for o in outcomes])
            rows.append(row | {"verdict": calibration_verdict(row), "simulations": simulations})
    return pd.DataFrame(rows)


def _repeat(study: SimulatedStudy, simulations: int, seed: list[int]) -> dict[str, list[SimulatedTest]]:
    rng = np.random.default_rng(seed)
    collected: dict[str, list[SimulatedTest]] = {}
    for _ in range(simulations):
        for name, outcome in study(rng).items():
            collected.setdefault(name, []).append(outcome)
    return collected


def _share(name: str, values: list[bool | None]) -> dict[str, object]:
    known = [v for v in values if v is not None]
    if not known:
        return {name: "", f"{name}_se": ""}
    p = sum(known) / len(known)
    return {name: p, f"{name}_se": math.sqrt(max(p * (1 - p), 1 / len(known) / 4) / len(known))}


def calibration_verdict(row: dict[str, object]) -> str:
    """Verdict from type-I error and coverage, the worse of the two, within the error of the nominal rate."""
    slack = SIGMAS * math.sqrt(ALPHA * (1 - ALPHA))
    off = []
    for name in ("type1", "coverage"):
        if row[name] != "":
            rate = float(row[name]) if name == "type1" else 1 - float(row[name])  # type: ignore[arg-type]
            n = float(row[name]) * (1 - float(row[name])) / float(row[f"{name}_se"]) ** 2  # type: ignore[arg-type]
            off.append((rate - ALPHA) / slack * math.sqrt(max(n, 1.0)))
    if row["power"] == 0.0:
        return NO_POWER
    if max(off) > 1:
        return LIBERAL
    return CONSERVATIVE if min(off) < -1 else HOLDS


def calibration_page(table: pd.DataFrame) -> str:
    """Markdown page of the table, in per cent with Monte-Carlo error."""

    def cell(row: pd.Series, name: str) -> str:
        return "–" if row[name] == "" else f"{100 * row[name]:.1f} ± {100 * row[name + '_se']:.1f}"

    used = table[table["role"] != scenarios.NOT_USED]
    liberal = used[used["verdict"] == LIBERAL]
    lines = [
        f"# Calibration at α = {ALPHA:g}",
        "",
        f"Per cent ± Monte-Carlo standard error, {int(table['simulations'].max())} simulations a cell. Effect "
        f"{EFFECT:g} in EM, seed SD {SimulationSetting().seed_sd:g}. A test is too liberal where its type-I error "
        f"exceeds {100 * ALPHA:g} (or its interval misses the truth more often) by more than {SIGMAS:g} standard "
        "errors, and conservative where it falls as far short; one without power cannot reach α in that design.",
        "",
        f"Of {len(used)} rows of tests that a report uses, {len(liberal)} are too liberal.",
        "",
        "| design | test | role | type-I error | power | coverage of the 95 % interval | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for _, row in table.iterrows():
        cells = [cell(row, name) for name in ("type1", "power", "coverage")]
        lines.append(f"| {row['design']} | {row['test']} | {row['role']} | {' | '.join(cells)} | {row['verdict']} |")
    return "\n".join(lines) + "\n"


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
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 5, 8], help="seed counts an arm")
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0, help="of the simulation")
    options = parser.parse_args(arguments)
    table = run_calibration(list(designs(tuple(options.seeds), options.questions)), options.simulations, options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out / "calibration.csv", index=False, lineterminator="\n")
    text = calibration_page(table)
    (options.out / "calibration.md").write_text(text, encoding="utf-8")
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())

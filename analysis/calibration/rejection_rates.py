"""The calibration table: its designs, the simulation of their tests, verdicts and Markdown page."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.calibration import roles, scenarios, seed_scenarios
from analysis.calibration.scenarios import ALPHA, EQUIVALENCE_MARGIN, SimulatedStudy, SimulatedTest
from analysis.calibration.simulate import SimulationSetting

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


def further_designs(seed_counts: tuple[int, ...]) -> Iterator[CalibrationDesign]:
    """Designs beyond two plain arms, after those of `designs`: a design's random stream follows from its place."""

    def both(name: str, study: Callable[..., SimulatedStudy], *shape: Any) -> CalibrationDesign:
        return name, study(*shape, 0.0), study(*shape, EFFECT)

    for n in seed_counts:
        arms = f"{n} v {n} seeds"
        yield both(f"{arms}, SDs 3:1", seed_scenarios.unequal_spread_study, (n, n), 3.0)
        yield both(f"{arms}, a tenth of one arm's runs collapsed", seed_scenarios.collapse_study, n)
        yield both(f"{arms}, pairs correlated .5", seed_scenarios.pairing_study, n, 0.5)
        yield both(f"{arms} in each of 4 cells", seed_scenarios.factorial_study, n, 4)
        yield both(f"{arms}, a common checkpoint", seed_scenarios.covariate_study, n)
        yield both(f"{arms}, where a check of `requires` holds", seed_scenarios.filtered_study, n)
    yield both("4 v 8 seeds, SDs 3:1", seed_scenarios.unequal_spread_study, (4, 8), 3.0)
    yield both("8 v 8 start policies of 4 seeds", seed_scenarios.nested_study, 8, 4)
    yield both("8 start policies of 3 seeds in both arms", seed_scenarios.crossed_study, 8, 3)
    yield both("8 start policies × 4 search seeds in both arms", seed_scenarios.twice_crossed_study, (8, 4))
    yield both("20 questions of 4 forks", seed_scenarios.cluster_study, 20, 4)
    yield both("60 questions of 4 forks", seed_scenarios.cluster_study, 60, 4)
    noise = seed_scenarios.noise_study
    yield "10 runs of 140 questions, seeds alike", noise(10, 140, 0.0), noise(10, 140, 0.05)
    yield "10 runs of 140 questions, seed SD .03", noise(10, 140, 0.03, detect=False), None
    for shape in ((3, 3), (5, 5), (4, 12)):
        levels = f"{shape[0]} start policies × {shape[1]} search seeds in both arms"
        yield both(levels, seed_scenarios.twice_crossed_study, shape)
    for rows, columns in ((3, 3), (8, 4)):
        levels = f"{rows} v {rows} start policies × {columns} search seeds"
        yield both(levels, seed_scenarios.nested_and_crossed_study, (rows, columns))


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
            row: dict[str, object] = {"design": design, "test": test, "role": roles.role_of(test)}
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

    used = table[table["role"].isin(roles.USED)]
    liberal = used[used["verdict"] == LIBERAL]
    limits = table[table["role"] == roles.LIMIT]
    lines = [
        f"# Calibration at α = {ALPHA:g}",
        "",
        f"Per cent ± Monte-Carlo standard error, {int(table['simulations'].max())} simulations a cell. Effect "
        f"{EFFECT:g} in EM, seed SD {SimulationSetting().seed_sd:g} ({seed_scenarios.RUN_SD:g} in designs beyond two "
        "plain arms). A test is too liberal where its type-I error "
        f"exceeds {100 * ALPHA:g} (or its interval misses the truth more often) by more than {SIGMAS:g} standard "
        "errors, and conservative where it falls as far short; one without power cannot reach α in that design.",
        "",
        f"Of {len(used)} rows of tests that a report uses, {len(liberal)} are too liberal. "
        f"Of {len(limits)} rows of role {roles.LIMIT}, designs in which such a test is no test of equal means, "
        f"{len(limits[limits['verdict'] == LIBERAL])} are.",
        "",
        "| design | test | role | type-I error | power | coverage of the 95 % interval | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for _, row in table.iterrows():
        cells = [cell(row, name) for name in ("type1", "power", "coverage")]
        lines.append(f"| {row['design']} | {row['test']} | {row['role']} | {' | '.join(cells)} | {row['verdict']} |")
    return "\n".join(lines) + "\n"

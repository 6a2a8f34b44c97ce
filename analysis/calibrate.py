"""Are the tests honest? Type-I error, power and coverage by simulation: `python -m analysis.calibrate`.

Every row is one test in one design: how often it rejects when nothing is there (must not exceed α), how often when a
known effect is there, and how often its interval covers the truth, each with its Monte-Carlo standard error.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import simulate
from analysis.simulate import World
from analysis.stats.aggregate import seed_question_bootstrap
from analysis.stats.cluster import paired_questions, two_way_cluster
from analysis.stats.multiplicity import holm, tost
from analysis.stats.permutation import difference_interval, permutation_interval, seed_permutation
from analysis.stats.proportions import clustered_wilson, mcnemar, paired_table, two_proportion_z, wilson
from analysis.stats.regression import cluster_ols, gee_logit
from analysis.stats.results import Estimate
from analysis.stats.series import lagged_spearman
from analysis.stats.survival import logrank, restricted_mean_difference

ALPHA = 0.05
EFFECT = 0.05
MARGIN = 0.05


@dataclass(frozen=True, slots=True)
class Outcome:
    """One test on one simulated study: whether it rejected, whether its interval held the truth (None: has none)."""

    rejected: bool | None
    covered: bool | None = None


Study = Callable[[np.random.Generator], dict[str, Outcome]]


def _holds(estimate: Estimate, truth: float) -> bool | None:
    if estimate.interval is None:
        return None
    return estimate.interval.low <= truth <= estimate.interval.high


def contrast(world: World) -> Study:
    """Two arms on one suite, every route to a p-value and an interval."""

    def study(rng: np.random.Generator) -> dict[str, Outcome]:
        a, b = simulate.arms(world, rng)
        x, y = a.mean(axis=1), b.mean(axis=1)
        welch = difference_interval(x, y)
        out = {
            "seed permutation, exact": Outcome(
                seed_permutation(x, y).rejects(ALPHA), _holds(permutation_interval(x, y), world.effect)
            ),
            "seed permutation, paired by seed": Outcome(
                seed_permutation(x, y, paired=True).rejects(ALPHA),
                _holds(permutation_interval(x, y, True), world.effect),
            ),
            "Welch t on seed means": Outcome(_outside(welch, 0.0), _holds(welch, world.effect)),
            "question-paired, seeds taken as fixed": _question_paired(a, b, world.effect),
            "McNemar of one checkpoint pair": Outcome(mcnemar(paired_table(a[0], b[0])).rejects(ALPHA)),
            "two-proportion z": Outcome(two_proportion_z(a.sum(), a.size, b.sum(), b.size).rejects(ALPHA)),
        }
        for law in ("t", "z"):
            estimate, test = two_way_cluster(a, b, distribution=law)
            out[f"two-way cluster, {law}"] = Outcome(test.rejects(ALPHA), _holds(estimate, world.effect))
        boot = seed_question_bootstrap(a, b, draws=400, seed=int(rng.integers(2**31)))
        out["two-way percentile bootstrap"] = Outcome(_outside(boot, 0.0), _holds(boot, world.effect))
        return out

    return study


def _outside(estimate: Estimate, value: float) -> bool:
    return not _holds(estimate, value)


def _question_paired(a: np.ndarray, b: np.ndarray, truth: float) -> Outcome:
    estimate, test = paired_questions(a.mean(axis=0), b.mean(axis=0))
    return Outcome(test.rejects(ALPHA), _holds(estimate, truth))


def family(world: World, n: int) -> Study:
    """n suites that share seed effects: any rejection with and without Holm (family-wise error)."""

    def study(rng: np.random.Generator) -> dict[str, Outcome]:
        a, b = simulate.suites(world, n, rng)
        p = [seed_permutation(a[:, i], b[:, i]).p for i in range(n)]
        raw, adjusted = (min(v for v in values if v is not None) for values in (p, holm(p)))
        return {
            f"any of {n} suites, Holm": Outcome(adjusted <= ALPHA),
            f"any of {n} suites, uncorrected": Outcome(raw <= ALPHA),
            f"mean over {n} suites, permutation": Outcome(
                seed_permutation(a.mean(axis=1), b.mean(axis=1)).rejects(ALPHA)
            ),
        }

    return study


def equivalence(world: World) -> Study:
    """TOST: its null is a difference of exactly the margin, its power is against no difference."""

    def study(rng: np.random.Generator) -> dict[str, Outcome]:
        a, b = simulate.arms(world, rng)
        return {f"TOST, margin {MARGIN:g}": Outcome(tost(a.mean(axis=1), b.mean(axis=1), MARGIN).rejects(ALPHA))}

    return study


def rate(rng: np.random.Generator) -> dict[str, Outcome]:
    """Parse rate of turns clustered by question: coverage with and without the design effect."""
    sums, sizes = simulate.turns(rng)
    truth = simulate.long_run_rate()
    return {
        "Wilson, design effect": Outcome(None, _holds(clustered_wilson(sums, sizes), truth)),
        "Wilson, turns taken as independent": Outcome(None, _holds(wilson(sums.sum(), sizes.sum()), truth)),
    }


def speed(seeds: int, means: tuple[float, float]) -> Study:
    """Steps to a threshold of a few censored runs."""

    def study(rng: np.random.Generator) -> dict[str, Outcome]:
        (ta, ea), (tb, eb) = (simulate.waiting(rng, seeds, m) for m in means)
        z = restricted_mean_difference(ta, ea, tb, eb, 50)[1]
        return {
            "log-rank of steps to threshold": Outcome(logrank(ta, ea, tb, eb).rejects(ALPHA)),
            "restricted mean difference, z": Outcome(z.rejects(ALPHA)),
            "permutation of restricted times": Outcome(seed_permutation(ta, tb).rejects(ALPHA)),
        }

    return study


def traced(link: float) -> Study:
    """Two autocorrelated traces a run."""

    def study(rng: np.random.Generator) -> dict[str, Outcome]:
        runs = simulate.traces(rng, link=link)
        test = lagged_spearman(runs, draws=399, seed=int(rng.integers(2**31))).test
        return {"lagged Spearman, circular shifts": Outcome(test.rejects(ALPHA))}

    return study


def regression(slope: float) -> Study:
    """A slope on rows clustered by run."""

    def study(rng: np.random.Generator) -> dict[str, Outcome]:
        y, x, run = simulate.clustered_regression(rng, slope=slope)
        gee = gee_logit(y, {"x": x}, run)
        return {
            "OLS clustered by run": Outcome(cluster_ols(y, {"x": x}, run)["x"].p <= ALPHA),
            "GEE logit, bias-reduced": Outcome(bool(gee.coefficients) and gee["x"].p <= ALPHA),
        }

    return study


def designs(seed_counts: tuple[int, ...], questions: int) -> Iterator[tuple[str, Study, Study | None]]:
    """(design, study without an effect, study with one) of the whole table."""
    for seeds in seed_counts:
        null = World(seeds=seeds, questions=questions)
        there = replace(null, effect=EFFECT)
        name = f"{seeds} v {seeds} seeds, {questions} questions"
        yield name, contrast(null), contrast(there)
        yield name, equivalence(replace(null, effect=MARGIN)), equivalence(null)
        small = World(seeds=seeds, questions=max(50, questions // 5))
        yield (
            f"{seeds} v {seeds} seeds, 7 suites of {small.questions}",
            family(small, 7),
            family(replace(small, effect=EFFECT), 7),
        )
        yield f"{seeds} v {seeds} seeds, 10 evaluations", speed(seeds, (25.0, 25.0)), speed(seeds, (15.0, 35.0))
    yield "100 questions, 15 turns each", rate, None
    yield "5 runs of 40 steps", traced(0.0), traced(0.5)
    yield "10 runs of 60 rows", regression(0.0), regression(0.25)


def run(
    simulations: int = 600, seed_counts: tuple[int, ...] = (3, 5, 8), questions: int = 500, seed: int = 0
) -> pd.DataFrame:
    """design, test, type1, power, coverage (each with its Monte-Carlo standard error), simulations.

    `coverage` is under no effect. Absent measures are empty strings.
    """
    rows = []
    for number, (design, null, effect) in enumerate(designs(seed_counts, questions)):
        quiet = _repeat(null, simulations, [seed, number, 0])
        loud = _repeat(effect, simulations, [seed, number, 1]) if effect else {}
        for test, outcomes in quiet.items():
            row: dict[str, object] = {"design": design, "test": test}
            row |= _share("type1", [o.rejected for o in outcomes])
            row |= _share("power", [o.rejected for o in loud.get(test, [])])
            row |= _share("coverage", [o.covered for o in outcomes])
            rows.append(row | {"simulations": simulations})
    return pd.DataFrame(rows)


def _repeat(study: Study, simulations: int, seed: list[int]) -> dict[str, list[Outcome]]:
    rng = np.random.default_rng(seed)
    collected: dict[str, list[Outcome]] = {}
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


def markdown(table: pd.DataFrame) -> str:
    """The table for people: percent with Monte-Carlo error."""

    def cell(row: pd.Series, name: str) -> str:
        return "–" if row[name] == "" else f"{100 * row[name]:.1f} ± {100 * row[name + '_se']:.1f}"

    lines = [
        f"# Calibration at α = {ALPHA:g}",
        "",
        f"Per cent ± Monte-Carlo standard error, {int(table['simulations'].max())} simulations a cell. Effect "
        f"{EFFECT:g} in EM, seed SD {World().seed_sd:g}. A test is honest where its "
        f"type-I error does not exceed {100 * ALPHA:g}.",
        "",
        "| design | test | type-I error | power | coverage of the 95 % interval |",
        "|---|---|---|---|---|",
    ]
    for _, row in table.iterrows():
        cells = [cell(row, name) for name in ("type1", "power", "coverage")]
        lines.append(f"| {row['design']} | {row['test']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=Path("reports/calibration"), help="folder for calibration.csv and .md"
    )
    parser.add_argument("--simulations", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 5, 8], help="seed counts an arm")
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0, help="of the simulation")
    options = parser.parse_args()
    table = run(options.simulations, tuple(options.seeds), options.questions, options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out / "calibration.csv", index=False, lineterminator="\n")
    text = markdown(table)
    (options.out / "calibration.md").write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()

"""The pre-registered analysis of a sweep: the `analysis:` section of its YAML.

    analysis:
      primary: {metric: eval/em, contrast: [gsspo, grpo], axis: objective.preset}   # contrast[0] − contrast[1]
      paired: true        # optional: seed by seed, sign flips of pairs; primary may have `over: area` (of the curve)
      margin: 0.03        # differences below it count as equivalent, in the metric's unit
      alpha: 0.05
      correction: holm    # over suites; or none
      threshold: 0.5      # optional: runs are timed to the step from which the metric holds it
      adjusted: true      # optional, with branch: pairs are adjusted for the metric at their common checkpoint
      random: [...]       # optional: swept settings whose levels are a sample, see `analysis/random_factors.py`
      requires: [...]     # optional: design checks, see `analysis/requirements.py`; without them no verdict
      assay: {...}        # optional: planted effects, see `analysis/planted_effects.py`

`<metric>/<suite>` is tested on every suite. The contrast named there is confirmatory; everything else a report shows
is exploratory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.assay_plan import AssayPlan, read_assay_plan
from analysis.frames import Arm, Frames
from analysis.stats.multiplicity import CORRECTIONS
from analysis.stats.random_levels import Assignment
from harness.config.arm_names import LABEL_CHARS, cut_text


class AnalysisPlanError(ValueError):
    """The `analysis:` section does not fit the sweep it stands in."""


@dataclass(frozen=True, slots=True)
class CrossedUnits:
    """Units of two random factors that are crossed with each other: number = level of the first × `columns` + level of
    the second. `rows`, `column_levels`: whether the arms share the levels of the first, and of the second."""

    columns: int
    rows: Assignment
    column_levels: Assignment


@dataclass(frozen=True, slots=True)
class AnalysisPlan:
    """Fields of the `analysis:` section. `axis` None: no registered contrast, all results are exploratory.

    `crossed`, `at_levels`: no settings, but of a plan whose random factors' units have taken the place of seeds.
    """

    metric: str = "eval/em"
    axis: str | None = None
    treatment: Any = None
    baseline: Any = None
    margin: float | None = None
    alpha: float = 0.05
    correction: str = "holm"
    threshold: float | None = None
    requires: tuple[Mapping[str, Any], ...] = ()
    over: str = "last"
    paired: bool = False
    random: tuple[str, ...] = ()
    assay: AssayPlan | None = None
    adjusted: bool = False
    crossed: CrossedUnits | None = None
    at_levels: bool = False

    def __post_init__(self) -> None:
        if self.correction not in CORRECTIONS:
            raise AnalysisPlanError(f"analysis.correction {self.correction!r}: one of {', '.join(CORRECTIONS)}")
        if not 0 < self.alpha < 1:
            raise AnalysisPlanError(f"analysis.alpha {self.alpha}: must lie between 0 and 1")
        if self.margin is not None and self.margin <= 0:
            raise AnalysisPlanError(f"analysis.margin {self.margin}: must be positive")
        if self.over not in ("last", "area"):
            raise AnalysisPlanError(f"analysis.primary.over {self.over!r}: last or area")
        if self.threshold is not None and self.threshold <= 0:
            raise AnalysisPlanError(f"analysis.threshold {self.threshold}: must be positive")

    @property
    def correction_name(self) -> str:
        """Name of the correction in sentences and captions."""
        return {"holm": "Holm"}.get(self.correction, "no correction")

    @property
    def sensitive(self) -> bool:
        """Whether the outcome is another than the last value, or the test another than the unpaired one."""
        return self.paired or self.over != "last"

    @property
    def test_name(self) -> str:
        """Name of the test of contrasts in captions."""
        if self.crossed is not None:
            return f"Quasi-F of two crossed random factors ({' × '.join(self.random[:2])})"
        if self.random:
            return f"Permutation of {self.units}"
        if self.adjusted:
            return "Sign flips of seed pairs, adjusted for the metric at their common checkpoint (ANCOVA)"
        return "Sign flips of seed pairs" if self.paired else "Exact seed permutation"

    @property
    def units(self) -> str:
        """Plural of the unit of inference: seeds, levels of the first random factor, or cells of two crossed ones."""
        if self.crossed is not None:
            return f"cells of {' × '.join(self.random)}"
        return f"levels of {self.random[0]}" if self.random else "seeds"

    @property
    def level(self) -> float:
        """Confidence level of every interval shown."""
        return 1.0 - self.alpha


def read_analysis_plan(section: Mapping[str, Any] | None) -> AnalysisPlan:
    """The plan of an `analysis:` section; None gives an empty plan. Raises AnalysisPlanError."""
    if section is None:
        return AnalysisPlan()
    try:
        primary = section["primary"]
        treatment, baseline = primary["contrast"]
        return AnalysisPlan(
            metric=primary["metric"],
            axis=primary["axis"],
            treatment=treatment,
            baseline=baseline,
            margin=section.get("margin"),
            alpha=section.get("alpha", 0.05),
            correction=section.get("correction", "holm"),
            threshold=section.get("threshold"),
            requires=tuple(section.get("requires") or ()),
            over=primary.get("over", "last"),
            paired=section.get("paired", False),
            random=tuple(section.get("random") or ()),
            adjusted=section.get("adjusted", False),
            assay=read_assay_plan(section.get("assay")),
        )
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, AnalysisPlanError):
            raise
        raise AnalysisPlanError(f"analysis: needs primary: {{metric, contrast: [a, b], axis}} ({error!r})") from error


@dataclass(frozen=True, slots=True)
class ArmContrast:
    """Arm `treatment` minus arm `baseline`, which differ in `axis` alone. `stratum` names what they share."""

    treatment: str
    baseline: str
    axis: str
    stratum: str
    confirmatory: bool

    @property
    def label(self) -> str:
        return f"{self.treatment} − {self.baseline}"


def contrasts(frames: Frames, plan: AnalysisPlan) -> list[ArmContrast]:
    """Pairs of arms that differ in one axis: the plan's against its baseline, other axes against their first value.

    Confirmatory are the pairs whose axis, treatment and baseline the plan names; they come first. Arms with identical
    runs are not contrasted with each other, and with another arm once, apart from confirmatory pairs.
    """
    arms = list(frames.arms.values())
    axes = list(dict.fromkeys(axis for arm in arms for axis in arm.settings))
    found = []
    for axis in axes:
        declared = axis == plan.axis and any(same_setting(plan.baseline, a.settings[axis]) for a in arms)
        base = plan.baseline if declared else arms[0].settings[axis]
        for low in arms:
            if not same_setting(base, low.settings[axis]):
                continue
            for high in arms:
                if same_setting(base, high.settings[axis]) or _others(low, axis) != _others(high, axis):
                    continue
                promised = declared and same_setting(plan.treatment, high.settings[axis])
                others = _others(low, axis)
                stratum = ", ".join(
                    f"{k.rsplit('.', 1)[-1]}={cut_text(str(v), LABEL_CHARS)}" for k, v in others.items()
                )
                found.append(ArmContrast(high.label, low.label, axis, stratum, promised))
    return _distinct(sorted(found, key=lambda c: not c.confirmatory), frames.identical)


def _distinct(pairs: Sequence[ArmContrast], identical: Mapping[str, str]) -> list[ArmContrast]:
    seen: set[tuple[str, str]] = set()
    kept = []
    for pair in pairs:
        one, two = (identical.get(arm, arm) for arm in (pair.treatment, pair.baseline))
        if pair.confirmatory or (one != two and (one, two) not in seen):
            kept.append(pair)
        seen.add((one, two))
    return kept


def same_setting(declared: Any, actual: Any) -> bool:
    """Equal, or a declared mapping whose keys have their values in `actual` too (which may hold defaults beside)."""
    if isinstance(declared, Mapping) and isinstance(actual, Mapping):
        return all(k in actual and same_setting(v, actual[k]) for k, v in declared.items())
    if isinstance(declared, list | tuple) and isinstance(actual, list | tuple):
        return list(declared) == list(actual)
    return bool(declared == actual)


def _others(arm: Arm, axis: str) -> dict[str, Any]:
    return {k: v for k, v in arm.settings.items() if k != axis}

"""Evaluation of a plan's design checks on a sweep's own frames and episodes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from analysis.check_result import CheckResult
from analysis.episode_frames import (
    COUNTERFACTUAL_SPLIT,
    FAULTED_SPLIT,
    GREEDY_SPLIT,
    SAMPLED_SPLIT,
    Episodes,
    load_episodes,
)
from analysis.frames import Frames
from analysis.load import load_frames
from analysis.operator_use import operator_use
from analysis.planted_effects import run_assay, without_planted
from analysis.random_factors import at_random_levels, level_arms
from analysis.registered_plan import AnalysisPlan, read_analysis_plan
from analysis.requirements import Evidence, evaluate_requirements
from analysis.self_correction import exposures
from analysis.stats.types import DegenerateInput
from analysis.summary import SweepSummary, summarise

_SPLITS_OF = {
    "called": (GREEDY_SPLIT, SAMPLED_SPLIT),
    "discriminates": (GREEDY_SPLIT,),
    "exposed": (GREEDY_SPLIT, FAULTED_SPLIT, COUNTERFACTUAL_SPLIT),
}
"""Evaluations whose episodes a kind of check reads; the other kinds read metrics alone."""


def check_design(frames: Frames, plan: AnalysisPlan) -> tuple[CheckResult, ...]:
    """Results of the plan's checks, in its order, then of its assay.

    Reads the last evaluation's episodes where a check needs them.
    """
    assay = run_assay(frames, plan)
    checks = assay.checks if assay is not None else []
    kinds = {str(r["kind"]) for r in plan.requires}
    splits = sorted({s for kind in kinds for s in _SPLITS_OF.get(kind, ())})
    try:
        episodes = load_episodes(frames, splits, last_only=True) if splits else None
    except ValueError:  # a broken file, which the report names: a check without its data does not hold
        episodes = None
    return (*evaluate_requirements(plan.requires, _evidence(frames, plan, episodes, kinds)), *checks)


def _evidence(whole: Frames, plan: AnalysisPlan, episodes: Episodes | None, kinds: set[str]) -> Evidence:
    """Of the arms that the study compares, without their random factors: planted ones have checks of their own."""
    if episodes is not None and plan.random:
        merged = episodes.episodes["arm"].astype(str).map(level_arms(whole, plan))
        episodes = replace(episodes, episodes=episodes.episodes.assign(arm=merged))
    whole, plan = at_random_levels(whole, plan)
    frames = without_planted(whole, plan)
    if episodes is None or episodes.episodes.empty:
        return Evidence(frames, plan)
    episodes = episodes.of(episodes.episodes["arm"].isin(list(frames.arms)))
    answered = episodes.of(episodes.episodes["split"].isin([GREEDY_SPLIT, SAMPLED_SPLIT]))
    use = operator_use(answered, plan.level) if "called" in kinds else None
    struck = "exposed" in kinds and bool((episodes.episodes["split"] == FAULTED_SPLIT).any())
    return Evidence(
        frames,
        plan,
        episodes.split(GREEDY_SPLIT),
        use,
        count_exposures(frames, episodes) if struck else None,
    )


def count_exposures(frames: Frames, episodes: Episodes) -> dict[str, int]:
    """Arm → episodes that met an injected fault and have a fault-free counterpart."""
    try:
        counts = exposures(episodes)["arm"].astype(str).value_counts()
    except DegenerateInput:
        return dict.fromkeys(frames.arms, 0)
    return {arm: int(counts.get(arm, 0)) for arm in frames.arms}


def summarise_sweep(run_dir: str | Path, metric: str | None = None) -> SweepSummary:
    """Read a sweep's directory, evaluate its design checks and summarise it, on the plan's metric or another (then
    nothing is confirmatory)."""
    frames = load_frames(run_dir)
    plan = read_analysis_plan(frames.config.get("analysis"))
    return summarise(frames, plan, metric, check_design(frames, plan))

"""Committed studies that serve as pilots of a planned contrast."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.outcome_power import PilotContrast, own_contrasts
from analysis.registered_plan import AnalysisPlan, read_analysis_plan, same_setting
from reports.packing.results_folder import PROVENANCE_FILE, RESULTS_FOLDER, read_stored_frames, read_sweep_copy


def pilot_contrasts(
    plan: AnalysisPlan, profile: str, fixed: Mapping[str, Any], root: Path = RESULTS_FOLDER
) -> tuple[list[PilotContrast], str]:
    """Contrasts of committed studies of `profile` that are nearest to a planned one, and a description of them.

    Nearest are studies that compared the plan's two values on its axis under the same `fixed` settings, then those
    that compared them under others, then the registered contrasts of all. Small runs (`--small`) are no pilots.
    ([], "") where there is none, as outside of a checkout.
    """
    full = _full_studies(profile, root)
    compared = {f: s for f, s in full.items() if _compared(s, plan)}
    same = same_design(plan, profile, fixed, root)
    found: list[PilotContrast] = []
    for folder in same or compared or full:
        frames = read_stored_frames(folder).frames
        found += own_contrasts(frames, plan if compared else read_analysis_plan(frames.config.get("analysis")))
    if not found:
        return [], ""
    names = ", ".join(dict.fromkeys(p.frames.name for p in found))
    pairs = f"{names} ({sum(map(_shared_seeds, found))} seed pairs)"
    return found, pairs if same else f"{'other settings' if compared else 'other contrasts'}: {pairs}"


def same_design(plan: AnalysisPlan, profile: str, fixed: Mapping[str, Any], root: Path = RESULTS_FOLDER) -> list[Path]:
    """Folders of committed studies that compared the plan's two values on its axis under the same `fixed` settings."""
    full = _full_studies(profile, root)
    return [f for f, sweep in full.items() if _compared(sweep, plan) and (sweep.get("fixed") or {}) == fixed]


def _full_studies(profile: str, root: Path) -> dict[Path, dict[str, Any]]:
    sweeps = {p.parent: read_sweep_copy(p.parent) for p in sorted(root.glob(f"*/{PROVENANCE_FILE}"))}
    return {f: s for f, s in sweeps.items() if s.get("profile") == profile and not str(s["name"]).endswith("-small")}


def _compared(sweep: Mapping[str, Any], plan: AnalysisPlan) -> bool:
    """Whether a sweep varies the plan's axis over both of its values."""
    values = ((sweep.get("parameters") or {}).get(plan.axis) or {}).get("values", [])
    return all(any(same_setting(wanted, v) for v in values) for wanted in (plan.treatment, plan.baseline))


def _shared_seeds(pilot: PilotContrast) -> int:
    used = pilot.frames.trials[pilot.frames.trials["included"]]
    seeds = [set(used.loc[used["arm"] == arm, "seed"]) for arm in (pilot.treatment, pilot.baseline)]
    return len(seeds[0] & seeds[1])

"""Check of the registered plan: its hash from before the sweep against the present plan.

`harness.config` hashes hypothesis, analysis section and seeds of the sweep file into sweep.yaml and every run. A report
marks the confirmatory contrast and flags any mismatch: with a plan changed after the fact no contrast is confirmatory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from analysis.frames import Frames
from analysis.registered_plan import AnalysisPlan, read_analysis_plan
from harness.config.identity import registered_hash


@dataclass(frozen=True, slots=True)
class Registration:
    """`kept` False: a hash does not match, and `plan` then has no confirmatory contrast. `sentences` for a report."""

    plan: AnalysisPlan
    hypothesis: str
    recorded: str | None
    kept: bool
    sentences: tuple[str, ...]


def check_registration(frames: Frames) -> Registration:
    """Compare the hashes of sweep.yaml and of the trials with the plan in sweep.yaml."""
    plan = read_analysis_plan(frames.config.get("analysis"))
    hypothesis = " ".join(str(frames.config.get("hypothesis", "")).split())
    recorded = frames.config.get("preregistration")
    lines = []
    if plan.axis is None:
        lines.append("No analysis was registered before the sweep: everything here is exploratory.")
    else:
        margin = f", margin {plan.margin:g}" if plan.margin is not None else ""
        over = ", area under the curve," if plan.over == "area" else ""
        pairs = ", paired by seed" if plan.paired else ""
        pairs += ", adjusted for the common checkpoint" if plan.adjusted else ""
        levels = f", random factors: {', '.join(plan.random)}" if plan.random else ""
        trunk = f", from a common trunk of {frames.start_step} steps" if frames.start_step else ""
        checks = f", design checks: {len(plan.requires)}" if plan.requires else ""
        lines.append(
            f"Registered before the sweep: {plan.metric}{over} of {plan.treatment} against {plan.baseline} "
            f"({plan.axis}), α = {plan.alpha:g}, {plan.correction_name} over suites"
            f"{margin}{pairs}{levels}{trunk}{checks}. "
            "Everything else is exploratory."
        )
    kept = True
    if recorded is None and plan.axis is not None:
        lines.append("The sweep records no hash of its plan, so the plan cannot be shown to precede the runs.")
    expected = registered_hash(frames.config)
    if recorded is not None and recorded != expected:
        kept = False
        lines.append(
            f"HASH MISMATCH: the plan was hashed as {recorded[:12]}, its text now gives {expected[:12]}. "
            "It was changed afterwards; no contrast is confirmatory."
        )
    others = sorted(h[:12] for h in frames.promises if h != expected)
    if others:
        kept = False
        lines.append(f"HASH MISMATCH: some trials ran under another plan ({', '.join(others)}).")
    if len(frames.codes) > 1:
        lines.append(f"Trials ran with {len(frames.codes)} versions of the code.")
    missing = _missing_seeds(frames)
    if missing:
        lines.append(f"Registered seeds without a finished trial: {missing}.")
    return Registration(plan if kept else replace(plan, axis=None), hypothesis, recorded, kept, tuple(lines))


def _missing_seeds(frames: Frames) -> str:
    """ "grpo 3; gspo 1, 4": registered seeds that some arm lacks."""
    seeds = frames.config.get("seeds")
    if not isinstance(seeds, list):
        return ""
    used = frames.trials[frames.trials["included"]]
    parts = []
    for arm in frames.arms:
        gone = sorted(set(seeds) - set(used.loc[used["arm"] == arm, "seed"]))
        if gone:
            parts.append(f"{arm} {', '.join(map(str, gone))}")
    return "; ".join(parts)

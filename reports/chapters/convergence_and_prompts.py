"""Convergence and stability; prompt robustness."""

from __future__ import annotations

import contextlib

from analysis import checkpoint_progress, convergence, robustness
from analysis.compare import compare_arms
from analysis.episode_frames import GREEDY_SPLIT
from analysis.stats.types import DegenerateInput
from analysis.summary import OVERALL
from reports.chapters.chapter import Chapter
from reports.figures import format_penalty
from reports.report_data import ReportData


def convergence_chapter(m: ReportData) -> Chapter:
    chapter = Chapter("convergence", "Convergence and stability", stamp=m.stamp)
    frames, plan = m.frames, m.plan
    rows = compare_arms(convergence.curve_areas(frames, plan.metric), m.contrasts, plan)
    chapter.exploratory_contrasts(
        "areas",
        "Area under the learning curve",
        rows,
        f"{plan.metric}: mean height of each seed's curve; {plan.test_name.lower()}; exploratory.",
        group="measure",
        p_adjusted="drop",
    )
    try:
        times = convergence.threshold_times(frames, plan.metric, plan.threshold)
        origin = "fixed before the sweep" if times.fixed else "set after the fact (half-way from start to best arm)"
        chapter.table(
            "speed",
            "Steps to a threshold",
            convergence.threshold_table(times, m.contrasts, plan.level),
            f"Threshold {times.threshold:.3f} of {plan.metric}, held for {convergence.SUSTAINED} evaluations, "
            f"{origin}; runs that never hold it are censored at the last step, {times.horizon:g}. Steps: difference of "
            "restricted means; both p: exact permutation of seeds; exploratory.",
            steps="number",
            low="number",
        )
    except DegenerateInput as reason:
        chapter.add_sentence(str(reason))
    chapter.table(
        "stability",
        "Stability",
        convergence.stability_table(frames, plan.metric, plan.level),
        f"Collapsed: last value below {convergence.COLLAPSE:g} × the run's own best, Wilson over runs. The traces are "
        "means over steps and seeds.",
        **dict.fromkeys((n.split("/")[1] for n in convergence.STABILITY_TRACES), "number"),
    )
    changes = checkpoint_progress.before_and_after(m.course.split(GREEDY_SPLIT), plan.level)
    chapter.table(
        "progress",
        "Each checkpoint before and after training",
        changes[changes["suite"] == OVERALL],
        "Greedy EM at the first and last step on the same questions, mean over suites; intervals and p over questions, "
        "uncorrected. A claim about these checkpoints, none about the objectives.",
        suite="drop",
        change="signed",
        low="signed",
        gained="number",
        lost="number",
    )
    return chapter


def prompt_chapter(m: ReportData) -> Chapter:
    chapter = Chapter("robustness", "Prompt robustness", stamp=m.stamp, from_episodes=True)
    spreads = None
    try:
        chapter.table(
            "perturbations",
            "By perturbation",
            robustness.by_perturbation(m.everything, m.plan.level),
            "Compliance: share of episodes without a failure. Lenient: the answer contains a gold answer. Means over "
            "seeds, t interval; suites weigh the same.",
        )
        chapter.table(
            "spreads",
            "Spread over prompts",
            robustness.prompt_spread_table(m.everything, m.plan.level),
            "Spread: best minus worst prompt of a seed, t over seeds. Sampling questions alone makes it greater than "
            "0: compare arms, do not read it as an effect.",
        )
        rows = compare_arms(robustness.seed_prompt_spreads(m.everything), m.contrasts, m.plan)
        chapter.exploratory_contrasts(
            "spread_contrasts",
            "Differences over prompts",
            rows,
            f"EM; {m.plan.test_name.lower()}, p adj.: {m.plan.correction_name} over the rows of a contrast; "
            "exploratory.",
            group="measure",
        )
        spreads = robustness.prompt_spreads(m.everything)
        for axis in dict.fromkeys(
            a for arm in m.frames.arms.values() for a in arm.settings if "perturb" in a or "prompt" in a
        ):
            crossed = robustness.prompt_cross_table(m.everything, m.frames, axis).reset_index()
            chapter.table("prompt_cross", "Trained under, evaluated under", crossed, f"Mean EM; trained under: {axis}.")
    except DegenerateInput as reason:
        chapter.add_sentence(str(reason))
    with contextlib.suppress(DegenerateInput):  # most sweeps do not vary the penalty
        chapter.figures.append(format_penalty.draw_format_penalty(m.frames, spreads, m.plan.level))
    return chapter

"""Parse reliability, and self-correction: malformed turns, injected faults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from analysis import parse_reliability, self_correction, transitions
from analysis.compare import Comparison, compare_arms
from analysis.episode_frames import GREEDY_SPLIT, SAMPLED_SPLIT, Episodes
from analysis.operator_use import operator_use
from analysis.outcome import Outcome
from analysis.parser_accuracy import PARSER_NOTE, parser_accuracy
from analysis.stats.types import DegenerateInput
from analysis.verdict import ContrastVerdict, findings
from reports.chapters.chapter import Chapter, regression_sentence
from reports.figures import parse_failures, survival, training_traces
from reports.report_data import ReportData


def parsing_chapter(m: ReportData) -> Chapter:
    chapter = Chapter("parsing", "Parse reliability", stamp=m.stamp, from_episodes=True)
    level = m.plan.level
    chapter.table(
        "parse_links",
        "Malformed turns and what follows in training",
        parse_reliability.link_table(parse_reliability.link_to_learning(m.frames)),
        "Strongest lag (steps by which malformed turns lead), Spearman's ρ of changes, averaged over runs; p: circular "
        "shifts, for the strongest of all lags; p adj.: Holm over the table. EM, never the reward, which contains the "
        "format score.",
        note="text",
        lag="text",
    )
    chapter.table("parser_accuracy", "The parser on known boundaries", parser_accuracy(), PARSER_NOTE)
    chapter.table(
        "instability",
        "Instability",
        parse_reliability.instability_table(m.frames),
        "Reward-variance cliffs and gradient spikes in training; share of malformed turns in the 3 steps before an "
        "event and in all other steps. Descriptive.",
    )
    chapter.figure(lambda: training_traces.draw_training_traces(m.frames, level=level))
    if m.greedy.episodes.empty:
        chapter.text.append("No episodes of the last greedy evaluation were kept.")
        return chapter
    hops = m.greedy.of(m.greedy.episodes["hops"] >= 0)
    chapter.figure(
        lambda: parse_failures.draw_parse_rates(
            m.frames, parse_reliability.parse_rates(hops, ["arm", "hops"], level), "hops"
        )
    )
    chapter.figure(
        lambda: parse_failures.draw_parse_rates(
            m.frames, parse_reliability.parse_rates(m.greedy, ["arm", "suite"], level), "suite"
        )
    )
    chapter.figure(
        lambda: parse_failures.draw_parse_rate_by_step(
            m.frames, parse_reliability.parse_rates(m.course.split(GREEDY_SPLIT), ["arm", "step"], level)
        )
    )
    wilson = "Wilson with the design effect of questions."
    last = f"Last greedy evaluation; {wilson}"
    chapter.table(
        "parse_rates", "Turns without a parse failure", parse_reliability.parse_rates(m.greedy, ["arm"], level), last
    )
    chapter.table(
        "parse_kinds",
        "Kinds of failure",
        parse_reliability.failure_kinds(m.greedy, ["arm"], level),
        f"Share of turns. {last}",
    )
    rows = compare_arms(parse_reliability.seed_parse_rates(m.greedy, "suite"), m.contrasts, m.plan)
    chapter.exploratory_contrasts(
        "parse_contrasts",
        "Differences in parse rate",
        rows,
        f"{m.plan.test_name}, p adj.: {m.plan.correction_name} over suites; exploratory.",
    )
    chapter.text += _claims(rows, m, Outcome("the parse rate"))
    _complexity(m.greedy, chapter, "", level)
    sampled = m.everything.split(SAMPLED_SPLIT)
    if not sampled.episodes.empty:
        kept = sampled.of(sampled.episodes["hops"] >= 0)
        drawn = f"Answers sampled in the last evaluation, where greedy ones have little room. {wilson}"
        by_hops = parse_reliability.parse_rates(kept, ["arm", "hops"], level)
        chapter.table("parse_rates_sampled", "Sampled turns without a parse failure, by hops", by_hops, drawn)
        by_kind = parse_reliability.failure_kinds(sampled, ["arm"], level)
        chapter.table("parse_kinds_sampled", "Kinds of failure, sampled", by_kind, f"Share of turns. {drawn}")
        _complexity(sampled, chapter, " (sampled answers)", level)
    return chapter


def _complexity(data: Episodes, chapter: Chapter, suffix: str, level: float) -> None:
    """Whether malformed turns cost more on questions of more hops, and come more often there."""
    try:
        em, odds = parse_reliability.hops_regressions(data, level)
    except DegenerateInput as reason:
        chapter.add_sentence(f"{reason}{suffix}")
        return
    for fit, what in ((em, "EM on failure share × hops"), (odds, "malformed episode on hops")):
        chapter.text.append(regression_sentence(fit, f"{what}{suffix}"))


def _claims(rows: Sequence[Comparison], m: ReportData, what: Outcome) -> list[str]:
    """Sentences on the differences that were shown; exploratory, whatever the contrast is for the primary metric."""
    other = [replace(r, contrast=replace(r.contrast, confirmatory=False)) for r in rows]
    return [
        f.sentence
        for f in findings(other, m.plan, what)
        if f.verdict in (ContrastVerdict.HIGHER, ContrastVerdict.LOWER)
    ]


def correction_chapter(m: ReportData) -> Chapter:
    chapter = Chapter("correction", "Self-correction", stamp=m.stamp, from_episodes=True)
    frames, level = m.frames, m.plan.level
    if m.greedy.episodes.empty:
        chapter.text.append("No episodes of the last greedy evaluation were kept.")
        return chapter
    chapter.table(
        "operator_use",
        "Operators called",
        _operators(m, level),
        "Share of episodes that called the operator, at the first and the last evaluation, greedy and sampled; Wilson "
        "with the design effect of questions, rule of three for none. An arm without the operator has never called it.",
    )
    first, back = transitions.parse_failure_curves(m.greedy, level)
    chapter.figure(
        lambda: survival.draw_survival(
            frames,
            first,
            "turns_to_failure",
            "Turns to the first parse failure",
            "Share of episodes without a parse failure yet, by turn; censored where the episode ends",
            "turn",
        )
    )
    chapter.figure(
        lambda: survival.draw_survival(
            frames,
            back,
            "turns_to_recovery",
            "Turns from a malformed turn to a well-formed one",
            "Episodes with a malformed turn: share not yet back to a well-formed one; censored where the episode ends",
            "turns since the first malformed turn",
        )
    )
    tables = {
        arm: transitions.failure_transitions(m.everything.of(m.everything.episodes["arm"] == arm))
        for arm in frames.arms
    }
    chapter.figure(lambda: parse_failures.draw_transitions(frames, tables, ", ".join(m.splits)))
    moves = transitions.operator_transitions(m.everything)
    chapter.table(
        "operator_transitions",
        "What follows a call that failed or was faulted",
        moves.rename_axis("turn").reset_index(),
        f"Counts over all arms, of the operator called (rows) and the next action (columns); {', '.join(m.splits)}.",
    )
    looks = transitions.candidate_reviews(m.everything, (GREEDY_SPLIT, SAMPLED_SPLIT))
    chapter.table(
        "second_looks",
        "What a second look does to an answer",
        transitions.candidate_review_table(looks, level),
        f"Episodes of the last evaluation, greedy and sampled, that called {_either(transitions.CORRECTORS)} after an "
        "operator had given a candidate answer; hurt: of right candidates the share that ended wrong, Wilson with the "
        "design effect of questions; helped: of wrong candidates the share that ended right.",
    )
    if looks.empty:
        chapter.text.append("No episode reviewed a candidate answer.")
    try:
        _faults(m, chapter)
    except DegenerateInput as reason:
        chapter.text.append(f"Injected faults: {reason}.")
    return chapter


def _either(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]])


def _operators(m: ReportData, level: float) -> pd.DataFrame:
    steps = m.course.episodes["step"]
    return operator_use(m.course.of(steps.isin([steps.min(), steps.max()])), level)


def _faults(m: ReportData, chapter: Chapter) -> None:
    frames, level = m.frames, m.plan.level
    counts = self_correction.fault_counts(m.everything)
    if not counts.empty:
        chapter.table(
            "fault_counts",
            "Episodes under injected faults",
            counts,
            "Last evaluation under faults. Struck: a call's result was changed; exposed: the policy read it and took a "
            "further turn.",
        )
        unstruck = ", ".join(counts.loc[counts["struck"] == 0, "arm"])
        chapter.text += [f"No fault struck any episode of {unstruck}: its evaluation is one without faults."] * bool(
            unstruck
        )
    pairs = self_correction.exposures(m.everything, frames=frames)
    chapter.figure(
        lambda: survival.draw_survival(
            frames,
            self_correction.recovery_curves(pairs, level),
            "fault_recovery",
            "Turns to recovery from a fault",
            "Exposures: share not yet recovered; episodes that never do are censored at the cap",
            "turns since the faulted call",
        )
    )
    listed = [(["arm"], "by arm"), (["arm", "fault"], "by fault"), (["arm", "suite"], "by suite")]
    if pairs["pool"].nunique() > 1:
        listed.append((["pool"], "by pool of operators"))
    for by, title in listed:
        chapter.table(
            f"faults_{by[-1]}",
            f"Injected faults {title}",
            self_correction.exposure_table(pairs, by, level),
            "Exposures: the policy read a fault and continued. Detected: a sign of doubt followed; base rate: one "
            "followed the true observation in the fault-free counterpart too. Recovered: right despite it (Wilson, "
            "design effect of questions). Effect: EM with the fault minus EM of the fault-free counterpart (twin), t "
            "over seeds. Hurt: of right twins the share that ended wrong.",
        )
    chapter.table(
        "after_fault",
        "Actions after a fault",
        self_correction.after_fault(pairs),
        "Next action after the faulted call; twin count: of the fault-free twins in the same turn.",
    )
    for contrast in m.contrasts:
        try:
            fit = self_correction.fault_interaction(pairs, contrast, level)
        except DegenerateInput as reason:
            chapter.add_sentence(str(reason))
            continue
        chapter.text.append(regression_sentence(fit, f"EM on fault × arm, {contrast.label}"))
    for name, title, values in (
        ("recovery_contrasts", "Differences in P(recover | fault)", self_correction.seed_recovery(pairs)),
        (
            "effect_contrasts",
            "Differences in the effect of a fault",
            self_correction.seed_fault_effects(pairs, "fault"),
        ),
    ):
        rows = compare_arms(values, m.contrasts, m.plan)
        chapter.exploratory_contrasts(
            name,
            title,
            rows,
            f"{m.plan.test_name}, p adj.: {m.plan.correction_name} over the rows of a contrast; exploratory.",
            group="measure",
        )
        outcome = "P(recover)" if name.startswith("recovery") else "the effect of a fault"
        chapter.text += _claims(rows, m, Outcome(outcome))

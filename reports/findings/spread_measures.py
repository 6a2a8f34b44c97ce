"""Measures of the spread between runs by source, of power by outcome, and of pooled main effects."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.factorial_designs import effect_sentences, effect_table, main_effects
from analysis.outcome_power import (
    PilotContrast,
    effect_points,
    more_sensitive,
    own_contrasts,
    power_by_outcome,
    precision_table,
    seed_counts,
)
from analysis.run_states import evaluation_noise, noise_sentence, noise_table, run_states
from reports.findings.measure_result import MeasureResult, by_name
from reports.packing.read_study import Study
from reports.tables import display_frame


def states_of_runs(study: Study) -> MeasureResult:
    """Runs of each arm by state of the registered metric, where its evaluations have two."""
    found = run_states(study.frames, study.plan.metric)
    if found is None:
        return MeasureResult("Runs by state", None)
    table = display_frame(found.table(), {"upper": "share", "left_at": "text"})
    arms = list(dict.fromkeys(a for c in own_contrasts(study.frames, study.plan) for a in (c.treatment, c.baseline)))
    notes = [
        "Two normal states of all evaluations after the start. upper: share of runs on the upper one at the last step, "
        "Wilson interval; left at: first evaluation above the division, mean over runs, t interval; never: runs that "
        "did not leave the lower one, counted as the last step."
    ]
    return MeasureResult(f"Runs by state: {study.plan.metric}", table, [found.sentence(arms)], notes=notes)


def spread_by_source(study: Study) -> MeasureResult:
    """SD between runs of greedy EM, split into evaluation noise and seed variance."""
    found = evaluation_noise(study.greedy, study.plan.level)
    table = noise_table(found)
    shares = {name: "share" for name in table.columns if "sd" in name}
    notes = [
        "noise: independent answers at each question's own probability over an arm's runs, at these questions and at "
        "700 like them; seed: what is left of the total, interval from the χ² law."
    ]
    return MeasureResult(
        "SD between runs of greedy EM, by source",
        display_frame(table, shares),
        [noise_sentence(found, list(found))],
        notes=notes,
    )


def pooled_power(studies: Sequence[Study], pair: Sequence[str]) -> MeasureResult:
    """Power by outcome from the runs of `studies`: seeds that small differences need, and the precision attained."""
    plan = studies[0].plan
    found = power_by_outcome([PilotContrast(s.frames, *pair) for s in studies], plan)
    best = more_sensitive(found, plan)
    sentences = []
    if best is not None:
        sentences.append(
            f"{found[0].outcome.name}, needs {seed_counts(found[0].needed)} seeds an arm for {effect_points()} points "
            f"with a power of 80 %; {best.outcome.name}, {seed_counts(best.needed)} pairs, at equal differences."
        )
    kinds = dict.fromkeys(("sd", "half_width", "detectable"), "share") | dict.fromkeys(
        ("needed", "needed_normal"), "text"
    )
    notes = [
        f"Spread of {pair[0]} − {pair[1]} within studies, their mean. sd: of what one seed adds to a difference; half "
        "width: of the 95 % t interval with all seeds; seeds needed (pairs, or seeds an arm) for "
        f"{effect_points()} points, by the t law and by the normal law. An area differs by less than the end where "
        "arms part late."
    ]
    return MeasureResult("Power by outcome", display_frame(precision_table(found, plan), kinds), sentences, notes=notes)


def pooled_effects(study: Study) -> MeasureResult:
    """Main effects of a factorial study, pooled over the cells of the other factors."""
    found = main_effects(study.frames, study.plan)
    if not found:
        return MeasureResult("Main effects", None)
    table = display_frame(effect_table(found, study.plan), {"test": "drop", "half_width": "share"})
    notes = ["Mean over cells of equal weight; permutation of runs within cells; t interval; p adj. over the rows."]
    return MeasureResult("Main effects", table, effect_sentences(found, study.plan), notes=notes, tests=True)


SPREAD_MEASURES = by_name(states_of_runs, spread_by_source, pooled_effects)
POOLED_SPREAD_MEASURES = by_name(pooled_power)

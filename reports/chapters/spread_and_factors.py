"""Spread between runs by its sources, and main effects of factorial designs."""

from __future__ import annotations

from analysis.factorial_designs import effect_sentences, effect_table, interactions, main_effects
from analysis.outcome_power import own_contrasts
from analysis.run_states import MORE_QUESTIONS, evaluation_noise, noise_sentence, noise_table, run_states
from reports.chapters.chapter import Chapter
from reports.report_data import ReportData


def registered_arms(m: ReportData) -> list[str]:
    """Arms of the registered contrast, or of all contrasts without one."""
    pairs = own_contrasts(m.frames, m.plan)
    return list(dict.fromkeys(arm for c in pairs for arm in (c.treatment, c.baseline)))


def spread_chapter(m: ReportData) -> Chapter:
    """Evaluation noise against seeds' own spread, and runs in two states."""
    chapter = Chapter("spread", "Spread between runs", stamp=m.stamp)
    named = registered_arms(m)
    states = run_states(m.frames, m.plan.metric)
    if states is not None:
        chapter.table(
            "run_states",
            f"Runs by state: {m.plan.metric}",
            states.table(),
            f"Two normal states fitted to all evaluations after the start: {states.fit.low:.3f} and "
            f"{states.fit.high:.3f}, divided at {states.fit.threshold:.3f}. upper: share on the upper one at step "
            f"{states.last_step}, Wilson interval; left at: first evaluation above the division, mean over runs, t "
            "interval; never: runs that did not leave it, counted as the last step.",
            upper="share",
            left_at="text",
        )
    noise = evaluation_noise(m.greedy, m.plan.level)
    sentence = noise_sentence(noise, named)
    if sentence:
        chapter.text.append(sentence)
    chapter.table(
        "evaluation_noise",
        "Spread of greedy EM by source",
        noise_table(noise),
        "SD over runs of an arm's greedy EM at the last step. noise: independent answers at each question's own "
        f"probability over the arm's runs, at these questions and at {MORE_QUESTIONS} like them; seed: what is left, "
        "interval from the χ² law.",
        total_sd="share",
        noise_sd="share",
        seed_sd="share",
        **{f"noise_sd_at_{MORE_QUESTIONS}": "share"},
    )
    if not chapter.tables:
        chapter.text.append("Too few runs an arm, or no greedy episodes, to split their spread.")
    return chapter


def factors_chapter(m: ReportData) -> Chapter:
    """Main effects pooled over the other factors, beside the simple contrasts, and interactions."""
    chapter = Chapter("factors", "Main effects and interactions", stamp=m.stamp)
    found = main_effects(m.frames, m.plan)
    if not found:
        chapter.text.append("No two values of an axis ran under two values of another: no main effect to pool.")
        return chapter
    chapter.text += effect_sentences(found, m.plan)
    how = "sign flips of seeds' means over cells" if m.plan.paired else "permutation of runs within cells"
    chapter.table(
        "main_effects",
        "Main effects",
        effect_table(found, m.plan),
        f"{m.summary.contrasted}. Mean over cells (combinations of the other factors) of the difference in each, cells "
        f"of equal weight; {how}; t interval; p adj.: {m.plan.correction_name} over the rows. The simple contrasts are "
        "those of one cell. Exploratory.",
        test="drop",
        half_width="share",
    )
    chapter.table(
        "interactions",
        "Interactions",
        effect_table(interactions(m.frames, m.plan), m.plan),
        "Difference in one cell minus the difference in another. half width: what an interaction would have to exceed "
        "to be seen here. Exploratory.",
        test="drop",
        half_width="share",
    )
    return chapter

"""Input data of a report: frames, plan, comparisons, episodes of the last evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.design_evidence import check_design
from analysis.episode_frames import (
    COUNTERFACTUAL_SPLIT,
    FAULTED_SPLIT,
    GREEDY_SPLIT,
    PROMPT_SPLITS,
    SAMPLED_SPLIT,
    Episodes,
    load_episodes,
)
from analysis.frames import Frames
from analysis.preregistration import Registration, check_registration
from analysis.registered_plan import AnalysisPlan, ArmContrast, contrasts
from analysis.summary import SweepSummary, summarise
from analysis.verdict import Finding, findings


@dataclass(frozen=True)
class ReportData:
    """`greedy` holds the last greedy evaluation, `everything` also the sampled, faulted, counterfactual and perturbed
    ones, `course` the greedy and sampled ones of all steps that are kept."""

    frames: Frames
    registration: Registration
    summary: SweepSummary
    contrasts: tuple[ArmContrast, ...]
    findings: tuple[Finding, ...]
    greedy: Episodes
    everything: Episodes
    course: Episodes

    @property
    def stamp(self) -> str:
        """The end of a table's caption."""
        f = self.frames
        return f"Seeds: {f.seed_text()}; questions: {f.question_text()}. Configuration {f.config_hash}."

    @property
    def splits(self) -> list[str]:
        """Names of the evaluations in `everything`."""
        return sorted(str(s) for s in self.everything.episodes["split"].unique())

    @property
    def plan(self) -> AnalysisPlan:
        return self.registration.plan


def gather_report_data(frames: Frames) -> ReportData:
    """Load the data of a report. Raises ValueError when no trial finished, or an episode file is broken."""
    registration = check_registration(frames)
    summary = summarise(frames, registration.plan, checks=check_design(frames, registration.plan))
    evaluations = [GREEDY_SPLIT, SAMPLED_SPLIT, FAULTED_SPLIT, COUNTERFACTUAL_SPLIT, PROMPT_SPLITS]
    everything = load_episodes(frames, evaluations, last_only=True)
    greedy = everything.split(GREEDY_SPLIT)
    return ReportData(
        frames,
        registration,
        summary,
        tuple(contrasts(frames, registration.plan)),
        tuple(findings(summary.contrasts, summary.plan, checks=summary.checks)),
        greedy,
        everything,
        load_episodes(frames, [GREEDY_SPLIT, SAMPLED_SPLIT]),
    )

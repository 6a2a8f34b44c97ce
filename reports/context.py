"""Everything a report is made from, gathered once: frames, plan, comparisons, episodes of the last evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.episode_frames import FAULTED, GREEDY, PROMPT, SAMPLED, TWIN, Episodes, load_episodes
from analysis.frames import Frames
from analysis.preregistration import Registration, check
from analysis.registered_plan import Contrast, Plan, contrasts
from analysis.summary import SweepSummary, summarise
from analysis.verdict import Finding, findings


@dataclass(frozen=True)
class Material:
    """`greedy` holds the last greedy evaluation, `everything` also the sampled, faulted, twin and perturbed ones,
    `course` the greedy and sampled ones of all steps that are kept."""

    frames: Frames
    registration: Registration
    summary: SweepSummary
    contrasts: tuple[Contrast, ...]
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
    def plan(self) -> Plan:
        return self.registration.plan


def gather(frames: Frames) -> Material:
    """Raises ValueError when no trial finished, or an episode file is broken."""
    registration = check(frames)
    summary = summarise(frames, registration.plan)
    evaluations = [GREEDY, SAMPLED, FAULTED, TWIN, PROMPT]
    everything = load_episodes(frames, evaluations, last_only=True)
    greedy = everything.split(GREEDY)
    return Material(
        frames,
        registration,
        summary,
        tuple(contrasts(frames, registration.plan)),
        tuple(findings(summary.contrasts, registration.plan)),
        greedy,
        everything,
        load_episodes(frames, [GREEDY, SAMPLED]),
    )

"""Earlier data of a design, against which a dry run evaluates the plan's checks and the spread between seeds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from analysis.check_result import CheckResult, failed
from analysis.design_evidence import check_design
from analysis.frames import Frames
from analysis.load import load_frames
from analysis.planted_effects import run_assay
from analysis.registered_plan import AnalysisPlan
from analysis.requirements import evaluate_requirements
from harness.config import SweepSpec
from reports.findings.design_checks import study_evidence
from reports.packing.pilots import same_design
from reports.packing.read_study import read_study
from reports.packing.results_folder import PROVENANCE_FILE, RESULTS_FOLDER


class PilotError(ValueError):
    """The folder holds neither a sweep with finished trials nor a study's results."""


@dataclass(frozen=True, slots=True)
class Pilot:
    """`checks`: the plan's, on the pilot's data, those of planted arms left out where it has none."""

    path: Path
    frames: Frames
    checks: tuple[CheckResult, ...]

    @property
    def name(self) -> str:
        """The folder, within a checkout's results its name there."""
        return f"results/{self.path.name}" if self.path.parent == RESULTS_FOLDER else str(self.path)

    @property
    def failing(self) -> list[CheckResult]:
        """Checks that were measured and do not hold."""
        return [c for c in failed(self.checks) if c.observed is not None]

    @property
    def unmeasured(self) -> list[CheckResult]:
        return [c for c in self.checks if c.observed is None]


def find_pilots(spec: SweepSpec, plan: AnalysisPlan, given: Path | None) -> list[Path]:
    """The folder that was given, else the committed results of studies that compared the same under the same settings
    (none outside of a checkout)."""
    return [given] if given is not None else same_design(plan, spec.file.profile, spec.file.fixed)


def read_pilot(path: Path, plan: AnalysisPlan, seeds: int) -> Pilot:
    """Read a sweep's folder or a results folder and evaluate the checks of `plan`, a study of `seeds` seeds an arm.

    Raises PilotError.
    """
    try:
        if (path / PROVENANCE_FILE).is_file():
            study = read_study(path)
            frames = study.frames
            checks = evaluate_requirements(plan.requires, replace(study_evidence(study), plan=plan))
        else:
            frames = load_frames(path)
            checks = list(check_design(frames, replace(plan, assay=None)))
        assay = run_assay(frames, plan, seeds)
    except (OSError, ValueError, KeyError) as error:
        raise PilotError(f"{path}: {error}") from error
    planted = [] if assay is None else assay.checks if assay.handicap is not None else assay.checks[:1]
    return Pilot(path, frames, (*checks, *planted))

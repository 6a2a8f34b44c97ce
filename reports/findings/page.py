"""FINDINGS.md: an overview table, one entry a claim, and provenance. Equal results give equal bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.check_result import failed
from analysis.outcome import metric_name
from analysis.projected_power import planned_arms
from analysis.stats.types import DegenerateInput
from harness.config import SweepSpec, load_sweep
from reports.figure_style import Figure
from reports.figures import forest, learning_curves
from reports.findings.claims import Claim, read_claims
from reports.findings.contrast_measures import registered_contrast, withdraw_verdict
from reports.findings.design_checks import design_checks_section, evaluate_study_checks
from reports.findings.entry import MAX_CURVES, PICTURES_FOLDER, claim_entry
from reports.findings.identical_runs import find_identical_runs
from reports.findings.measure_registry import MEASURES, POOLED_MEASURES
from reports.findings.measure_result import MeasureResult
from reports.findings.overview import adjust_over_page, overview_verdict
from reports.findings.readme_result import README_STUDY, insert_result, readme_result
from reports.packing.read_study import Study, committed_studies
from reports.tables import markdown_table

REPORTS_FOLDER = Path(__file__).resolve().parents[1]
ABLATIONS = REPORTS_FOLDER.parent / "ablations"
FINDINGS_FILE = "FINDINGS.md"
README_FILE = REPORTS_FOLDER.parent / "README.md"
NOT_TESTED = "not tested by these studies"
HEAD_FILE = Path(__file__).with_name("head.md")
"""Introduction of the page: how to read it, and the scope of the studies."""


@dataclass(frozen=True)
class Page:
    """`text` of FINDINGS.md and its pictures, by file name."""

    text: str
    pictures: Mapping[str, bytes]


def make_page(studies: Mapping[str, Study], claims: Sequence[Claim], ablations: Path = ABLATIONS) -> Page:
    """Raises KeyError for a claim about a study that has no file in `ablations`."""
    files = {p.stem: load_study_plan(p) for p in sorted(ablations.glob("*.yaml"))}
    pictures = {f"{name}_{f.name}.svg": f.svg for name, s in studies.items() if not s.small for f in study_figures(s)}
    overview, entries, registered, same, drawn = [], [], [], [], set()
    for i, claim in enumerate(claims, 1):
        study = studies.get(claim.study) if claim.study else None
        plan = files[claim.study] if claim.study else None
        checks = evaluate_study_checks(study, claim.requires) if study else []
        measured = claim_measures(claim, study, studies, bool(failed(checks))) if study else []
        verdict, short = overview_verdict(study, measured, checks) if claim.study else (NOT_TESTED, "–")
        overview.append((f"{i}", claim.kind, f"[{claim.title}](#{anchor(f'{i}. {claim.title}')})", verdict, short))
        counted = study is not None and not study.small
        registered.append([r.test.p for m in measured for r in m.rows[: len(m.verdicts)]] if counted else [])
        same.append([p for m in measured for p in m.equivalence_p] if counted else [])
        shown = [] if claim.study in drawn else [n for n in pictures if n.startswith(f"{claim.study}_")]
        drawn.add(claim.study)
        entries.append(claim_entry(i, claim, study, measured, verdict, plan, shown, checks))
    table = pd.DataFrame(overview, columns=["", "kind", "claim or limitation", "verdict", "number"])
    table["p over the page"] = adjust_over_page(registered)
    table["TOST over the page"] = adjust_over_page(same)
    sources = "\n".join(provenance_line(s) for s in studies.values()) or "None yet."
    text = "\n".join(
        [
            HEAD_FILE.read_text(encoding="utf-8"),
            markdown_table(table, links=["claim or limitation"]),
            "",
            *entries,
            *design_checks_section(studies, claims),
            "## Where the numbers come from",
            "",
            sources,
            "",
            *identical_runs_section(studies),
        ]
    )
    return Page(text, pictures)


def load_study_plan(path: Path) -> SweepSpec:
    """Parse a study's sweep file. A real-data profile gets a placeholder path, on which no number here depends."""
    real = "profile: smollm2" in path.read_text(encoding="utf-8")
    return load_sweep(path, ["data.path=FOLDER"] if real else [], checks=())


def claim_measures(
    claim: Claim, study: Study, studies: Mapping[str, Study], could_not_tell: bool
) -> list[MeasureResult]:
    """Results of a claim's measures, without a verdict where its design could not tell."""
    found = [_measure(name, settings, study, studies) for name, settings in claim.measures]
    return [withdraw_verdict(m) for m in found] if could_not_tell else found


def _measure(name: str, settings: Mapping[str, Any], study: Study, studies: Mapping[str, Study]) -> MeasureResult:
    if name not in POOLED_MEASURES:
        return MEASURES[name](study, **settings)
    names = settings["studies"]
    absent = [n for n in names if n not in studies or studies[n].small]
    if absent:
        return MeasureResult(name, None, [f"Not computed: {', '.join(absent)} has no results yet."])
    rest = {key: value for key, value in settings.items() if key != "studies"}
    return POOLED_MEASURES[name]([studies[n] for n in names], **rest)


def identical_runs_section(studies: Mapping[str, Study]) -> list[str]:
    """Table of arms whose runs are identical and therefore no independent evidence."""
    found = find_identical_runs(studies)
    if not found:
        return []
    table = pd.DataFrame(
        [(r.first, r.second, r.seeds, r.steps) for r in found], columns=["arm", "same runs as", "seeds", "steps"]
    )
    return [
        "The same arm from the same seed on the same kind of processor is the same run, to the last digit, in every "
        "study, and so are two arms of one study that specify the same objective in two ways: these are one piece of "
        "evidence, not two. On another processor the runs of a seed diverge.",
        "",
        markdown_table(table),
        "",
    ]


def study_figures(study: Study) -> list[Figure]:
    """Learning curves of the registered metric over all suites, and a forest plot of the registered contrast."""
    frames, plan = study.frames, study.plan
    if len(frames.arms) > MAX_CURVES:
        frames = replace(frames, arms={arm: frames.arms[arm] for arm in planned_arms(frames, plan)})
    out = []
    try:
        out.append(learning_curves.draw_learning_curves(frames, plan.metric, metric_name(plan.metric), by_suite=False))
        rows = registered_contrast(study).rows
        if len({r.group for r in rows}) > 1:
            out.append(forest.draw_forest(frames, rows, plan, metric_name(plan.metric)))
    except DegenerateInput:
        pass  # too few runs to draw: tables and verdict report it
    return out


def provenance_line(study: Study) -> str:
    """Provenance of a study as a list item: command, hashes, revision, machine, trials."""
    p = study.provenance
    revision = (
        f"commit {p['revision'][:12]}" if p["revision"] else f"code version {', '.join(c[:12] for c in p['codes'])}"
    )
    seconds = f", {p['seconds_per_trial']:g} s a trial" if p["seconds_per_trial"] else ""
    place = f"[{study.frames.name}](results/{study.frames.name}/)"
    made = f"configuration `{p['configuration']}`, plan `{str(p['preregistration'])[:12]}`, {revision}"
    counted = f"{p['trials']['counted']} of {p['trials']['declared']} trials"
    return f"- {place}: `{p['command']}`; {made}; {p['machine']}{seconds}; {counted}."


def anchor(title: str) -> str:
    """GitHub's anchor of a heading."""
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def updated_readme(studies: Mapping[str, Study], text: str) -> str:
    """The README's `text` with its result block regenerated."""
    return insert_result(
        text,
        readme_result(
            studies[README_STUDY], (REPORTS_FOLDER / PICTURES_FOLDER).relative_to(README_FILE.parent).as_posix()
        ),
    )


def regenerate() -> Page:
    """Write the page, its pictures and the README's result; pictures without a study are removed."""
    studies = committed_studies()
    page = make_page(studies, read_claims())
    (REPORTS_FOLDER / PICTURES_FOLDER).mkdir(parents=True, exist_ok=True)
    for old in (REPORTS_FOLDER / PICTURES_FOLDER).glob("*.svg"):
        if old.name not in page.pictures:
            old.unlink()
    for name, data in page.pictures.items():
        (REPORTS_FOLDER / PICTURES_FOLDER / name).write_bytes(data)
    (REPORTS_FOLDER / FINDINGS_FILE).write_text(page.text, encoding="utf-8")
    README_FILE.write_text(updated_readme(studies, README_FILE.read_text(encoding="utf-8")), encoding="utf-8")
    return page

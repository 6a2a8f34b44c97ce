"""The page: an overview, then an entry a claim. The same results give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.compare import format_p
from analysis.projected_power import planned_arms
from analysis.stats.multiplicity import holm
from analysis.stats.permutation import smallest_p
from analysis.stats.types import DegenerateInput
from analysis.verdict import ContrastVerdict
from harness.config import SweepSpec, load_sweep
from reports.figure_style import Figure
from reports.figures import forest, learning_curves
from reports.findings.claims import Claim, read_claims
from reports.findings.contrast_measures import CONFIRMATORY, DESCRIPTIVE, registered_contrast, withdraw_verdict
from reports.findings.identical_runs import find_identical_runs
from reports.findings.measure_registry import MEASURES, POOLED
from reports.findings.measure_result import MeasureResult, metric_name
from reports.findings.readme_result import README_STUDY, insert_result, readme_result
from reports.packing.read_study import Study, committed_studies
from reports.tables import markdown_table

REPORTS_FOLDER = Path(__file__).resolve().parents[1]
ABLATIONS = REPORTS_FOLDER.parent / "ablations"
FINDINGS_FILE, PICTURES_FOLDER = "FINDINGS.md", Path("pictures/findings")
README_FILE = REPORTS_FOLDER.parent / "README.md"
MAX_CURVES = 7
"""Arms in a picture: more cannot be told apart by their colours."""
NOT_RUN = "not run in full yet"
NOT_TESTED = "not tested by these studies"
COULD_NOT_TELL = "design could not tell"

VERDICT_PHRASES = {
    ContrastVerdict.HIGHER: "higher, as claimed",
    ContrastVerdict.LOWER: "lower instead",
    ContrastVerdict.EQUIVALENT: "equivalent within the margin",
    ContrastVerdict.UNDECIDED: "not shown",
    ContrastVerdict.UNREACHABLE: "cannot be said with these seeds",
}
"""What a verdict means for a hypothesis that the contrast is above zero."""

HEAD_FILE = Path(__file__).with_name("head.md")
"""How to read the page, and what the studies cannot say."""


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
        measured = claim_measures(claim, study, studies) if study else []
        verdict, short = (
            overview_verdict(study, measured, bool(claim.could_not_tell)) if claim.study else (NOT_TESTED, "–")
        )
        overview.append((f"{i}", claim.kind, f"[{claim.title}](#{anchor(f'{i}. {claim.title}')})", verdict, short))
        counted = study is not None and not study.small
        registered.append([r.test.p for m in measured for r in m.rows[: len(m.verdicts)]] if counted else [])
        same.append([p for m in measured for p in m.same] if counted else [])
        shown = [] if claim.study in drawn else [n for n in pictures if n.startswith(f"{claim.study}_")]
        drawn.add(claim.study)
        entries.append(claim_entry(i, claim, study, measured, verdict, plan, shown))
    table = pd.DataFrame(overview, columns=["", "kind", "claim or limitation", "verdict", "number"])
    table["p over the page"] = adjust_over_page(registered)
    table["TOST over the page"] = adjust_over_page(same)
    sources = "\n".join(provenance_line(s) for s in studies.values()) or "None yet."
    text = "\n".join(
        [
            HEAD_FILE.read_text(encoding="utf-8"),
            markdown_table(table),
            "",
            *entries,
            "## Where the numbers come from",
            "",
            sources,
            "",
            *identical_runs_section(studies),
        ]
    )
    return Page(text, pictures)


def load_study_plan(path: Path) -> SweepSpec:
    """A study's file; a real-data profile is given a place, which no number here depends on."""
    real = "profile: smollm2" in path.read_text(encoding="utf-8")
    return load_sweep(path, ["data.path=FOLDER"] if real else [], checks=())


def claim_measures(claim: Claim, study: Study, studies: Mapping[str, Study]) -> list[MeasureResult]:
    """The measures of a claim, without a verdict where its design could not tell."""
    found = [_measure(name, settings, study, studies) for name, settings in claim.measures]
    return [withdraw_verdict(m) for m in found] if claim.could_not_tell else found


def _measure(name: str, settings: Mapping[str, Any], study: Study, studies: Mapping[str, Study]) -> MeasureResult:
    if name not in POOLED:
        return MEASURES[name](study, **settings)
    names = settings["studies"]
    absent = [n for n in names if n not in studies or studies[n].small]
    if absent:
        return MeasureResult(name, None, [f"Not computed: {', '.join(absent)} has no results yet."])
    rest = {key: value for key, value in settings.items() if key != "studies"}
    return POOLED[name]([studies[n] for n in names], **rest)


def overview_verdict(
    study: Study | None, measured: Sequence[MeasureResult], could_not_tell: bool = False
) -> tuple[str, str]:
    """Verdict and number for the overview: the registered one, or else one that an entry names, marked exploratory.

    Where the design could not tell, the number is the registered difference without its p.
    """
    if study is None:
        return NOT_RUN, "–"
    if study.small:
        return f"{NOT_RUN}: small-mode data only", "–"
    judged = [m for m in measured if m.role == CONFIRMATORY]
    asides = [m.aside for m in measured if m.aside]
    if could_not_tell:
        differences = [m.short for m in measured if m.role == DESCRIPTIVE]
        return COULD_NOT_TELL, "; ".join([*differences, *asides]) or "–"
    if not judged:
        number = next((f"exploratory: {m.short}" for m in measured if m.short), "–")
        return "described", "; ".join([number, *asides])
    words = [_word(m, i) for m in judged for i in range(len(m.verdicts))]
    missing = absent_seeds(study)
    return ("; ".join(words) + (" (interim)" if missing else "")), "; ".join([judged[0].short, *asides])


def _word(measured: MeasureResult, i: int) -> str:
    """The i-th verdict, with its stratum where there are several."""
    word = VERDICT_PHRASES[measured.verdicts[i]]
    return f"{word} ({measured.rows[i].contrast.stratum})" if len(measured.verdicts) > 1 else word


def adjust_over_page(registered: Sequence[Sequence[float | None]]) -> list[str]:
    """Of each entry the p of its registered contrasts, corrected by Holm over all of the page."""
    adjusted = iter(holm([p for entry in registered for p in entry]))
    return ["; ".join(format_p(next(adjusted)) for _ in entry) or "–" for entry in registered]


def identical_runs_section(studies: Mapping[str, Study]) -> list[str]:
    """Which arms are no evidence beside each other."""
    found = find_identical_runs(studies)
    if not found:
        return []
    table = pd.DataFrame(
        [(r.first, r.second, r.seeds, r.steps) for r in found], columns=["arm", "same runs as", "seeds", "steps"]
    )
    return [
        "The same arm from the same seed on the same kind of processor is the same run, to the last digit, in whatever "
        "study, and so are two arms of one study that name the same objective in two ways: these are one piece of "
        "evidence, not two. On another processor a seed goes another way.",
        "",
        markdown_table(table),
        "",
    ]


def absent_seeds(study: Study) -> int:
    """Trials that were registered with the results and have none."""
    return int(study.provenance["trials"]["declared"]) - int(study.provenance["trials"]["counted"])


def claim_entry(
    number: int,
    claim: Claim,
    study: Study | None,
    measured: Sequence[MeasureResult],
    verdict: str,
    spec: SweepSpec | None,
    pictures: Sequence[str],
) -> str:
    """The section of a claim. `spec`: the plan of its study, if there is one."""
    lines = [f"## {number}. {claim.title}", "", f"*{claim.kind.capitalize()}.* {claim.says.strip()}", ""]
    plan = f" {design_sentence(spec, study)}" if spec else ""
    lines += [f"**Question.** {claim.question.strip()}", "", f"**Design.** {claim.design.strip()}{plan}", ""]
    if spec is None:
        lines += [f"**Verdict.** {verdict[0].upper()}{verdict[1:]}.", ""]
    elif study is None:
        lines += [f"**Not run in full yet.** `python -m harness.sweep ablations/{claim.study}.yaml` runs it.", ""]
    elif study.small:
        lines += ["**Not run in full yet: small-mode data only.** They show that the study runs, and nothing else.", ""]
    else:
        lines += _numbers(measured, study, spec)
        if pictures and len(study.frames.arms) > MAX_CURVES:
            lines += ["Curves of the registered pair alone; those of all arms are in the study's report.", ""]
        for name in pictures:
            lines += [f"![{name}]({PICTURES_FOLDER.as_posix()}/{name})", ""]
        lines += [f"**Verdict.** {verdict[0].upper()}{verdict[1:]}.", ""]
        lines += [claim.could_not_tell.strip(), ""] if claim.could_not_tell else []
        lines += [*_sentences(measured), ""]
    lines += [f"**What would change it.** {claim.changes.strip()}", ""]
    return "\n".join(lines)


def _sentences(measured: Sequence[MeasureResult]) -> list[str]:
    return [f"- {s}" for m in measured for s in m.sentences]


def _numbers(measured: Sequence[MeasureResult], study: Study, spec: SweepSpec) -> list[str]:
    lines = [f"{s}\n" for s in caveats(study, spec)]
    for m in measured:
        if m.table is not None and len(m.table):
            lines += [f"{m.heading} ({m.role}):", "", markdown_table(m.table), ""]
            lines += [f"{note}\n" for note in m.notes]
    return lines


def caveats(study: Study, spec: SweepSpec) -> list[str]:
    """What a reader must know before the numbers: a plan that changed, seeds that are missing."""
    out = []
    if not study.registration.kept:
        out += [f"**{s}**" for s in study.registration.sentences if "MISMATCH" in s]
    changed = changed_since(study, spec)
    if changed:
        recorded, now = str(study.provenance["preregistration"])[:12], spec.preregistration[:12]
        out.append(
            f"These results were registered as `{recorded}`; the file now registers `{now}` ({', '.join(changed)}), "
            "and under that plan nothing has been run."
        )
    missing = absent_seeds(study)
    if missing:
        out.append(f"Interim: {missing} of {study.provenance['trials']['declared']} registered trials have no result.")
    return out


def changed_since(study: Study, spec: SweepSpec) -> list[str]:
    """Parts of the registered plan that the sweep file states otherwise now. Absent settings are what null is."""
    then, now = study.frames.config, spec.file.model_dump(mode="json")
    seeds = (len(then["seeds"]), len(now["seeds"]))
    out = [f"{seeds[1]} seeds instead of {seeds[0]}"] if then["seeds"] != now["seeds"] else []
    out += ["another hypothesis"] if then["hypothesis"].split() != now["hypothesis"].split() else []
    return out + (["another analysis"] if _given(then.get("analysis")) != _given(now["analysis"]) else [])


def _given(tree: Any) -> Any:
    return {k: _given(v) for k, v in tree.items() if v is not None} if isinstance(tree, Mapping) else tree


def design_sentence(spec: SweepSpec, study: Study | None = None) -> str:
    """The registered plan in a sentence, from the sweep file; of a study with results how many questions it asks."""
    plan = spec.file.analysis
    arms = len(spec.cells) // max(1, len(spec.file.seeds))
    steps = sorted({config.steps for _, config in spec.cells})
    text = f"{arms} arms × {len(spec.file.seeds)} seeds, {', '.join(map(str, steps))} steps"
    if study is not None and study.frames.questions:
        text += f", {sum(study.frames.questions.values())} questions ({study.frames.question_text()})"
    if plan is None:
        return f"{text}; nothing is registered."
    a, b = plan.primary.contrast
    least = format_p(smallest_p(len(spec.file.seeds), len(spec.file.seeds)))
    return (
        f"{text}; registered: {metric_name(plan.primary.metric)}, {a} against {b}, margin {plan.margin:g}, "
        f"α = {plan.alpha:g}, {plan.correction.capitalize()}; smallest attainable p {least}."
    )


def study_figures(study: Study) -> list[Figure]:
    """The learning curve of the registered metric over all suites, and the forest of the registered contrast."""
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
        pass  # too few runs to draw: the tables and the verdict above say so
    return out


def provenance_line(study: Study) -> str:
    """A line of provenance."""
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
    """The README's `text` with its result made anew."""
    return insert_result(
        text,
        readme_result(
            studies[README_STUDY], (REPORTS_FOLDER / PICTURES_FOLDER).relative_to(README_FILE.parent).as_posix()
        ),
    )


def regenerate() -> Page:
    """Write the page, its pictures and the README's result; pictures of studies that are gone are removed."""
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

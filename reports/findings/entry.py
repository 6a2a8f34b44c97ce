"""One entry of FINDINGS.md: claim, question, design, numbers, verdict, and evidence that would change it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.check_result import CheckResult, failed
from analysis.compare import format_p
from analysis.outcome import metric_name
from analysis.stats.permutation import smallest_p
from harness.config import SweepSpec
from reports.findings.claims import Claim
from reports.findings.measure_result import MeasureResult
from reports.findings.overview import absent_seeds
from reports.packing.read_study import Study
from reports.tables import markdown_table

PICTURES_FOLDER = Path("pictures/findings")
MAX_CURVES = 7
"""Most arms in a picture whose colours are still distinguishable."""


def claim_entry(
    number: int,
    claim: Claim,
    study: Study | None,
    measured: Sequence[MeasureResult],
    verdict: str,
    spec: SweepSpec | None,
    pictures: Sequence[str],
    checks: Sequence[CheckResult] = (),
) -> str:
    """Markdown section of a claim. `spec`: the plan of its study, None where no study tests it."""
    lines = [f"## {number}. {claim.title}", "", f"*{claim.kind.capitalize()}.* {claim.statement.strip()}", ""]
    plan = f" {design_sentence(spec, study)}" if spec else ""
    lines += [f"**Question.** {claim.question.strip()}", "", f"**Design.** {claim.design.strip()}{plan}", ""]
    if spec is None:
        lines += [f"**Verdict.** {verdict[0].upper()}{verdict[1:]}.", ""]
    elif study is None:
        lines += [f"**Not run in full yet.** `python -m harness.sweep ablations/{claim.study}.yaml` runs it.", ""]
    elif study.small:
        lines += ["**Not run in full yet: small-mode data only.** They show only that the study runs.", ""]
    else:
        lines += _numbers(measured, study, spec)
        if pictures and len(study.frames.arms) > MAX_CURVES:
            lines += ["Curves of the registered pair; those of all arms are in the study's report.", ""]
        for name in pictures:
            lines += [f"![{name}]({PICTURES_FOLDER.as_posix()}/{name})", ""]
        lines += [f"**Verdict.** {verdict[0].upper()}{verdict[1:]}.", ""]
        unmet = [r.sentence for r in failed(checks)]
        lines += [" ".join(unmet), ""] if unmet else []
        lines += [claim.could_not_tell.strip(), ""] if unmet and claim.could_not_tell else []
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
    """Warnings that precede the numbers: a changed plan, missing seeds."""
    out = []
    if not study.registration.kept:
        out += [f"**{s}**" for s in study.registration.sentences if "MISMATCH" in s]
    changed = changed_since(study, spec)
    if changed:
        recorded, now = str(study.provenance["preregistration"])[:12], spec.preregistration[:12]
        out.append(
            f"These results were registered as `{recorded}`; the file now registers `{now}` ({', '.join(changed)}), "
            "and no run has used that plan."
        )
    missing = absent_seeds(study)
    if missing:
        out.append(f"Interim: {missing} of {study.provenance['trials']['declared']} registered trials have no result.")
    return out


def changed_since(study: Study, spec: SweepSpec) -> list[str]:
    """Parts of the registered plan that differ from the present sweep file. An absent setting equals null."""
    then, now = study.frames.config, spec.file.model_dump(mode="json")
    seeds = (len(then["seeds"]), len(now["seeds"]))
    out = [f"{seeds[1]} seeds instead of {seeds[0]}"] if then["seeds"] != now["seeds"] else []
    out += ["another hypothesis"] if then["hypothesis"].split() != now["hypothesis"].split() else []
    return out + (["another analysis"] if _given(then.get("analysis")) != _given(now["analysis"]) else [])


def _given(tree: Any) -> Any:
    return {k: _given(v) for k, v in tree.items() if v is not None} if isinstance(tree, Mapping) else tree


def design_sentence(spec: SweepSpec, study: Study | None = None) -> str:
    """The registered plan in one sentence, from the sweep file; with the number of questions where results exist."""
    plan = spec.file.analysis
    arms = len(spec.cells) // max(1, len(spec.file.seeds))
    steps = sorted({config.steps for _, config in spec.cells})
    text = f"{arms} arms × {len(spec.file.seeds)} seeds, {', '.join(map(str, steps))} steps"
    if study is not None and study.frames.questions:
        text += f", {sum(study.frames.questions.values())} questions ({study.frames.question_text()})"
    if plan is None:
        return f"{text}; nothing is registered."
    a, b = plan.primary.contrast
    least = format_p(smallest_p(len(spec.file.seeds), len(spec.file.seeds), plan.paired))
    return (
        f"{text}; registered: {metric_name(plan.primary.metric)}, {a} against {b}, margin {plan.margin:g}, "
        f"α = {plan.alpha:g}, {plan.correction.capitalize()}; smallest attainable p {least}."
    )

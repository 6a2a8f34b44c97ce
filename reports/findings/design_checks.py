"""Design checks of the committed studies, evaluated on their committed data, and their table on the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from analysis.check_result import CheckResult, check_table
from analysis.episode_frames import GREEDY_SPLIT, SAMPLED_SPLIT
from analysis.planted_effects import run_assay, without_planted
from analysis.requirements import Evidence, evaluate_requirements
from reports.findings.claims import Claim, Requires, validated_requirements
from reports.packing.read_study import Study
from reports.tables import markdown_table

_FILE = Path(__file__).with_name("design_checks.yaml")

CHECKS_HEADING = "Design checks of all committed studies"


def study_evidence(study: Study) -> Evidence:
    """Evidence from a results folder: metrics, greedy answers, and the report's tables of calls and of exposures.

    Of the arms that the study compares: planted ones have checks of their own."""
    frames, answers = without_planted(study.frames, study.plan), study.greedy
    answers = answers.of(answers.episodes["arm"].isin(list(frames.arms)))
    faults, met = study.tables.get("faults_arm"), None
    if faults is not None:
        counts = zip(faults["arm"], faults["exposures"], strict=True)
        met = {str(a): int(n) for a, n in counts if str(a) in frames.arms}
    return Evidence(frames, study.plan, answers, study.tables.get("operator_use"), met)


def evaluate_study_checks(study: Study, after_the_fact: Requires = ()) -> list[CheckResult]:
    """Results of the registered checks of a study's plan, its assay's included, then of those set after its runs."""
    evidence = study_evidence(study)
    later = [_logged(study, r) for r in after_the_fact]
    return [*_registered_checks(study, evidence), *evaluate_requirements(later, evidence)]


def _registered_checks(study: Study, evidence: Evidence) -> list[CheckResult]:
    assay = run_assay(study.frames, study.plan)
    return [*evaluate_requirements(study.plan.requires, evidence), *(assay.checks if assay is not None else ())]


def _logged(study: Study, requirement: Mapping[str, Any]) -> Mapping[str, Any]:
    """The check on greedy answers where sampled ones were not logged."""
    metric = str(requirement.get("metric", ""))
    if not metric.startswith(f"{SAMPLED_SPLIT}/") or study.frames.has(metric):
        return requirement
    return {**requirement, "metric": metric.replace(SAMPLED_SPLIT, GREEDY_SPLIT, 1)}


def read_study_checks(path: Path = _FILE) -> tuple[Requires, dict[str, Requires]]:
    """Checks of every study, and those of single studies by name."""
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    single = {name: validated_requirements(entries) for name, entries in data["studies"].items()}
    return validated_requirements(data["every_study"]), single


def study_check_table(studies: Mapping[str, Study], claims: Sequence[Claim]) -> pd.DataFrame:
    """One row a study and check: study, required, observed, holds, withdraws (numbers of entries, where it fails)."""
    every, single = read_study_checks()
    parts = []
    for name, study in studies.items():
        if study.small:
            continue
        gates = {i: c.requires for i, c in enumerate(claims, 1) if c.study == name}
        listed = [*every, *single.get(name, ()), *(r for requires in gates.values() for r in requires)]
        unique = [r for i, r in enumerate(listed) if r not in listed[:i]]
        results = evaluate_study_checks(study, tuple(unique))
        registered = [tuple(gates)] * (len(results) - len(unique))
        judging = [*registered, *(tuple(i for i, requires in gates.items() if r in requires) for r in unique)]
        table = check_table(results)
        table.insert(0, "study", name)
        table["withdraws"] = [
            f"entry {', '.join(map(str, entries))}" if entries and not r.holds else "–"
            for r, entries in zip(results, judging, strict=True)
        ]
        parts.append(table)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def design_checks_section(studies: Mapping[str, Study], claims: Sequence[Claim]) -> list[str]:
    """Section of the page with the table, and with what its checks withdraw and what they do not."""
    table = study_check_table(studies, claims)
    if table.empty:
        return []
    unmet = table[(table["holds"] == "no") & (table["withdraws"] == "–")]
    return [
        f"## {CHECKS_HEADING}",
        "",
        "But for the assay of planted_credit, all of these checks were set after the studies had run and are part of "
        "no registered plan. Learning beyond "
        "form, calls of the operator that an entry is about, exposures to faults and equal clipping are necessary for "
        "the contrast to mean anything: where one fails, the entry's verdict is withdrawn. Units an episode and "
        "discriminating questions only limit what a study can detect; having been set after those studies ran, they "
        "do not withdraw registered verdicts and are requirements on the next studies. A null result of a study that "
        f"fails them is weak evidence ({len(unmet)} rows that do not hold and withdraw nothing, in "
        f"{unmet['study'].nunique()} of {table['study'].nunique()} studies).",
        "",
        markdown_table(table),
        "",
    ]

"""The verdicts of the page of findings follow their numbers and claim no more."""

from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from analysis.frames import Arm, Frames
from analysis.preregistration import check_registration
from analysis.verdict import ContrastVerdict, differs
from harness.config import load_sweep
from harness.config.identity import registered_hash
from reports.findings import page as page_module
from reports.findings.claims import read_claims, validated_requirements
from reports.findings.identical_runs import REWARD_TRACE, find_identical_runs
from reports.findings.measure_registry import MEASURES, POOLED_MEASURES
from reports.findings.overview import adjust_over_page
from reports.findings.page import (
    ABLATIONS,
    FINDINGS_FILE,
    README_FILE,
    REPORTS_FOLDER,
    anchor,
    identical_runs_section,
    load_study_plan,
    make_page,
)
from reports.findings.readme_result import RESULT_BEGIN, RESULT_END, insert_result, readme_result
from reports.packing.read_study import Study
from reports.tables import markdown_table
from tests.support.synthetic_sweep import ANALYSIS, made_frames

STUDIES = sorted(p.stem for p in ABLATIONS.glob("*.yaml"))


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    """Drawing takes most of a page's time; the committed page's pictures are compared in the integration tier."""
    monkeypatch.setattr(page_module, "study_figures", lambda study: [])


def test_the_readme_result_gives_levels_and_rises_of_every_arm():
    lines = readme_result(study({"gsspo": 0.30, "grpo": 0.10}), "p").splitlines()
    rows = {cells[0]: cells[1:] for cells in ([c.strip() for c in x.strip("|").split("|")] for x in lines if "|" in x)}
    gsspo, grpo = (float(rows[arm][1].split()[0]) for arm in ("gsspo", "grpo"))
    assert gsspo - grpo == pytest.approx(0.2, abs=0.05)
    for arm, level in (("gsspo", gsspo), ("grpo", grpo)):
        start, rise = float(rows[arm][0].split()[0]), float(rows[arm][2].split()[0])
        assert level - start == pytest.approx(rise, abs=0.0015)


@pytest.mark.parametrize(
    "text", ["", RESULT_BEGIN, f"{RESULT_END}\n{RESULT_BEGIN}", f"{RESULT_BEGIN}{RESULT_END}{RESULT_BEGIN}{RESULT_END}"]
)
def test_a_readme_without_its_marks_is_refused(text):
    with pytest.raises(ValueError, match=r"README.md needs one line"):
        insert_result(text, "")


def test_every_study_answers_a_claim():
    claims = read_claims()
    assert {c.study for c in claims if c.study} == set(STUDIES)
    assert {name for c in claims for name, _ in c.measures} <= set(MEASURES) | set(POOLED_MEASURES)


def study(effects: dict[str, float], small: bool = False, **changes: object) -> Study:
    frames = made_frames(effects, seeds=range(6), seed_sd=0.01)
    plan = load_sweep(ABLATIONS / "granularity.yaml", ["seeds=6"])
    promise = {"hypothesis": plan.file.hypothesis, "analysis": ANALYSIS, "seeds": list(range(6)), **changes}
    config = {**frames.config, **promise, "preregistration": registered_hash(promise)}
    answers = frames.metrics[frames.metrics["metric"] == "eval/em"].assign(metric="eval/no_answer", value=0.0)
    metrics = pd.concat([frames.metrics, answers], ignore_index=True)
    frames = Frames(**{**frames.__dict__, "config": config, "name": "granularity", "metrics": metrics})
    made = {
        "mode": "small" if small else "full",
        "command": "c",
        "configuration": frames.config_hash,
        "preregistration": config["preregistration"],
        "revision": None,
        "codes": ["0" * 64],
        "machine": "m",
        "seconds_per_trial": None,
        "trials": {"declared": 18, "counted": 18},
    }
    from analysis.episode_frames import load_episodes

    return Study("granularity", made, frames, check_registration(frames), load_episodes(frames), {})


def first_line(page: str) -> str:
    return next(line for line in page.splitlines() if line.startswith("| 1 |"))


@pytest.mark.parametrize(
    ("effects", "verdict", "words"),
    [
        ({"gsspo": 0.30, "grpo": 0.10}, ContrastVerdict.HIGHER, "| higher, as claimed |"),
        ({"gsspo": 0.10, "grpo": 0.30}, ContrastVerdict.LOWER, "| lower instead |"),
        ({"gsspo": 0.20, "grpo": 0.20}, ContrastVerdict.EQUIVALENT, "| equivalent within the margin |"),
    ],
)
def test_the_verdict_follows_the_numbers(effects, verdict, words):
    made = study(effects)
    assert list(MEASURES["registered_contrast"](made).verdicts) == [verdict]
    page = make_page({"granularity": made}, read_claims()[:2])
    assert words in first_line(page.text)
    assert make_page({"granularity": made}, read_claims()[:2]) == page


def test_a_design_that_could_not_tell_carries_no_verdict_and_no_p_over_the_page():
    made, claims = study({"gsspo": 0.10, "grpo": 0.30}), read_claims()[:1]
    words = dataclasses.replace(claims[0], could_not_tell="No arm acts.")
    shown = make_page({"granularity": made}, [words]).text
    assert "| lower instead |" in first_line(shown)
    assert "No arm acts." not in shown
    unmet = validated_requirements([{"kind": "learns", "metric": "eval/em", "at_least": 0.9}])
    withdrawn = make_page({"granularity": made}, [dataclasses.replace(words, requires=unmet)]).text
    verdict, number, over, same = first_line(withdrawn).strip("| ").split(" | ")[3:]
    assert (verdict, over, same) == ("design could not tell", "–", "–")
    assert re.match(r"-0\.\d{3} \[-0\.\d{3}, -0\.\d{3}\]; .*at least 0\.9 .*observed \+0\.\d{3} \(grpo\)$", number)
    assert "Registered contrast: eval/em (registered; descriptive, no verdict):" in withdrawn
    assert "confirmatory)" not in withdrawn
    said = withdrawn.split("**Verdict.** ")[1].split("**What would change it.**")[0]
    assert said.startswith("Design could not tell.\n\nThe design could not tell: eval/em rises by at least 0.9")
    assert "\n\nNo arm acts.\n" in said
    assert not re.search(r"\bp (adj\. )?<?\.\d|is lower|TOST", said)


def test_a_check_that_the_registered_plan_names_withdraws_the_verdict_of_its_entries():
    requires = [{"kind": "learns", "metric": "eval/em", "at_least": 0.9}]
    made = study({"gsspo": 0.30, "grpo": 0.10}, analysis={**ANALYSIS, "requires": requires})
    page = make_page({"granularity": made}, read_claims()[:1]).text
    assert "| design could not tell |" in first_line(page)
    assert "is higher" not in readme_result(made, "p")


@pytest.mark.parametrize("wrong", [{"could_not_tell": w} for w in (True, " ", "x")] + [{"could_not": "x"}])
def test_a_claim_with_an_unknown_or_mistyped_key_is_refused(tmp_path, wrong):
    entry = {"title": "t", "kind": "claim", "statement": "s", "question": "q", "study": None, "design": "d"}
    file = tmp_path / "claims.yaml"
    file.write_text(yaml.safe_dump([{**entry, "measures": [], "changes": "c", **wrong}]))
    with pytest.raises(TypeError, match="could_not"):
        read_claims(file)


def test_links_into_the_page_lead_to_its_entries():
    page = (REPORTS_FOLDER / FINDINGS_FILE).read_text(encoding="utf-8")
    entries = {f"{i}. {claim.title}" for i, claim in enumerate(read_claims(), 1)}
    headings = {line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")}
    assert entries <= headings
    targets = {anchor(h) for h in headings}
    linking = [README_FILE, *sorted((README_FILE.parent / "docs").glob("*.md"))]
    text = "\n".join(file.read_text(encoding="utf-8") for file in linking)
    named = re.findall(r"\[(?:FINDINGS, )?(\d+)\]\((?:\.\./)?reports/FINDINGS\.md#([^)]*)\)", text)
    assert len(named) == text.count("reports/FINDINGS.md#") > 0
    assert all(link in targets and link.startswith(f"{number}-") for number, link in named)


def test_several_strata_are_corrected_together():
    from reports.findings.contrast_measures import correct_jointly, primary_rows

    rows = primary_rows(MEASURES["registered_contrast"](study({"gsspo": 0.30, "grpo": 0.10})).rows)
    twice = correct_jointly([rows[0], dataclasses.replace(rows[0])], "holm")
    assert [r.p_adjusted for r in twice] == [2 * rows[0].test.p] * 2
    uneven = dataclasses.replace(rows[0], spread=dataclasses.replace(rows[0].spread, welch_p=0.03))
    assert differs(correct_jointly([uneven], "holm")[0], 0.05)
    pair = correct_jointly([uneven, uneven], "holm")
    assert [r.p_claim for r in pair] == [0.06] * 2
    assert not any(differs(r, 0.05) for r in pair)


def test_the_page_corrects_all_registered_contrasts_together():
    assert adjust_over_page([[0.01], [], [0.04, 0.03]]) == [".03", "–", ".06; .06"]


def test_the_registered_pair_is_not_explored_again():
    made = study({"gsspo": 0.30, "grpo": 0.10, "gspo": 0.20})
    table = MEASURES["axis_contrasts"](made, metrics=["eval/em"], every_pair=True).table
    assert list(table["contrast"]) == ["gspo − grpo", "gsspo − gspo"]


def traced(other: int | None = None) -> Study:
    """A study with rewards of ten steps, the same in every such study, but for the seeds from `other` on."""
    made = study({"gsspo": 0.3, "grpo": 0.1})
    rows = made.frames.trials[["trial", "arm", "seed"]].merge(pd.DataFrame({"step": range(10)}), how="cross")
    rows["value"] = rows["arm"].eq("gsspo") + rows["seed"] / 7 + rows["step"] / 11
    rows["metric"] = REWARD_TRACE
    if other is not None:
        rows.loc[(rows["seed"] >= other) & (rows["step"] == 5), "value"] += 1e-12
    frames = dataclasses.replace(made.frames, metrics=pd.concat([made.frames.metrics, rows]))
    return dataclasses.replace(made, frames=frames)


def test_runs_that_agree_to_the_digit_are_one_piece_of_evidence():
    found = find_identical_runs({"a": traced(), "b": traced(), "c": traced(other=2)})
    assert [(r.first, r.second, r.seeds, r.steps) for r in found] == [
        ("a: gsspo", "b: gsspo", 6, 10),
        ("a: gsspo", "c: gsspo", 2, 10),
        ("a: grpo", "b: grpo", 6, 10),
        ("a: grpo", "c: grpo", 2, 10),
        ("b: gsspo", "c: gsspo", 2, 10),
        ("b: grpo", "c: grpo", 2, 10),
    ]
    assert identical_runs_section({"a": traced(), "b": traced(other=0)}) == []


def test_runs_whose_rewards_never_change_are_not_the_same_for_that():
    made = traced()
    stuck = made.frames.metrics.assign(value=-1.5)
    made = dataclasses.replace(made, frames=dataclasses.replace(made.frames, metrics=stuck))
    assert find_identical_runs({"a": made, "b": made}) == []


def test_an_operator_without_calls_is_reported_as_unused():
    made = study({"minimal": 0.3, "revise": 0.3})
    arms = {name: Arm(name, {"environment.pool": name}, "h") for name in ("minimal", "revise")}
    made = dataclasses.replace(made, frames=dataclasses.replace(made.frames, arms=arms))
    rows = itertools.product(("minimal", "revise"), ("eval", "eval_sampled"), (0, 20))
    used = pd.DataFrame(rows, columns=["arm", "split", "step"])
    made.tables["operator_use"] = used.assign(operator="Review", episodes=50, called=7 * used["split"].ne("eval"))
    found = MEASURES["operator_calls"](made, operators=["Review", "Revise"])
    assert list(found.table["arm"] + " " + found.table["operator"]) == ["revise Review", "revise Revise"]
    assert "in 0 of 100 cases, sampled ones in 7 of 100" in found.sentences[0]
    assert "not their use" in found.sentences[1]


def test_small_mode_gives_no_number():
    text = make_page({"granularity": study({"gsspo": 0.3, "grpo": 0.1}, small=True)}, read_claims()[:1]).text
    assert "not run in full yet: small-mode data only" in first_line(text)
    assert "small-mode data only.**" in text
    assert "gsspo − grpo" not in text


def test_a_study_without_results_is_marked():
    text = make_page({}, read_claims()).text
    tested = [c for c in read_claims() if c.study]
    assert text.count("**Not run in full yet.**") == len(tested)
    assert text.count("**Verdict.** Not tested by these studies.") == len(read_claims()) - len(tested)
    assert "shown |" not in text


def test_a_plan_that_changed_after_the_run_is_reported():
    text = make_page({"granularity": study({"gsspo": 0.3, "grpo": 0.1}, hypothesis="Other.")}, read_claims()[:1]).text
    assert "10 seeds instead of 6, another hypothesis" in text


def test_missing_trials_make_a_verdict_interim():
    made = study({"gsspo": 0.3, "grpo": 0.1})
    made.provenance["trials"]["counted"] = 17
    text = make_page({"granularity": made}, read_claims()[:1]).text
    assert "higher, as claimed (interim)" in first_line(text)
    assert "Interim: 1 of 18 registered trials have no result" in text


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_states_its_plan_and_can_reach_its_level(name):
    spec = load_study_plan(ABLATIONS / f"{name}.yaml")
    plan = spec.file.analysis
    assert plan is not None
    assert plan.margin > 0
    assert plan.correction == "holm"
    assert (ABLATIONS / f"{name}.yaml").read_text().startswith("#")
    from analysis.stats.permutation import smallest_p

    seeds = len(spec.file.seeds)
    treated = [axes for axes, _ in spec.cells if axes[plan.primary.axis] == plan.primary.contrast[0]]
    strata = len(treated) // seeds
    assert smallest_p(seeds, seeds) * strata <= plan.alpha
    changes = ["data.path=FOLDER"] if spec.file.profile == "smollm2" else []
    small = load_sweep(ABLATIONS / f"{name}.yaml", changes, checks=(), small=True)
    assert small.name == f"{name}-small"
    assert len(small.cells) < len(spec.cells)


def test_the_figures_of_the_page_exist():
    text = (REPORTS_FOLDER / FINDINGS_FILE).read_text(encoding="utf-8")
    named = {part.split(")")[0] for part in text.split("](pictures/")[1:]}
    assert all(Path(REPORTS_FOLDER / "pictures" / name).exists() for name in named)


def test_a_bar_in_a_cell_does_not_break_the_table():
    import pandas as pd

    assert markdown_table(pd.DataFrame({"a": ["P(x | y)"]})).splitlines()[-1] == "| P(x \\| y) |"

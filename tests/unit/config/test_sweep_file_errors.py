"""Every mistake in a sweep file is reported at its own line and column, all of them together."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest

from harness.config import ConfigError, load_sweep

GOOD = """\
name: demo
hypothesis: one thing beats another
profile: tiny
fixed: {steps: 3, objective.kl_weight: 0.001}
parameters:
  objective.preset: {values: [gsspo, grpo]}
seeds: [0, 1]
analysis:
  primary: {metric: eval/em, contrast: [gsspo, grpo], axis: objective.preset}
  margin: 0.03
  alpha: 0.05
"""


def problems_of(tmp_path: Path, text: str, *overrides: str) -> dict[str, str]:
    """Place -> message of every problem found in a sweep file of that text."""
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_sweep(path, overrides)
    shown: dict[str, str] = {}
    for problem in caught.value.problems:
        place = str(problem.at).replace(f"{path}:", "")
        shown[place] = "; ".join([*([shown[place]] if place in shown else []), problem.message])
    return shown


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


def spelled(text: str) -> str:
    """`text` with sound keys of turn credit in place of their names in capitals."""
    sound = {"SOURCE": "source: form", "RETURNS": "returns: to_go", "GROUP": "group: anchor", "SCALE": "scale: std"}
    for name, key in sound.items():
        text = text.replace(name, key)
    return text


def test_the_good_file_is_good(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(GOOD)
    assert len(load_sweep(path).cells) == 4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [  # the mark ^ stands before the place that the message must give
        ("steps: 3", "steps: ^three", "steps must be an integer, not 'three'"),
        ("steps: 3", "steps: ^true", "steps must be an integer, not True"),
        ("steps: 3", "steps: ^3.5", "steps must be an integer, not 3.5"),
        ("steps: 3", "^step: 3", "unknown key 'step'"),
        ("kl_weight: 0.001", "kl_weight: ^'1e-3'", "objective.kl_weight must be a number, not '1e-3'"),
        ("kl_weight: 0.001", "kl_weight: ^.nan", "objective.kl_weight must be a finite number, not nan"),
        ("kl_weight: 0.001", "kl_weight: ^-1", "objective.kl_weight must be at least 0"),
        ("objective.kl_weight", "^objective.kl_wieght", "unknown key 'objective.kl_wieght'"),
        ("steps: 3,", "steps: 3, ^steps: 4,", "duplicate key 'steps'"),
        ("steps: 3", "update.autocast: true, update: {^autocast: false}", "duplicate key 'update.autocast'"),
        ("steps: 3", "policy.lora: {rank: 4, alpha: 8, ^dropout: 0.1}", "unknown key 'policy.lora.dropout'"),
        ("steps: 3", "^seed: 3", "seed is set at the top of the file, not in fixed"),
        ("steps: 3", "environment.pool: ^[]", "environment.pool: the pool is empty"),
        ("steps: 3", "environment.pool: [Search, ^Serch]", "unknown operator 'Serch'"),
        ("steps: 3", "environment.pool: [^WarningOp]", "unknown operator 'WarningOp'"),
        ("steps: 3", "environment.pool: ^ful", "unknown pool 'ful'"),
        ("steps: 3", "^environment.backend.hop_sucess: 0.5", "unknown rate 'hop_sucess'"),
        ("steps: 3", "environment.backend.hop_success: ^1.5", "environment.backend.hop_success must be at most 1"),
        ("steps: 3", "environment.backend: {kind: ^openapi}", "environment.backend kind must be one of 'simulated'"),
        (
            "steps: 3",
            "environment.backend: {kind: openai, model: x, base_url: ^here}",
            "environment.backend.base_url: must be http",
        ),
        (
            "steps: 3",
            "environment.backend: {kind: local, model: x, ^modle: y}",
            "unknown key 'environment.backend.modle'",
        ),
        ("steps: 3", "environment.backend: {kind: local, model: ^1}", "environment.backend.model must be text"),
        ("steps: 3", "environment.interface: ^cod", "environment.interface must be 'natural' or 'code', not 'cod'"),
        ("steps: 3", "environment.perturbations.eval: [typos, ^typo]", "unknown perturbation 'typo'"),
        (
            "steps: 3",
            "environment.perturbations.eval: [^brackets+json_call]",
            "brackets and json_call contradict each other",
        ),
        ("steps: 3", "environment.perturbations.eval: [typos, ^typos]", "typos is evaluated twice"),
        (
            "steps: 3",
            "environment.perturbations.train: [typos, ^brackets, headings]",
            "brackets and headings contradict",
        ),
        (
            "steps: 3",
            "environment.interface: code, environment.perturbations.train: [^json_call]",
            "json_call cannot be applied: the code interface has one syntax",
        ),
        (
            "steps: 3",
            "environment.faults: {kinds: [^timout], positions: null, train_rate: 0, eval_rate: 1}",
            "unknown kind of fault 'timout'",
        ),
        (
            "steps: 3",
            "environment.faults: {kinds: [timeout, ^wrong_verdict], positions: null, train_rate: 0, eval_rate: 1}",
            "wrong_verdict strikes Review, and the pool has none of them",
        ),
        (
            "steps: 3",
            "environment.faults: {kinds: [timeout], positions: [^-1], train_rate: 0, eval_rate: 1}",
            "environment.faults.positions.0 must be at least 0",
        ),
        (
            "steps: 3",
            "environment.faults: {kinds: [timeout], positions: null, train_rate: 0, eval_rate: ^1.5}",
            "environment.faults.eval_rate must be at most 1",
        ),
        (
            "steps: 3",
            "environment.search.retriever: {kind: search_r1, url: ^here}",
            "environment.search.retriever.url: must be http",
        ),
        (
            "steps: 3",
            "environment.search.retriever: {kind: ^bing}",
            "environment.search.retriever kind must be one of 'bm25', 'search_r1', 'web'",
        ),
        (
            "steps: 3",
            'environment.backend: {kind: openai, model: x, base_url: "http://h/v1", key_variable: ^sk-secret}',
            "environment.backend.key_variable: must be the name of an environment variable in capitals, never a key",
        ),
        (
            "steps: 3",
            'environment.backend: {kind: openai, model: x, base_url: ^"http://me:pw@h/v1"}',
            "environment.backend.base_url: must hold no user or password",
        ),
        (
            "steps: 3",
            'environment.backend: {kind: openai, model: x, base_url: "http://h/v1", http: {concurrency: ^0}}',
            "environment.backend.http.concurrency must be at least 1",
        ),
        ("steps: 3", "data.eval_suites: [^nowhere]", "unknown suite 'nowhere'"),
        ("steps: 3", "data.train_suites: [^world_combo]", "world_combo is for evaluation only"),
        ("steps: 3", "objective.surrogate: ^gmpoo", "objective.surrogate must be 'min_clip' or 'cispo'"),
        ("steps: 3", "objective.surrogate: ^no.such:f", "objective.surrogate: 'no.such' cannot be imported"),
        ("steps: 3", "objective.credit: {SOURCE, RETURNS, ^SCALE}", "objective.credit.group is required"),
        ("steps: 3", "objective.credit: {source: ^proof, RETURNS, GROUP, SCALE}", "objective.credit.source must be"),
        ("steps: 3", "objective.credit: {SOURCE, returns: ^sum, GROUP, SCALE}", "objective.credit.returns must be"),
        ("steps: 3", "objective.credit: {SOURCE, RETURNS, group: ^turn, SCALE}", "objective.credit.group must be"),
        ("steps: 3", "objective.credit: {SOURCE, RETURNS, GROUP, scale: ^max}", "objective.credit.scale must be"),
        (
            "steps: 3",
            "objective.credit: {SOURCE, RETURNS, GROUP, SCALE, counts: ^word}",
            "objective.credit.counts must",
        ),
        (
            "steps: 3",
            "objective.credit: {SOURCE, RETURNS, GROUP, SCALE, trace: ^2}",
            "objective.credit.trace must be at",
        ),
        ("steps: 3", "objective.credit: {SOURCE, RETURNS, GROUP, SCALE, weight: ^0}", "objective.credit.weight must"),
        (
            "steps: 3",
            "objective.credit: {SOURCE, RETURNS, GROUP, SCALE, trace: ^.5}",
            "objective.credit.trace: no effect",
        ),
        (
            "steps: 3",
            "objective.credit: {SOURCE, returns: telescoped, GROUP, scale: ^std}",
            "objective.credit.scale: telescoped returns are scaled by none or batch_std, not std",
        ),
        (
            "steps: 3",
            "objective.credit: {SOURCE, returns: telescoped, GROUP, scale: none, normalize: ^rewards}",
            "objective.credit.normalize: telescoped returns normalize no rewards",
        ),
        (
            "steps: 3",
            "objective.credit: {SOURCE, returns: broadcast, GROUP, SCALE, discount: ^.9}",
            "objective.credit.discount: no effect",
        ),
        (
            "steps: 3",
            "objective.credit: {source: ^no.such:f, RETURNS, GROUP, SCALE}",
            "objective.credit.source: 'no.such'",
        ),
        ("steps: 3", "objective.advantage: ^none", "objective.advantage: none needs turn credit"),
        ("steps: 3", "data: {source: files, path: ^/no/such}", "data.path: there is no '/no/such'"),
        ("steps: 3", "policy: {kind: ^hub}", "policy.path is required when policy.kind is hub"),
        ("steps: 3", "rollout.group_size: ^1", "rollout.group_size must be at least 2, not 1"),
        ("{values: [gsspo, grpo]}", "{values: [gsspo, grpo, ^gspp]}", "objective.preset must be 'grpo' or 'gspo'"),
        (
            "{values: [gsspo, grpo]}",
            "{values: [gsspo, grpo], ^value: 1}",
            "unknown key 'parameters.objective.preset.value'",
        ),
        ("  objective.preset: {", "  ^update.lr: {values: [1]}\n  objective.preset: {", "unknown key 'update.lr'"),
        ("seeds: [0, 1]", "seeds: ^[]", "no seeds"),
        ("seeds: [0, 1]", "seeds: ^0", "no seeds"),
        ("seeds: [0, 1]", "seeds: [0, ^0]", "seed 0 is given twice"),
        ("seeds: [0, 1]", "seeds: [0, ^-1]", "seeds.1 must be at least 0"),
        ("seeds: [0, 1]", "seeds: 1\nexclude: [{^objective.clip: 1}]", "exclude names 'objective.clip'"),
        (
            "seeds: [0, 1]",
            "seeds: 1\nexclude: [{objective.preset: ^gspo}]",
            "objective.preset never takes the value 'gspo'",
        ),
        (
            "seeds: [0, 1]",
            "seeds: 1\nexclude: [{objective.preset: [grpo, ^gspo]}]",
            "objective.preset never takes the value 'gspo'",
        ),
        ("contrast: [gsspo, grpo]", "contrast: [gsspo, ^gspo]", "objective.preset never takes the value 'gspo'"),
        ("axis: objective.preset", "axis: ^objective.prest", "the contrast's axis 'objective.prest' is not swept"),
        ("alpha: 0.05", "alpha: ^1.5", "analysis.alpha must be at most 1.0, not 1.5"),
        ("alpha: 0.05", "alpha: 0.05\n  threshold: ^-0.5", "analysis.threshold must be greater than 0.0, not -0.5"),
        (
            "profile: tiny",
            "profile: ^tny",
            "profile must be 'qwen7b' or 'smollm2' or 'tiny' or the path of a YAML file, not 'tny'",
        ),
        ("name: demo", "name: ^../demo", "name must match"),
        ("seeds: [0, 1]", "seeds: [0, 1]^]", "not valid YAML"),
        ("profile: tiny", "profile: ^!!python/object:os.system tiny", "the tag"),
        ("name: demo", "name: demo\n^name: other", "duplicate key 'name'"),
        ("name: demo", "? ^[a, b]\n: demo", "a key must be a non-empty name"),
    ],
)
def test_a_mistake_is_found_at_its_place(tmp_path, old, new, message):
    marked = changed(old, spelled(new))
    before = marked[: marked.index("^")]
    place = f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
    found = problems_of(tmp_path, marked.replace("^", ""))
    assert place in found, found
    assert found[place].startswith(message)


def test_a_mean_to_divide_by_cannot_be_negative(tmp_path):
    mean = "objective.credit: {source: outcome, returns: to_go, group: anchor, scale: mean}"
    assert all("rewards of at least 0" in m for m in problems_of(tmp_path, changed("steps: 3", mean)).values())
    path = tmp_path / "free.yaml"
    path.write_text(changed("steps: 3", f"{mean}, reward.format_penalty: 0, reward.no_answer_penalty: 0"))
    assert load_sweep(path).cells[0][1].objective.credit.scale == "mean"


def test_turn_credit_is_swept_whole_or_by_its_axes(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(
        "name: s\nhypothesis: h\nprofile: tiny\nseeds: 1\n"
        "fixed: {objective.advantage: none, objective.credit: {source: outcome, returns: to_go, scale: std}}\n"
        "parameters: {objective.credit.group: {values: [question, anchor]}}\n"
    )
    assert [config.objective.credit.group for _, config in load_sweep(path).cells] == ["question", "anchor"]
    path.write_text(
        "name: s\nhypothesis: h\nprofile: tiny\nseeds: 1\n"
        "parameters: {objective.credit: {values: "
        "[null, {source: evidence, returns: telescoped, group: anchor, scale: none}]}}\n"
    )
    assert [c.objective.credit and c.objective.credit.source for _, c in load_sweep(path).cells] == [None, "evidence"]


def test_all_mistakes_come_out_together(tmp_path):
    text = GOOD.replace("steps: 3", "steps: x, update.autocast: true, update.autocast: false")
    text = text.replace("s: [gsspo, grpo]", "s: [gsspo, grpp]").replace("[0, 1]", "[1, 1]")
    found = problems_of(tmp_path, text + "bogus: 1\n", "rollout.group_size=1", "update.autocast=yes")
    assert set(found) == {
        "4:16", "4:42", "6:38", "7:12", "9:48", "12:1", "command line:1:20", "command line:1:17",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("metric", "settings", "hint"),
    [
        ("em", [], None),
        ("train/reward_maen", [], "train/reward_mean"),
        ("eval/emm", [], "eval/em"),
        ("eval/em/world_chian", [], "eval/em/world_chain"),
        ("eval_sampled/em", ["data.eval_samples=0"], None),
        ("eval_fault/recovered", ["environment.faults=null"], None),
        ("eval_prompt_typso/em", ["environment.perturbations.eval=[typos]"], "eval_prompt_typos/em"),
    ],
)
def test_a_registered_metric_that_no_evaluation_yields_is_refused_before_the_first_trial(
    tmp_path, metric, settings, hint
):
    path = tmp_path / "sweep.yaml"
    path.write_text(GOOD.replace("eval/em", metric))
    with pytest.raises(ConfigError) as caught:
        load_sweep(path, settings)
    [problem] = caught.value.problems
    assert problem.message.startswith("no step or evaluation of the trial")
    assert repr(metric) in problem.message
    assert hint is None or hint in (problem.hint or "")


def test_a_check_names_a_metric_that_is_logged(tmp_path):
    requires = "requires: [{kind: learns, metric: eval_sampled/emm, at_least: 0.05}]"
    [message] = problems_of(tmp_path, changed("alpha: 0.05", f"alpha: 0.05\n  {requires}")).values()
    assert "'eval_sampled/emm'" in message


def test_a_mistake_shared_by_many_cells_is_reported_once(tmp_path):
    found = problems_of(tmp_path, changed("seeds: [0, 1]", "seeds: 200").replace("steps: 3", "steps: x"))
    assert list(found) == ["4:16"]


def test_a_message_shows_the_line_with_a_caret_and_the_nearest_word(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(changed("objective.kl_weight", "objective.kl_wieght"))
    with pytest.raises(ConfigError) as caught:
        load_sweep(path)
    head, code, caret, hint = str(caught.value).splitlines()[:4]
    assert head == f"{path}:4:19: unknown key 'objective.kl_wieght'"
    assert code[caret.index("^") :].startswith("objective.kl_wieght")
    assert "did you mean 'objective.kl_weight'?" in hint


def test_of_a_long_line_the_part_around_the_caret_is_shown(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(GOOD + f"labels: {{{'x' * 500}: 1, {'y' * 500}: 2}}\n")
    with pytest.raises(ConfigError) as caught:
        load_sweep(path)
    lines = str(caught.value).splitlines()
    shown = [(code, caret) for code, caret in pairwise(lines) if caret.strip("| ") == "^"]
    assert {code[caret.index("^")] for code, caret in shown} >= {"x", "y"}
    assert all(len(code) < 200 and len(caret) < 200 for code, caret in shown)


def test_an_alias_bomb_is_refused_at_once(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    start = time.process_time()
    found = problems_of(tmp_path, "\n".join(lines))
    assert time.process_time() - start < 5
    assert any("aliases" in message for message in found.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [*a]\n", "an alias refers to a value that contains it"),
        ("a: " + "[" * 2000 + "]" * 2000, "nested deeper than"),
        ("a: \x07\n", "a character that YAML does not permit"),
        ("- 1\n- 2\n", "must be a mapping"),
        ("a: 1\n---\nb: 2\n", "not valid YAML"),
        ("hypothesis: h", "name is required"),
        ("fixed: !!python/object:os.system {}", "the tag 'tag:yaml.org,2002:python/object:os.system' is not allowed"),
        ("parameters: {steps: {values: !!set {1, 2}}}", "the tag 'tag:yaml.org,2002:set' is not allowed"),
        ("seeds: !mine [0]", "the tag '!mine' is not allowed"),
    ],
)
def test_hostile_or_empty_files_are_refused_without_a_crash(tmp_path, text, message):
    assert any(message in found for found in problems_of(tmp_path, text).values())


def test_a_value_that_cannot_be_read_hides_no_other_mistake(tmp_path):
    text = GOOD.replace("steps: 3", "steps: !!python/object x").replace("kl_weight", "kl_wieght")
    found = problems_of(tmp_path, text, "stesp=3", "steps")
    assert found.pop("4:16") == "the tag 'tag:yaml.org,2002:python/object' is not allowed here"
    assert found == {
        "4:35": "unknown key 'objective.kl_wieght'",
        "command line:1:1": "cannot read 'steps'; unknown key 'stesp'",
    }


def test_a_misspelt_profile_hides_no_other_mistake(tmp_path):
    text = GOOD.replace("profile: tiny", "profile: tinny").replace("steps: 3", "stesp: 3")
    found = problems_of(tmp_path, text, "update.learning_rate=fast")
    assert list(found) == ["3:10", "4:9", "command line:1:22"]
    assert "not 'tinny'" in found["3:10"]
    assert "unknown key 'stesp'" in found["4:9"]


def test_the_small_mode_is_checked_before_it_is_asked_for(tmp_path):
    text = GOOD + "small: {seeds: 1, stesp: 2, data.eval_questions: few}\n"
    found = problems_of(tmp_path, text)
    assert list(found) == ["12:19", "12:50"]
    assert "unknown key 'stesp'" in found["12:19"]
    assert "data.eval_questions must be an integer" in found["12:50"]
    (tmp_path / "sound.yaml").write_text(GOOD + "small: {seeds: 1, steps: 2}\n")
    assert len(load_sweep(tmp_path / "sound.yaml").cells) == 4


def test_a_missing_file_is_a_problem_of_that_file(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.yaml:1:1: cannot read this file: No such file"):
        load_sweep(tmp_path / "gone.yaml")


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(ConfigError, match="cannot read this file"):
        load_sweep(path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("steps", "cannot read 'steps'"),
        ("=3", "cannot read '=3'"),
        ("a..b=3", "cannot read 'a..b=3'"),
        ("steps=[1", "not valid YAML"),
        ("seed=3", "a sweep has seeds, not a seed"),
        ("stesp=3", "unknown key 'stesp'"),
    ],
)
def test_a_bad_override_is_a_problem_of_the_command_line(tmp_path, override, message):
    found = problems_of(tmp_path, GOOD, override)
    assert all(place.startswith("command line:1:") for place in found)
    assert any(m.startswith(message) for m in found.values())


def test_an_override_that_hides_an_axis_is_refused(tmp_path):
    text = changed(
        "objective.preset: {values: [gsspo, grpo]}", "objective: {values: [{preset: gsspo}, {preset: grpo}]}"
    )
    text = text[: text.index("analysis:")]
    found = problems_of(tmp_path, text, "objective.preset=gspo")
    assert any(message.startswith("two cells are the same trial") for message in found.values())


@pytest.mark.parametrize("alias", ["N1", "seq-mean-seg-mean"])
def test_a_reduction_and_its_alias_are_one_cell(tmp_path, alias):
    axes = f"objective.preset: {{values: [gsspo, grpo]}}\n  objective.reduction: {{values: [{alias}, OTHER]}}"
    text = changed("objective.preset: {values: [gsspo, grpo]}", axes)
    text = text[: text.index("analysis:")]
    found = problems_of(tmp_path, text.replace("OTHER", {"N1": "seq-mean-seg-mean"}.get(alias, "N1")))
    assert any(message.startswith("two cells are the same trial") for message in found.values())
    (tmp_path / "sweep.yaml").write_text(text.replace("OTHER", "N3"))
    load_sweep(tmp_path / "sweep.yaml")


def test_an_excluded_trial_need_not_measure_what_is_registered(tmp_path):
    path = tmp_path / "sweep.yaml"
    struck = "{kinds: [wrong_passage], positions: null, train_rate: 0.0, eval_rate: 1.0}"
    faults = f"environment.faults: {{values: {{none: null, some: {struck}}}}}"
    text = GOOD.replace("eval/em", "eval_fault/recovered").replace("seeds: [0, 1]", f"  {faults}\nseeds: [0, 1]")
    path.write_text(text)
    with pytest.raises(ConfigError, match="no step or evaluation of the trial"):
        load_sweep(path)
    path.write_text(text + "exclude: [{environment.faults: none}]\n")
    assert len(load_sweep(path).cells) == 4

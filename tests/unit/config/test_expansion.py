"""From a checked sweep file to trials: layers, presets, order, names and keys."""

from __future__ import annotations

import hashlib
import itertools
import re
import shlex
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config import ConfigError, canonical_json, expand, load_sweep, load_trial, trial_key
from harness.config.schema import TrialConfig
from harness.config.tree import KINDS, merge, plain
from harness.config.validation import CHECKS
from harness.config.yaml_source import Source, read_text
from harness.objectives.presets import PRESETS
from tests.support.examples import examples

PROFILES = Path(__file__).parents[3] / "harness" / "config" / "profiles"
SHIPPED = sorted((Path(__file__).parents[3] / "ablations").glob("*.yaml"))

TWO_AXES = """\
name: demo
hypothesis: one thing beats another
profile: tiny
fixed: {steps: 3, update: {updates_per_batch: 2}, rollout.prompts_per_step: 4}
parameters:
  objective.preset: {values: [gsspo, grpo]}
  update.learning_rate: {values: [1e-4, 2e-4]}
seeds: [7, 8]
exclude: [{objective.preset: grpo, update.learning_rate: 2e-4}]
"""


@pytest.fixture
def sweep_file(tmp_path):
    path = tmp_path / "demo.yaml"
    path.write_text(TWO_AXES)
    return path


GIVEN = {"real_questions": ["data.path=FOLDER"]}
"""What a study needs on the command line."""


def test_every_shipped_ablation_is_valid():
    assert SHIPPED
    for path in SHIPPED:
        checks = () if path.stem in GIVEN else CHECKS  # a place that is given on the command line is not here
        assert expand(load_sweep(path, GIVEN.get(path.stem, ()), checks), "code")


def test_the_grid_is_every_cell_but_the_excluded_one_seed_after_seed(sweep_file):
    trials = expand(load_sweep(sweep_file), "code")
    seen = [(t.seed, t.axes["objective.preset"], t.axes["update.learning_rate"]) for t in trials]
    cells = [("gsspo", 1e-4), ("gsspo", 2e-4), ("grpo", 1e-4)]
    assert seen == [(seed, *cell) for seed in (7, 8) for cell in cells]
    for trial in trials:
        assert trial.config.seed == trial.seed
        assert trial.config.objective.preset == trial.axes["objective.preset"]
        assert trial.config.update.learning_rate == trial.axes["update.learning_rate"]
        assert (trial.config.steps, trial.config.update.updates_per_batch) == (3, 2)


def test_a_rule_may_name_several_values_any_of_which_excludes(sweep_file):
    rule = "exclude=[{objective.preset: [grpo, gsspo], update.learning_rate: [2e-4]}]"
    trials = expand(load_sweep(sweep_file, [rule, "seeds=1"]), "code")
    assert [tuple(t.axes.values()) for t in trials] == [("gsspo", 1e-4), ("grpo", 1e-4)]


def test_a_rule_for_values_that_are_lists_names_one_of_them_whole(tmp_path):
    (tmp_path / "lists.yaml").write_text(
        "name: lists\nhypothesis: a list is a value too\nprofile: tiny\nseeds: 1\n"
        "parameters:\n  environment.perturbations.train: {values: [[], [typos], [typos, distractor]]}\n"
        "exclude: [{environment.perturbations.train: [typos]}]\n"
    )
    trials = expand(load_sweep(tmp_path / "lists.yaml"), "code")
    assert [t.config.environment.perturbations.train for t in trials] == [(), ("typos", "distractor")]


def test_names_are_readable_safe_and_directories_unique(sweep_file):
    trials = expand(load_sweep(sweep_file), "code")
    assert trials[1].name == "gsspo_learning_rate-0.0002_seed7"
    assert len({t.directory for t in trials}) == len(trials)
    assert trials[0].directory == f"{trials[0].name}-{trials[0].key[:8]}"


def test_layers_later_ones_win(sweep_file):
    spec = load_sweep(sweep_file, ["steps=5", "rollout={group_size: 3}", "profile=tiny"])
    config = expand(spec, "code")[0].config
    assert (config.steps, config.rollout.group_size, config.rollout.prompts_per_step) == (5, 3, 4)


def test_overrides_reach_the_sweeps_own_fields_and_narrow_an_axis(sweep_file):
    spec = load_sweep(sweep_file, ["seeds=3", "objective.preset=grpo", "name=other", "exclude=[]"])
    assert [(t.seed, t.axes["update.learning_rate"]) for t in expand(spec, "c")] == [
        (seed, rate) for seed in range(3) for rate in (1e-4, 2e-4)
    ]
    assert spec.name == "other"
    spec = load_sweep(sweep_file, ["parameters.update.learning_rate=[3e-4]", "exclude=[]"])
    assert {t.config.update.learning_rate for t in expand(spec, "c")} == {3e-4}


@pytest.mark.parametrize(
    ("override", "read", "expected"),
    [
        ("update.learning_rate=1e-6", lambda c: c.update.learning_rate, 1e-6),
        ("update.learning_rate=1", lambda c: c.update.learning_rate, 1.0),
        ("update.autocast=false", lambda c: c.update.autocast, False),
        ("policy.lora={rank: 4, alpha: 8}", lambda c: c.policy.lora.rank, 4),
        ("policy.lora=null", lambda c: c.policy.lora, None),
        ("environment.pool=[Search, Review]", lambda c: c.environment.pool, ("Search", "Review")),
        ("environment.pool=minimal", lambda c: c.environment.pool, "minimal"),
        ("environment.backend.hop_success=0.5", lambda c: c.environment.backend.rates["hop_success"], 0.5),
        ("objective.clip.low=0.1", lambda c: (c.objective.clip.low, c.objective.clip.high), (0.1, 4e-4)),
    ],
)
def test_override_values_are_typed_by_yaml_1_2(override, read, expected):
    value = read(load_trial("tiny", [override]))
    assert value == expected
    assert type(value) is type(expected)


def test_a_section_of_another_kind_brings_none_of_the_old_kinds_keys():
    changes = ["environment.backend={kind: simulated, hop_success: 0.5}", "engine.kind=builtin"]
    config = load_trial("qwen7b", ["data.path=data", *changes])
    assert config.environment.backend.rates == {"hop_success": 0.5}
    assert config.engine.kind == "builtin"
    served = load_trial("tiny", ["environment.backend.kind=local", "environment.backend.model=some/model"])
    assert served.environment.backend.model == "some/model"
    same_kind = load_trial("qwen7b", ["data.path=data", "environment.backend.model=other"])
    assert same_kind.environment.backend.base_url.startswith("http")


def test_the_sections_whose_keys_depend_on_their_kind_are_the_unions_of_the_model():
    unions, todo = set(), [TrialConfig]
    while todo:
        section = todo.pop()
        for name, annotation in get_type_hints(section).items():
            inner = [
                part for part in (annotation, *get_args(annotation)) if "kind" in getattr(part, "__annotations__", {})
            ]
            unions |= {name} if len(inner) > 1 else set()
            todo += [
                p for p in (annotation, *get_args(annotation)) if getattr(p, "__module__", "").startswith("harness")
            ]
    assert unions == KINDS


def test_threads_follow_the_resources_unless_set(sweep_file):
    assert expand(load_sweep(sweep_file, ["resources.cpus_per_trial=2"]), "c")[0].config.threads == 2
    assert expand(load_sweep(sweep_file, ["resources.cpus_per_trial=2", "threads=1"]), "c")[0].config.threads == 1


def test_a_preset_fills_the_axes_and_explicit_keys_win():
    for name, filled in PRESETS.items():
        objective = load_trial("tiny", [f"objective.preset={name}"]).objective
        assert (objective.ratio_unit, objective.reduction) == (filled.ratio_unit, filled.reduction)
        assert (objective.clip.low, objective.clip.high) == (filled.band.low, filled.band.high)
        assert (objective.surrogate, objective.advantage) == (filled.surrogate, filled.advantage)
        credit = objective.credit.model_dump() if objective.credit is not None else {}
        assert (filled.credit or {}).items() <= credit.items()
        assert bool(credit) == (filled.credit is not None)
    other = load_trial("tiny", ["objective.preset=gigpo", "objective.credit.weight=0.5"]).objective
    assert (other.credit.group, other.credit.weight) == ("anchor", 0.5)
    assert load_trial("tiny", ["objective.preset=gigpo", "objective.credit=null"]).objective.credit is None
    mixed = load_trial("tiny", ["objective.preset=gsspo", "objective.reduction=N4", "objective.clip.kind=matched",
                                "objective.clip.target=0.1"]).objective  # fmt: skip
    assert (mixed.ratio_unit, mixed.reduction, mixed.clip.kind) == ("subsequence", "N4", "matched")
    with pytest.raises(ConfigError, match=r"objective\.ratio_unit is required"):
        load_trial("tiny", ["objective.preset=null"])


def test_a_reduction_is_kept_under_the_name_that_was_written():
    for name in ("N1", "seq-mean-seg-mean", "token-mean"):
        assert load_trial("tiny", [f"objective.reduction={name}"]).objective.reduction == name
    assert load_trial("tiny").objective.reduction == "N1"


def test_a_matched_clip_needs_a_target_and_a_fixed_one_has_none():
    with pytest.raises(ConfigError, match="needs a target"):
        load_trial("tiny", ["objective.clip.kind=matched"])
    with pytest.raises(ConfigError, match="a fixed one has none"):
        load_trial("tiny", ["objective.clip.target=0.1"])


def test_the_larger_profiles_ask_for_their_data(tmp_path):
    for profile in ("smollm2", "qwen7b"):
        with pytest.raises(ConfigError, match=r"data\.path is required .*harness\.data prepare --out FOLDER"):
            load_trial(profile)
        assert load_trial(profile, [f"data.path={tmp_path}"]).profile == profile


def test_the_paper_profile_has_the_papers_values():
    config = load_trial("qwen7b", ["data.path=data"])
    assert (config.rollout.prompts_per_step, config.rollout.group_size, config.update.updates_per_batch) == (512, 8, 4)
    assert (config.update.learning_rate, config.objective.kl_weight, config.steps) == (1e-6, 0.001, 38)
    assert (config.environment.max_calls, config.environment.max_turns) == (20, 21)
    assert (config.environment.max_response_tokens, config.environment.observation_chars) == (8192, 2048)
    assert (config.policy.path, config.policy.lora, config.policy.warm_start) == (
        "Qwen/Qwen2.5-7B-Instruct",
        None,
        "none",
    )
    assert (config.data.train_suites, config.data.train_questions) == (("nq", "hotpotqa"), 10_000)
    assert len(config.data.eval_suites) == 7
    # 2 epochs of whole batches
    assert config.steps == 2 * (config.data.train_questions // config.rollout.prompts_per_step)
    assert (config.rollout.temperature, config.data.eval_samples) == (1.0, 0)  # evaluation is greedy
    assert (config.environment.pool, config.environment.search.top_k) == ("full", 5)
    assert config.environment.backend.model == "Qwen/Qwen2.5-32B-Instruct"
    reward = config.reward
    assert (reward.correct, reward.format_penalty, reward.no_answer_penalty) == (1.0, 0.5, 1.0)
    assert (config.engine.kind, config.engine.dtype, config.engine.placement) == ("vllm", "bfloat16", "colocated")
    assert config.update.gradient_checkpointing
    assert config.update.autocast
    assert config.objective.importance_cap is None


@pytest.mark.parametrize("preset", ["grpo", "gspo", "gsspo"])
def test_the_paper_profile_trains_every_weight_or_adapters_with_each_presets_clipping(preset):
    """A step of 1e-6 vanishes in bfloat16 weights: what is trained must be float32."""
    full = load_trial("qwen7b", ["data.path=data", f"objective.preset={preset}"])
    assert full.policy.dtype == "float32"
    band = PRESETS[preset].band
    assert (full.objective.clip.low, full.objective.clip.high) == (band.low, band.high)
    head = (PROFILES / "qwen7b.yaml").read_text()
    shown = re.search(r"#   (policy\.lora=.*)", head)[1]
    lora = load_trial("qwen7b", ["data.path=data", f"objective.preset={preset}", *shlex.split(shown)])
    assert lora.policy.lora.rank == 64
    assert (lora.policy.dtype, lora.update.learning_rate) == ("bfloat16", 1e-5)
    assert lora.rollout == full.rollout


def test_an_engine_has_the_settings_of_its_kind_and_room_for_a_prompt(tmp_path):
    assert load_trial("tiny").engine.kind == "builtin"
    assert load_trial("tiny", ["engine.kind=vllm"]).engine.tensor_parallel_size == 1
    with pytest.raises(ConfigError, match=r"unknown key 'engine\.tensor_parallel_size'"):
        load_trial("tiny", ["engine.tensor_parallel_size=2"])
    with pytest.raises(ConfigError, match="kind must be one of"):
        load_trial("tiny", ["engine.kind=sglang"])
    with pytest.raises(ConfigError, match="leaves no room for a prompt"):
        load_trial("tiny", ["engine={kind: vllm, max_model_len: 700}"])


def test_a_key_depends_on_configuration_seed_and_code_and_on_nothing_else(sweep_file, tmp_path):
    keys = [t.key for t in expand(load_sweep(sweep_file), "code")]
    assert len(set(keys)) == len(keys)
    assert keys == [t.key for t in expand(load_sweep(sweep_file), "code")]
    assert not set(keys) & {t.key for t in expand(load_sweep(sweep_file), "other code")}
    assert not set(keys) & {t.key for t in expand(load_sweep(sweep_file, ["steps=4"]), "code")}
    assert keys[:3] == [t.key for t in expand(load_sweep(sweep_file, ["seeds=[7]", "name=x", "hypothesis=y"]), "code")]
    spelled = tmp_path / "spelled.yaml"
    spelled.write_text(
        TWO_AXES.replace("rollout.prompts_per_step: 4", "rollout: {prompts_per_step: 4}").replace("1e-4", "0.0001")
    )
    assert keys == [t.key for t in expand(load_sweep(spelled), "code")]


def test_a_key_is_the_same_on_every_machine():
    written = b'{"code":"c","config":{"a":1.5,"b":["\\u00e9",null]}}'
    assert trial_key({"b": ["é", None], "a": 1.5}, "c") == hashlib.sha256(written).hexdigest()


def test_the_preregistration_hash_covers_hypothesis_analysis_and_seeds(sweep_file):
    base = load_sweep(sweep_file).preregistration
    assert base == load_sweep(sweep_file, ["steps=9", "name=x"]).preregistration
    for change in ("hypothesis=other", "seeds=[7, 8, 9]"):
        assert base != load_sweep(sweep_file, [change]).preregistration


_ascii = st.characters(min_codepoint=32, max_codepoint=126)
_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(_ascii, max_size=8)
)
_names = st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=3)
_trees = st.dictionaries(
    _names,
    st.recursive(_scalars, lambda c: st.lists(c, max_size=3) | st.dictionaries(_names, c, max_size=3)),
    max_size=4,
)


@settings(deadline=None, max_examples=examples(60))
@given(_trees)
def test_json_is_read_as_the_yaml_it_is(tree):
    assert plain(read_text(Source("t", canonical_json(tree)))) == tree


@settings(deadline=None, max_examples=examples(60))
@given(_trees, _trees)
def test_merging_is_a_deep_update(below, above):
    def update(a, b):
        if not (isinstance(a, dict) and isinstance(b, dict)):
            return b
        return {k: update(a[k], b[k]) if k in a and k in b else b.get(k, a.get(k)) for k in (*a, *b)}

    nodes = [read_text(Source("t", canonical_json(tree))) for tree in (below, above)]
    assert plain(merge(*nodes)) == update(below, above)


@settings(deadline=None, max_examples=examples(30))
@given(st.lists(st.sampled_from(["grpo", "gspo", "gsspo"]), min_size=1, unique=True), st.integers(1, 5))
def test_the_number_of_trials_is_the_product_of_axes_and_seeds(tmp_path_factory, values, seeds):
    path = tmp_path_factory.mktemp("s") / "s.yaml"
    axis = f"parameters: {{objective.preset: {{values: {values}}}}}"
    path.write_text(f"name: s\nhypothesis: h\nprofile: tiny\nseeds: {seeds}\n{axis}\n")
    trials = expand(load_sweep(path, checks=()), "c")
    assert [(t.seed, t.axes["objective.preset"]) for t in trials] == list(itertools.product(range(seeds), values))


def test_the_small_mode_changes_what_the_file_says_and_stands_apart(sweep_file):
    assert load_sweep(sweep_file).name == "demo"
    with sweep_file.open("a") as handle:
        handle.write("small: {seeds: [0], steps: 1, parameters.update.learning_rate: [1e-4], data.eval_questions: 2}\n")
    assert len(expand(load_sweep(sweep_file), "v1")) == 6
    small = load_sweep(sweep_file, ["data.eval_questions=3"], small=True)
    assert small.name == "demo-small"
    trials = expand(small, "v1")
    assert [(t.seed, t.config.steps, t.config.data.eval_questions) for t in trials] == [(0, 1, 3)] * 2


def test_a_study_without_a_small_mode_says_what_to_add(sweep_file):
    with pytest.raises(ConfigError, match=r"demo.yaml:1:1.*no small mode"):
        load_sweep(sweep_file, small=True)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_every_shipped_study_has_a_small_mode_of_few_trials(path):
    spec = load_sweep(path, GIVEN.get(path.stem, ()), checks=(), small=True)
    assert len(spec.cells) <= 24
    assert all(config.steps <= 6 for _, config in spec.cells)


NAMED = """\
name: named
hypothesis: a penalty helps
profile: tiny
parameters:
  reward:
    values: {none: {format_penalty: 0.0, no_answer_penalty: 0.0}, paper: {format_penalty: 0.5, no_answer_penalty: 1.0}}
seeds: [0]
analysis: {primary: {metric: eval/em, contrast: [paper, none], axis: reward}, margin: 0.03, alpha: 0.05}
"""


def test_values_with_names_are_known_by_them(tmp_path):
    path = tmp_path / "named.yaml"
    path.write_text(NAMED)
    trials = expand(load_sweep(path, checks=()), "v1")
    assert [(t.name, t.axes, t.config.reward.format_penalty) for t in trials] == [
        ("none_seed0", {"reward": "none"}, 0.0),
        ("paper_seed0", {"reward": "paper"}, 0.5),
    ]
    for override in ("reward=paper", "parameters.reward=[paper]"):
        [one] = expand(load_sweep(path, [override], checks=()), "v1")
        assert (one.axes, one.key) == ({"reward": "paper"}, trials[1].key)
    path.write_text(NAMED.replace("contrast: [paper, none]", "contrast: [paper, nnoe]"))
    with pytest.raises(ConfigError, match=r"reward never takes the value 'nnoe'(.|\n)*did you mean 'none'"):
        load_sweep(path, checks=())


def test_a_dedicated_engine_needs_its_gpus_reserved(sweep_file):
    dedicated = ["engine={kind: vllm, placement: dedicated, tensor_parallel_size: 2}", "resources.gpus_per_trial=1"]
    assert load_sweep(sweep_file, [*dedicated, "resources.engine_gpus=2"]).file.resources.engine_gpus == 2
    with pytest.raises(ConfigError, match=r"(?s)engine_gpus 0.*resources\.engine_gpus=2"):
        load_sweep(sweep_file, dedicated)
    with pytest.raises(ConfigError, match="dedicated with several workers"):
        load_sweep(sweep_file, [dedicated[0], "resources.workers=2"])


def test_a_seed_among_the_settings_of_one_configuration_is_refused_and_not_ignored() -> None:
    assert load_trial("tiny", seed=3).seed == 3
    with pytest.raises(ConfigError, match="the seed is no setting"):
        load_trial("tiny", ["seed=3"])

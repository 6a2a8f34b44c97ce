"""Adapters that are more than plain LoRA: evaluated as PEFT computes them, or refused by the option's name."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PEFT_TYPE_TO_CONFIG_MAPPING, LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.lora.config import ArrowConfig, BdLoraConfig, KasaConfig, MontecloraConfig
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from harness.engines.base import GenerationRequest, SamplingParams
from harness.engines.builtin import BuiltinEngine
from harness.policy.export import load_export
from harness.policy.folder_checks import MERGED_OPTIONS
from harness.policy.load import TINY_ASSETS, PolicyError

VOCAB, TOKENS = 96, 12
PROMPT = torch.randint(4, VOCAB, (20,), generator=torch.Generator().manual_seed(3)).tolist()
KINDS = ("qwen2", "llama")
BD = BdLoraConfig(target_modules_bd_a=["q_proj"], target_modules_bd_b=["v_proj"], nblocks=2)
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

EQUAL: list[dict[str, Any]] = [
    {},
    {"r": 1, "lora_alpha": 3, "lora_dropout": 0.5},
    {"use_rslora": True, "lora_alpha": 16},
    {"use_dora": True},
    {"use_dora": True, "use_rslora": True, "target_modules": "all-linear", "bias": "all"},
    {"bias": "all"},
    {"bias": "lora_only"},
    {"lora_bias": True},
    {"modules_to_save": ["embed_tokens", "lm_head"]},
    {"modules_to_save": ["embed_tokens"]},
    {"modules_to_save": ["lm_head"]},
    {"modules_to_save": ["norm"]},
    {"modules_to_save": ["down_proj", "input_layernorm"]},
    {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
    {"target_modules": "all-linear"},
    {"target_modules": ["embed_tokens", "q_proj"]},
    {"target_modules": ["lm_head", "q_proj"]},
    {"target_modules": ["embed_tokens", "lm_head"], "use_dora": True},
    {"target_modules": ["embed_tokens"], "ensure_weight_tying": True},
    {"target_modules": r".*layers\.1\..*_proj"},
    {"target_modules": LINEAR, "exclude_modules": ["v_proj"]},
    {"target_parameters": ["mlp.gate_proj.weight"]},
    {"rank_pattern": {"q_proj": 8}, "alpha_pattern": {"v_proj": 32}},
    {"fan_in_fan_out": True},
    {"layers_to_transform": [1]},
    {"layers_to_transform": [0], "layers_pattern": "layers"},
    {"trainable_token_indices": PROMPT[:5]},
    {"trainable_token_indices": {"lm_head": [9, 4, 80]}},
    {"trainable_token_indices": {"embed_tokens": PROMPT[:2], "lm_head": [9, 4, 80]}, "use_dora": True},
    {"use_bdlora": BD},
    {"kasa_config": KasaConfig()},
    *({"init_lora_weights": init} for init in (False, "gaussian", "orthogonal", "pissa", "olora", "eva")),
]
REFUSED: dict[str, dict[str, Any]] = {
    "init_lora_weights": {"init_lora_weights": "pissa_niter_4"},
    "layer_replication": {"layer_replication": [(0, 2), (1, 2)]},
    "alora_invocation_tokens": {"alora_invocation_tokens": PROMPT[-2:]},
    "use_qalora": {"use_qalora": True, "qalora_group_size": 8},
    "velora_config": {"velora_config": {}},
    "monteclora_config": {"monteclora_config": MontecloraConfig()},
    "arrow_config": {"arrow_config": ArrowConfig()},
    "megatron_config": {"megatron_config": {"tensor_model_parallel_size": 1}},
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A Qwen2 with tied ends, and a Llama with untied ones and a bias at every projection."""
    shape = {
        "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
    }  # fmt: skip
    torch.manual_seed(0)
    models = {
        "qwen2": Qwen2ForCausalLM(Qwen2Config(**shape, tie_word_embeddings=True)),
        "llama": LlamaForCausalLM(LlamaConfig(**shape, tie_word_embeddings=False, attention_bias=True, mlp_bias=True)),
    }
    places = {}
    for kind, model in models.items():
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(p if "norm" in name else p * 4)
                if name.endswith("bias"):
                    p.normal_(0, 0.3)
        places[kind] = tmp_path_factory.mktemp(kind)
        model.save_pretrained(places[kind])
        for file in TINY_ASSETS.glob("*token*"):
            (places[kind] / file.name).write_bytes(file.read_bytes())
    return places


def trained_adapter(base: Path, folder: Path, **options: Any) -> None:
    """Save an adapter whose every trainable weight differs from its start."""
    chosen = {"r": 4, "target_modules": ["q_proj", "v_proj"], **options}
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(task_type="CAUSAL_LM", **chosen))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)


def difference(base: Path, folder: Path) -> tuple[float, float]:
    """How far the engine's log-probs are from PEFT's own, and these from the bare base's."""
    policy = load_export(folder, torch.float32).model
    engine = BuiltinEngine(policy, capacity=64)
    (given,) = engine.generate([GenerationRequest(0, PROMPT, 1, TOKENS)], SamplingParams(1.0, TOKENS, VOCAB))
    ids = torch.tensor([[*PROMPT, *given.tokens]])
    bare = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        without = torch.log_softmax(bare(ids).logits[0], -1)
        peft = torch.log_softmax(PeftModel.from_pretrained(bare, str(folder)).eval()(ids).logits[0], -1)
    at = torch.arange(len(PROMPT) - 1, ids.shape[1] - 1), torch.tensor(given.tokens)
    off = np.abs(np.array(given.logprobs) - peft[at].numpy()).max()
    return float(off), float((peft - without).abs().max())


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        # every option on either kind, in turn; on the other kind nightly
        pytest.param(kind, options, id=f"{kind}-{options}", marks=() if (i + k) % 2 == 0 else pytest.mark.nightly)
        for k, kind in enumerate(KINDS)
        for i, options in enumerate(EQUAL)
    ],
)
def test_an_adapter_is_evaluated_as_peft_computes_it(
    options: dict[str, Any], kind: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    trained_adapter(bases[kind], tmp_path / "a", **options)
    off, effect = difference(bases[kind], tmp_path / "a")
    assert off < 1e-4
    assert effect > 0.01  # an adapter that did nothing would be equal to anything


@pytest.mark.parametrize(("drawn", "least"), [(12, 4), pytest.param(40, 15, marks=pytest.mark.nightly)])
def test_random_combinations_of_options_are_equal_or_refused(
    drawn: int, least: int, bases: dict[str, Path], tmp_path: Path
) -> None:
    rng, equal = random.Random(0), 0
    for i in range(drawn):
        options: dict[str, Any] = {
            "r": rng.choice([1, 2, 8]),
            "lora_alpha": rng.choice([1, 8, 32]),
            "use_rslora": rng.random() < 0.5,
            "use_dora": rng.random() < 0.4,
            "bias": rng.choice(["none", "all", "lora_only"]),
            "target_modules": rng.choice([rng.sample([*LINEAR, "embed_tokens", "lm_head"], 3), "all-linear"]),
            "modules_to_save": rng.choice([None, None, ["norm"], ["post_attention_layernorm"]]),
            "rank_pattern": rng.choice([{}, {"q_proj": 6, "up_proj": 2}]),
            "alpha_pattern": rng.choice([{}, {"layers.0.mlp.down_proj": 20}]),
            "layers_to_transform": rng.choice([None, None, 1]),
            "init_lora_weights": rng.choice([True, False, "gaussian", "olora", "pissa"]),
            "trainable_token_indices": rng.choice([None, None, PROMPT[:3], {"lm_head": [9, 4]}]),
        }
        options["lora_bias"] = not options["use_dora"] and options["bias"] == "none" and rng.random() < 0.3
        base, folder = bases[rng.choice(KINDS)], tmp_path / str(i)
        try:
            trained_adapter(base, folder, **options)
        except (ValueError, NotImplementedError, RuntimeError):  # PEFT does not make it: nobody has such an adapter
            continue
        if options["lora_bias"] and base == bases["qwen2"]:
            with suppress(PolicyError):  # PEFT cannot merge it where the base has no bias, and says so by name
                assert difference(base, folder)[0] < 1e-4
            continue
        off, _ = difference(base, folder)
        assert off < 1e-4, options
        equal += 1
    assert equal >= least


@pytest.mark.parametrize("name", REFUSED)
def test_an_option_that_cannot_be_evaluated_is_refused_by_name(
    name: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    trained_adapter(bases["llama"], tmp_path)
    path = tmp_path / "adapter_config.json"
    saved = LoraConfig(**REFUSED[name]).to_dict()[name]
    for value in (saved, type(saved)()):  # an empty object is a configuration of defaults to PEFT, not its absence
        path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}, default=str))
        if value is not False:
            with pytest.raises(PolicyError) as caught:
                load_export(tmp_path, torch.float32)
            assert name in str(caught.value)
            assert "\n" not in str(caught.value)


def test_every_option_of_peft_is_either_compared_or_refused() -> None:
    """A release of PEFT with a new option fails here: refuse it by leaving it out, or compare it above."""
    new = {f.name for f in fields(LoraConfig)} - MERGED_OPTIONS - set(REFUSED)
    assert new == set()


def test_every_other_kind_of_adapter_is_refused_by_name(bases: dict[str, Path], tmp_path: Path) -> None:
    trained_adapter(bases["qwen2"], tmp_path)
    path = tmp_path / "adapter_config.json"
    saved = json.loads(path.read_text())
    others = {kind.value for kind in PEFT_TYPE_TO_CONFIG_MAPPING} - {"LORA"}
    assert len(others) > 30
    for kind in others:
        path.write_text(json.dumps(saved | {"peft_type": kind}))
        with pytest.raises(PolicyError, match=f"peft_type '{kind}' is not supported"):
            load_export(tmp_path, torch.float32)


@pytest.mark.parametrize(
    ("name", "value"), [("peft_type", "IA3"), ("an_option_of_tomorrow", True), ("base_model_name_or_path", None)]
)
def test_other_kinds_and_unknown_options_are_refused_by_name(
    name: str, value: Any, bases: dict[str, Path], tmp_path: Path
) -> None:
    trained_adapter(bases["qwen2"], tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(PolicyError, match=name):
        load_export(tmp_path, torch.float32)


def test_weights_that_do_not_fit_the_adapters_configuration_are_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    trained_adapter(bases["qwen2"], tmp_path)
    path = tmp_path / "adapter_config.json"
    for modules in (["q_proj"], ["q_proj", "v_proj", "o_proj"]):  # more weights than it names, and fewer
        path.write_text(json.dumps(json.loads(path.read_text()) | {"target_modules": modules}))
        with pytest.raises(PolicyError, match="does not fit"):
            load_export(tmp_path, torch.float32)


TRAINED_BESIDE: list[dict[str, Any]] = [
    {"modules_to_save": ["norm", "lm_head"]},
    {"bias": "all"},
    {"use_dora": True},
    {"trainable_token_indices": PROMPT[:3]},
    {"target_modules": ["q_proj", "embed_tokens"]},
]


@pytest.mark.parametrize("options", TRAINED_BESIDE, ids=str)
def test_an_adapter_that_lacks_any_of_its_weights_is_refused(
    options: dict[str, Any], bases: dict[str, Path], tmp_path: Path
) -> None:
    trained_adapter(bases["llama"], tmp_path, **options)
    path = tmp_path / "adapter_model.safetensors"
    whole = load_file(path)
    for lacking in (name for name in whole if "embed_tokens.base_layer" not in name):  # that one is the base's
        save_file({name: weight for name, weight in whole.items() if name != lacking}, path, {"format": "pt"})
        with pytest.raises(PolicyError, match="does not fit"):
            load_export(tmp_path, torch.float32)


def test_a_merge_that_computes_something_else_is_refused(
    bases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the reason, and for precisions whose merge rounds too."""
    trained_adapter(bases["llama"], tmp_path)
    for dtype in (torch.float32, torch.bfloat16):
        load_export(tmp_path, dtype)
    monkeypatch.setattr(LoraLinear, "get_delta_weight", lambda self, _: torch.zeros_like(self.weight))
    for dtype in (torch.float32, torch.bfloat16):
        with pytest.raises(PolicyError, match="cannot be merged"):
            load_export(tmp_path, dtype)


def test_an_engine_refuses_adapters_that_are_not_merged(bases: dict[str, Path], tmp_path: Path) -> None:
    for options in ({"use_dora": True}, {"modules_to_save": ["norm"]}, {"target_modules": ["embed_tokens"]}):
        bare = AutoModelForCausalLM.from_pretrained(bases["qwen2"])
        model = get_peft_model(bare, LoraConfig(**{"target_modules": ["q_proj"], **options}))
        with pytest.raises(ValueError, match="merge"):
            BuiltinEngine(model, capacity=64)

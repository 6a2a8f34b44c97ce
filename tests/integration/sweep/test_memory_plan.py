"""The plan's arithmetic against transformers' parameter counts, autograd's kept tensors and the allocator's peaks."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch.utils._python_dispatch import TorchDispatchMode

from harness.config import load_sweep, load_trial
from harness.config.sweep_file import Resources
from harness.policy.forward import MicroBatch, policy_logprobs
from harness.policy.logprobs import CHUNK_ELEMENTS
from harness.sweep.__main__ import main
from harness.sweep.memory_plan.gpus import RESERVED, Gpus, parse_gpus
from harness.sweep.memory_plan.memory import UPDATE, Phase, Workload, activations, components, layer_activations, peak
from harness.sweep.memory_plan.shapes import PUBLISHED, SMOLLM2, PlanError, shape_of, shape_of_config
from harness.sweep.memory_plan.show import judge, on_gpus, show_plan, workload
from harness.sweep.memory_plan.vllm import engine_components, share_of
from tests.support.real_memory import config_of, kept_bytes, make_policy
from tests.support.real_memory import workload as small

ROOT = Path(__file__).parents[3]
TOLERANCE = 0.12
"""Of the peak. The kept tensors alone are held to 1.5 %."""
MODES: list[dict[str, Any]] = [
    {"lora_rank": rank, "dtype_bytes": size, "autocast": autocast}
    for rank in (None, 8)
    for size in (4, 2)
    for autocast in (False, True)
]


@pytest.mark.parametrize("lora_rank", [None, 4])
def test_parameters_are_those_of_the_model(lora_rank: int | None) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2ForCausalLM

    from harness.policy.load import Policy, with_lora
    from harness.policy.policy_settings import LoraSettings

    llama = LlamaConfig(
        vocab_size=500, hidden_size=96, intermediate_size=128, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=2, head_dim=20, tie_word_embeddings=False,
    )  # fmt: skip
    for config, kind in ((config_of("wide"), Qwen2ForCausalLM), (llama, LlamaForCausalLM)):
        with torch.device("meta"):
            model: Any = kind(config)
        shape = shape_of_config(config)
        assert shape.parameters == sum(p.numel() for p in model.parameters())
        if lora_rank:
            adapted = with_lora(Policy(model, None), LoraSettings(lora_rank, 8.0), 0)  # type: ignore[arg-type]
            assert shape.lora_parameters(lora_rank) == sum(p.numel() for p in adapted.trainable)


def test_published_shapes_have_the_published_sizes() -> None:
    sizes = {"0.5B": 494_032_768, "1.5B": 1_543_714_304, "3B": 3_085_938_688, "7B": 7_615_616_512,
             "14B": 14_770_033_664, "32B": 32_763_876_352}  # fmt: skip
    assert {name: PUBLISHED[f"Qwen/Qwen2.5-{name}"].parameters for name in sizes} == sizes
    assert PUBLISHED[SMOLLM2].parameters == 134_515_008


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_activations_are_what_autograd_keeps(mode: dict[str, Any]) -> None:
    for checkpointing in (False, True):
        w = small("small", checkpointing=checkpointing, **mode)
        assert activations(w) == pytest.approx(kept_bytes("small", w), rel=0.015)
    assert layer_activations(w) < activations(replace(w, checkpointing=False))


CASES = [
    ("small", {}),
    ("small", {"checkpointing": True, "dtype_bytes": 2, "autocast": True}),
]
NIGHTLY = [
    ("wide", {"lora_rank": 8, "dtype_bytes": 2, "autocast": True}),
    ("wide", {"reference": True, "autocast": True}),
    ("deep", {"checkpointing": True, "autocast": True}),
]
"""Autocast of these takes minutes on a processor without bfloat16."""


def measured_peaks(cases: list[tuple[str, dict[str, Any]]]) -> list[int]:
    command = [sys.executable, "-m", "tests.support.real_memory", json.dumps(cases)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, timeout=900, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])


def test_of_recomputed_layers_no_cast_weights_are_held() -> None:
    """autocast's own cache would hold them all until the forward pass ends, 13 GB at 7B."""
    cast: list[weakref.ref[torch.Tensor]] = []

    class Casts(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = function(*args, **(kwargs or {}))
            if function is torch.ops.aten._to_copy.default and out.dtype == torch.bfloat16 and out.shape in matrices:
                cast.append(weakref.ref(out))
            return out

    w = small("small", checkpointing=True, autocast=True)
    policy = make_policy("small", w)
    layers = policy.model.model.layers  # type: ignore[union-attr]
    matrices = {p.shape for p in layers.parameters() if p.ndim == 2}  # type: ignore[union-attr]
    tokens = torch.ones(1, 5, dtype=torch.int64)
    held: list[int] = []
    last = layers[-1].register_forward_hook(lambda *_: held.append(sum(r() is not None for r in cast)))  # type: ignore[index, union-attr]
    with Casts():
        policy_logprobs(policy.model, MicroBatch((0,), tokens, tokens > 0), 1.0, True)
    last.remove()
    assert len(cast) >= 7 * w.shape.layers
    assert held[0] <= 1  # the one that the layer's last product has just used


@pytest.mark.slow
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("cases", [CASES, pytest.param(NIGHTLY, marks=pytest.mark.nightly)], ids=["small", "others"])
def test_the_planned_peaks_are_the_allocators(cases: list[tuple[str, dict[str, Any]]]) -> None:
    planned = [peak(components(small(size, **settings)))[0] for size, settings in cases]
    assert planned == pytest.approx(measured_peaks(cases), rel=TOLERANCE)


def qwen(resources: dict[str, Any] | None = None, *overrides: str) -> Workload:
    config = load_trial("qwen7b", ["data.path=.", *overrides])
    return workload(config, Resources(**(resources or {})), on_gpu=True)


def test_workers_divide_weights_gradients_and_optimizer() -> None:
    one = {c.name: c.size for c in components(qwen())}
    eight = {c.name: c.size for c in components(qwen({"workers": 8}))}
    for name in ("weights", "gradients", "optimizer", "reference"):
        assert eight[name] == one[name] // 8
    assert one["weights"] == 4 * 7_615_616_512


def test_full_training_of_7b_fits_eight_gpus_at_every_moment_with_its_engine_beside_it() -> None:
    gpus, eight = parse_gpus("8x80GB"), qwen({"workers": 8, "gpus_per_worker": 1.0})
    assert judge(eight, gpus, 1).fits
    found = on_gpus(eight, gpus)
    held = {phase: sum(c.size for c in found if phase in c.phases) for phase in Phase}
    # parts of weights, moments and reference, and the two tables of the root: never the 30 GB of the whole
    parts = 4 * eight.shape.parameters * 4 // 8
    assert held[Phase.START] == pytest.approx(parts + 4 * eight.shape.outer_parameters, abs=8)
    table = 4 * eight.shape.vocab * eight.shape.hidden
    assert held[Phase.SAVE] == held[Phase.SYNC] == pytest.approx(parts + 40e9 + table, abs=8)


def test_what_torch_reserves_beyond_its_tensors_is_counted_while_it_updates() -> None:
    w, gpus = qwen({"workers": 8}), parse_gpus("8x80GB")
    reserved = {c.name: c for c in on_gpus(w, gpus)}["reserved"]
    assert reserved.phases == UPDATE
    assert reserved.size == pytest.approx(RESERVED * max(size_in(w, phase) for phase in UPDATE), rel=1e-6)


def size_in(w: Workload, phase: Phase) -> int:
    return sum(c.size for c in components(w) if phase in c.phases)


def test_vllms_share_is_its_weights_its_cache_and_the_rest() -> None:
    w, gpus = qwen({"workers": 8}), parse_gpus("8x80GB")
    rows = {c.name: c for c in engine_components(w, gpus)}
    assert rows["vLLM: weights"].size == 2 * w.shape.parameters
    assert sum(c.size for c in rows.values()) == 40 * 10**9
    share = share_of(w, gpus)
    assert share.tokens == rows["vLLM: KV cache"].size // (2 * 2 * 28 * 512)  # keys and values, bfloat16
    assert f"{share.tokens // w.positions} of 512 episodes" in rows["vLLM: KV cache"].what
    small_cache = qwen({"workers": 8}, "engine.kv_cache_gib=4.0")
    assert share_of(small_cache, gpus).cache == 4 * 2**30
    assert engine_components(replace(w, engine_share=None), gpus) == []


def test_chunks_of_logits_and_episodes_of_an_evaluation_are_the_settings() -> None:
    assert qwen().chunk == CHUNK_ELEMENTS["cuda"]
    config = load_trial("tiny", ["data.eval_at_once=100", "data.eval_questions=50"])
    w = workload(config, Resources(), on_gpu=False)
    assert (w.chunk, w.episodes) == (CHUNK_ELEMENTS["cpu"], 100)
    assert workload(config, Resources(workers=7), on_gpu=False).episodes == 50  # of 350 questions


def test_without_gpus_the_plan_shows_vllm_on_an_assumed_one_and_names_it(tmp_path: Path) -> None:
    settings = ["profile=qwen7b", f"data.path={tmp_path}", "resources.workers=8", "resources.gpus_per_worker=1.0"]
    spec = load_sweep(ROOT / "ablations" / "granularity.yaml", settings, checks=())
    console = Console(file=io.StringIO(), width=300)
    assert show_plan(console, spec, None)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    for words in ("vLLM: KV cache", "of 512 episodes", "planned for one of 80.0 GB", "start-up", "saving",
                  "main memory: 30.5 GB for each worker"):  # fmt: skip
        assert words in printed


def test_full_training_of_7b_does_not_fit_one_gpu_and_lora_on_a_vllm_of_its_own_does() -> None:
    gpus = parse_gpus("1x80GB")
    full = judge(replace(qwen(), engine_share=0.0), gpus, 1)
    assert not full.fits
    assert "does not fit" in full.sentences[0]
    lora = replace(qwen(None, "policy.lora={rank: 16, alpha: 32.0}", "policy.dtype=bfloat16"), engine_share=0.0)
    assert judge(lora, gpus, 1).fits
    assert not judge(replace(lora, workers=8), gpus, 1).fits  # eight workers on one GPU
    assert judge(replace(lora, workers=8), Gpus(8, gpus.size), 1).fits


def test_a_colocated_engine_needs_room_for_the_weights() -> None:
    lora = qwen(None, "policy.lora={rank: 16, alpha: 32.0}", "policy.dtype=bfloat16")
    gpus = parse_gpus("1x80GB")
    assert judge(replace(lora, engine_share=0.4), gpus, 1).fits
    assert not judge(replace(lora, engine_share=0.1), gpus, 1).fits
    assert not judge(replace(lora, engine_share=0.9), gpus, 1).fits


@pytest.mark.parametrize("text", ["80", "0x80GB", "80MB", "1x", "x80GB", "1x0GB"])
def test_gpus_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(PlanError, match="1x80GB"):
        parse_gpus(text)


def test_gpus_are_read() -> None:
    assert parse_gpus("80GB") == Gpus(1, 80 * 10**9)
    assert parse_gpus("8 x 79.6GiB") == Gpus(8, int(79.6 * 2**30))


def test_a_model_that_is_neither_here_nor_published_is_named() -> None:
    policy = load_trial("qwen7b", ["data.path=.", "policy.path=nobody/nothing"]).policy
    with pytest.raises(PlanError, match="nobody/nothing"):
        shape_of(policy)


def test_the_exit_status_of_a_plan_shows_whether_it_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = [str(ROOT / "ablations" / "granularity.yaml"), "--plan"]
    assert main([*plan, "--gpus", "1x24GB"]) == 0
    printed = capsys.readouterr().out
    for word in ("weights", "KV cache", "optimizer", "activations", "logits", "fits on 1 x 24 GB"):
        assert word in printed
    assert main([*plan, "--gpus", "1x80GB", "profile=qwen7b", f"data.path={tmp_path}"]) == 2
    assert "DOES NOT FIT" in capsys.readouterr().out

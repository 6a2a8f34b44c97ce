"""Trained policies as standard folders: what `transformers`, PEFT and vLLM load without this harness.

    <folder>/                 full training, or LoRA with `merged`: config.json, model*.safetensors, the tokenizer
    <folder>/adapter/         LoRA with `merged`: the adapter beside the merged model, in PEFT's format
    <folder>/                 LoRA without `merged`: the adapter itself, and the tokenizer
    <folder>/provenance.json  the trial's configuration, its key and the step: what an evaluation links to

An adapter names the model it sits on. That is the hub's name (or the user's folder) where training began from one as it
is; otherwise (the tiny policy, a converted GGUF, a warm start) the start is kept in the run's folder `bases`, once for
equal weights. PEFT reads a relative name from where the process stands, not from the adapter, so the name is a full
path; `load_export` finds the base of a run that was moved, and the adapter's README.md shows how others do.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor, nn

from harness.engines.weights import plain_weights
from harness.env.prompts.chat import ChatFormat
from harness.policy.adapters import merge_adapter
from harness.policy.folders import ADAPTER, BASES, MAIN, PROVENANCE, base_of, base_revision, is_adapter
from harness.policy.load import Policy, check_folder, loading, pretrained

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""`ChatFormat` in the words of transformers and vLLM, for tokenizers that bring none of their own."""


def export_policy(
    policy: Policy, folder: Path, *, merged: bool, base: str | None, bases: Path, provenance: Mapping[str, Any]
) -> None:
    """Write `policy` into `folder`, which is made. The model in memory is not changed.

    `merged`: write a model with adapters folded in, beside the adapter (without effect where there is none). `base`:
    what the adapter sits on, None where that has to be kept in `bases`. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lora = hasattr(policy.model, "peft_config")
    if merged or not lora:
        # one after the other to main memory: of merged weights, a GPU has no room for a second whole set
        _write_model(policy, {name: weight.cpu() for name, weight in plain_weights(policy.model)}, folder)
    if lora:
        _write_adapter(policy, folder / ADAPTER if merged else folder, base or str(_keep_base(policy, bases)))
    _write_tokenizer(policy.chat, folder)
    (folder / PROVENANCE).write_text(json.dumps(provenance, indent=1) + "\n", encoding="utf-8")
    _let_others_read(folder)


def load_export(folder: Path, dtype: torch.dtype) -> Policy:
    """A policy from a model folder, or from an adapter's folder with the adapter merged into its base.

    Raises PolicyError when the folder, or an adapter's base, is damaged, incomplete or needs what nothing here runs.
    """
    from transformers import AutoTokenizer

    check_folder(str(folder))
    with loading(str(folder)):
        if is_adapter(folder):
            source, revision = base_of(folder), base_revision(folder)
            model = merge_adapter(pretrained(source, dtype, revision), folder)
        else:
            source, revision = str(folder), MAIN
            model = pretrained(source, dtype)
        place = str(folder) if _has_tokenizer(folder) else source
        tokenizer = AutoTokenizer.from_pretrained(place, revision=revision, trust_remote_code=False)
        return Policy(model, ChatFormat(tokenizer))


def _has_tokenizer(folder: Path) -> bool:
    return (folder / "tokenizer_config.json").is_file()


def _plain(model: nn.Module) -> Any:
    return model.get_base_model() if hasattr(model, "peft_config") else model  # type: ignore[operator]


def _write_model(policy: Policy, weights: dict[str, Tensor], folder: Path) -> None:
    from huggingface_hub import save_torch_state_dict
    from transformers import GenerationConfig

    config = _plain(policy.model).config
    if config.tie_word_embeddings:
        weights = {name: weight for name, weight in weights.items() if name != "lm_head.weight"}
    save_torch_state_dict({n: w.contiguous().cpu() for n, w in weights.items()}, folder)
    config.save_pretrained(folder)
    tokenizer = policy.chat.tokenizer
    # so that `generate` and a server end a turn where the policy does
    GenerationConfig(eos_token_id=policy.chat.end_of_turn, pad_token_id=tokenizer.pad_token_id).save_pretrained(folder)


def _write_adapter(policy: Policy, folder: Path, base: str) -> None:
    # "auto" would ask the hub whether the vocabulary was resized: it never is
    policy.model.save_pretrained(str(folder), save_embedding_layers=False)  # type: ignore[operator]
    path = folder / "adapter_config.json"
    settings = json.loads(path.read_text(encoding="utf-8")) | {"base_model_name_or_path": base}
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_CARD.format(base=base, name=Path(base).name, bases=BASES), encoding="utf-8")


_CARD = """\
A LoRA adapter in PEFT's format, on the base model {base}

    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{base}"), "FOLDER OF THIS FILE")

If the base is a folder that is no longer there because the run was moved: it is `{bases}/{name}` in the run's folder.
Give that path in its place, here and as `base_model_name_or_path` in adapter_config.json.
"""


def _let_others_read(folder: Path) -> None:
    """Weights and temporary folders are made for their owner alone, which no serving account is."""
    folder.chmod(0o755)
    for file in folder.rglob("*.safetensors"):
        file.chmod(0o644)


def _write_tokenizer(chat: ChatFormat, folder: Path) -> None:
    chat.tokenizer.save_pretrained(folder)
    if not getattr(chat.tokenizer, "chat_template", None):
        (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")


def _keep_base(policy: Policy, bases: Path) -> Path:
    """The folder of the model under the adapters, found by a hash of its weights; made on first use, atomically."""
    weights = {
        name.replace(".base_layer.", "."): weight.detach()
        for name, weight in _plain(policy.model).state_dict().items()
        if ".lora_" not in name
    }
    total = hashlib.blake2b(digest_size=8)
    for name in sorted(weights):
        total.update(name.encode())
        total.update(weights[name].contiguous().cpu().view(torch.uint8).numpy().tobytes())
    folder = bases.resolve() / f"base-{total.hexdigest()}"
    bases.mkdir(parents=True, exist_ok=True)
    with FileLock(bases.with_name(f".{bases.name}.lock")):
        if folder.exists():
            return folder
        staging = Path(tempfile.mkdtemp(dir=bases, prefix=".base-"))
        try:
            _write_model(policy, weights, staging)
            _write_tokenizer(policy.chat, staging)
            _let_others_read(staging)
            os.replace(staging, folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return folder

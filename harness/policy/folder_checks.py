"""Checks of a model's or adapter's folder by its files alone: damage, and options that nothing here evaluates.

They run before anything is loaded, so that a folder which cannot be used costs a line instead of an evaluation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.policy.folders import base_of, base_revision, is_adapter, read_note

_MERGED_WORDS = """
    alpha_pattern auto_mapping base_model_name_or_path bias corda_config ensure_weight_tying eva_config
    exclude_modules fan_in_fan_out inference_mode init_lora_weights kasa_config layers_pattern layers_to_transform
    loftq_config lora_alpha lora_bias lora_dropout lora_ga_config megatron_core modules_to_save peft_type peft_version
    qalora_group_size r rank_pattern revision runtime_config target_modules target_parameters task_type
    trainable_token_indices use_bdlora use_dora use_rslora
"""
MERGED_OPTIONS = frozenset(_MERGED_WORDS.split())
"""Options of PEFT's LoraConfig under which the merged weights compute what PEFT computes (held by a test over them)."""
REPRODUCIBLE_INITS = (True, False, "gaussian", "orthogonal", "pissa", "olora", "eva")
"""`init_lora_weights` that leave the base alone, or change it alike on every load. The others change it by chance, data
or gradients that the folder does not hold."""
_JSON_FILES = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "model.safetensors.index.json",
)  # fmt: skip
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_AGAIN = "copy or download the folder again"


def folder_fault(folder: Path) -> str | None:
    """One line on why the model or adapter in `folder` cannot be loaded (which file, what to do); None if no file shows
    a reason. An adapter's base is checked too where it is a folder."""
    try:
        for name in _JSON_FILES:
            if (folder / name).exists():
                _read_object(folder / name)
        for weights in sorted(folder.glob("*.safetensors")):
            _check_safetensors(weights)
        _check_shards(folder)
        if is_adapter(folder):
            _check_adapter(read_note(folder / "adapter_config.json"), folder / "adapter_config.json")
            base_revision(folder)
            return _base_fault(folder)
        _require(folder, "config.json", "not a model's folder")
    except OSError as error:
        return f"{error.filename or folder}: cannot be read ({error.strerror or error})"
    except ValueError as error:
        return str(error)
    return None


def _base_fault(adapter: Path) -> str | None:
    named = base_of(adapter)
    base = Path(named)
    if base.is_dir():
        return folder_fault(base) if not is_adapter(base) else f"{base}: the base of {adapter} is an adapter itself"
    if not _HUB_NAME.fullmatch(named):
        return f"{named}: the base model of {adapter} is not there; put it there, or its path into adapter_config.json"
    return None


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):  # not UTF-8, not JSON, a number of thousands of digits
        raise ValueError(f"{path}: not readable as JSON (cut or damaged); {_AGAIN}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds no JSON object; {_AGAIN}")
    return content


def _check_safetensors(path: Path) -> None:
    """Compare the file's length with what its header promises."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = stream.read(length) if 8 + length <= size else b""
    if len(header) < length or length == 0:
        raise ValueError(f"{path}: cut, or no safetensors file ({size} bytes); {_AGAIN}")
    try:
        entries = json.loads(header)
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
        promised = 8 + length + max(ends, default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        raise ValueError(f"{path}: its header is damaged; {_AGAIN}") from None
    if promised != size:
        raise ValueError(f"{path}: {size} bytes instead of {promised}; {_AGAIN}")


def _check_shards(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    if index.exists():
        shards = _read_object(index).get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
            raise ValueError(f"{index}: no `weight_map` of file names; {_AGAIN}")
        for name in sorted(set(shards.values())):
            _require(folder, name, f"named by {index.name}")
            if not name.endswith(".safetensors"):
                raise ValueError(f"{index}: {name!r:.80} is no safetensors file, and nothing else is read")
        return
    name, what = "model.safetensors", "the model's weights"
    if is_adapter(folder):
        name, what = "adapter_model.safetensors", "the adapter's weights"
    if not (folder / name).exists() and any(folder.glob("*.bin")):
        raise ValueError(f"{folder}: pickled weights (*.bin), which could run code; save them as {name}")
    _require(folder, name, what)


def _require(folder: Path, name: str, what: str) -> None:
    if Path(name).name != name or not (folder / name).is_file():
        raise ValueError(f"{folder / name}: missing ({what}); {_AGAIN}")


def _check_adapter(options: Mapping[str, Any], path: Path) -> None:
    """Raises ValueError naming every option that would make an evaluation differ from PEFT's own result."""
    kind = options.get("peft_type")
    if kind != "LORA":
        raise ValueError(f"{path}: peft_type {kind!r:.40} is not supported, only LORA; merge it with PEFT first")
    # an empty object or list switches some of them on
    foreign = {name: value for name, value in options.items() if name not in MERGED_OPTIONS}
    refused = [f"{name}={value!r:.40}" for name, value in foreign.items() if value not in (None, False)]
    init = options.get("init_lora_weights", True)
    if init not in REPRODUCIBLE_INITS:
        refused.append(f"init_lora_weights={init!r:.40}")
    if refused:
        raise ValueError(
            f"{path}: not supported: {', '.join(refused)}; merge the adapter with PEFT and evaluate the merged model"
        )

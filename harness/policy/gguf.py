"""GGUF files as plain transformers folders, converted once and kept.

transformers reads a GGUF in 16-20 s and then refuses to save the model as it is ("quantized with gguf"); a model built
afresh from the configuration, with the same weights, saves and reloads in half a second.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from harness.operators.retrieval.artifact_cache import stored


def convert_gguf(file: Path, cache: Path) -> Path:
    """The folder that holds `file` as a float32 model with its tokenizer; made in `cache` on first use, atomically.

    It is known by the SHA-256 of the file's content: another file of the same name and size is another model.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no GGUF file {file}")
    with file.open("rb") as stream:
        content = hashlib.file_digest(stream, "sha256").hexdigest()
    return stored(cache / "gguf", content[:32], lambda staging: _convert(file, staging))


def _convert(file: Path, folder: Path) -> None:
    import torch
    from transformers import AutoTokenizer

    from harness.engines.model_classes import AutoModelForCausalLM

    loaded: Any = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32, trust_remote_code=False
    )
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, trust_remote_code=False)
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain: Any = AutoModelForCausalLM.from_config(config)
    plain.load_state_dict(loaded.state_dict())
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)

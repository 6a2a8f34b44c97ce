"""GGUF files as plain transformers folders, converted once and kept.

transformers reads a GGUF in 16-20 s and then refuses to save the model as it is ("quantized with gguf"); a model built
afresh from the configuration, with the same weights, saves and reloads in half a second.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any


def convert_gguf(file: Path, cache: Path) -> Path:
    """The folder that holds `file` as a float32 model with its tokenizer; made in `cache` on first use, atomically."""
    if not file.is_file():
        raise FileNotFoundError(f"no GGUF file {file}")
    stamp = hashlib.sha256(f"{file.name} {file.stat().st_size}".encode()).hexdigest()[:12]
    folder = cache / f"{file.stem}-{stamp}"
    if folder.exists():
        return folder
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    cache.mkdir(parents=True, exist_ok=True)
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32, trust_remote_code=False
    )
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, trust_remote_code=False)
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain: Any = AutoModelForCausalLM.from_config(config)
    plain.load_state_dict(loaded.state_dict())
    staging = Path(tempfile.mkdtemp(dir=cache, prefix=".converting-"))
    plain.save_pretrained(staging)
    tokenizer.save_pretrained(staging)
    try:
        os.replace(staging, folder)
    except OSError:  # another process was first
        shutil.rmtree(staging)
    return folder

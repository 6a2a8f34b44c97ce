"""transformers' model classes, imported without scikit-learn.

Where scikit-learn is installed (MLflow needs it), transformers imports it for a kind of assisted generation that is not
used here. It takes a fifth of a trial's start-up.
"""

from __future__ import annotations

from harness.engines.absent_packages import absent

with absent("sklearn"):
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

__all__ = ["AutoModelForCausalLM", "LlamaConfig", "LlamaForCausalLM"]

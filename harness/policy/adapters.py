"""An adapter of PEFT as a plain model: merged into its base, and compared with PEFT's own result before it is used.

`folder_checks` refuses the options known to have no plain form. The comparison holds whatever the options are: a model
that computes something else than the adapter is refused, never evaluated.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from harness.policy.load import PolicyError

_PROBED_TOKENS = 32
"""Ids in each half of the comparison: spread over the vocabulary, and of tokens that the adapter trains by index."""


def merge_adapter(base: Any, folder: Path) -> Any:
    """`base`, a transformers causal LM, with the adapter in `folder` folded in: a plain model, trainable as a whole.

    A tied output layer that the adapter changes apart from the embedding gets weights of its own first; merged into
    one tensor, each change would reach both. Raises PolicyError when the weights in the file are not those of the
    adapter's configuration, or no plain model computes what PEFT does; and what PEFT raises for damaged files.
    """
    from peft import PeftModel

    try:
        adapted: Any = PeftModel.from_pretrained(base, str(folder)).eval()
    except KeyError as error:  # of modules saved whole and of tokens, PEFT looks the weights up
        raise PolicyError(f"the adapter in {folder} does not fit its configuration: no {error}") from None
    _check_weights(adapted, folder)
    probe = _probe(adapted)
    with torch.no_grad():
        wanted = adapted(probe).logits
    _untie_changed_ends(adapted.get_base_model())
    plain: Any = adapted.merge_and_unload(safe_merge=True)
    if plain.get_input_embeddings().weight.data_ptr() != plain.get_output_embeddings().weight.data_ptr():
        plain.config.tie_word_embeddings = False
    with torch.no_grad():
        _check_equal(plain(probe).logits, wanted, folder)
    return plain.requires_grad_(True)


def _check_weights(adapted: Any, folder: Path) -> None:
    """Compare the names in the adapter's file with those its configuration asks for: PEFT only warns, and of low-rank
    matrices alone."""
    from peft import get_peft_model_state_dict

    with safe_open(folder / "adapter_model.safetensors", "pt") as file:
        saved = set(file.keys())
    missing = get_peft_model_state_dict(adapted, save_embedding_layers=False).keys() - saved
    unexpected = adapted.load_adapter(str(folder), "default").unexpected_keys  # loaded once more, for this result
    if astray := [*sorted(missing), *unexpected]:
        base = adapted.get_base_model().config.name_or_path
        raise PolicyError(f"the adapter in {folder} does not fit {base}: {', '.join(astray[:3])}")


def _untie_changed_ends(model: Any) -> None:
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import TrainableTokensWrapper

    ends = model.get_input_embeddings(), model.get_output_embeddings()
    if model.config.tie_word_embeddings and any(isinstance(e, BaseTunerLayer | TrainableTokensWrapper) for e in ends):
        head = ends[1]
        if isinstance(head, TrainableTokensWrapper):
            head = head.token_adapter
        plain = head.get_base_layer() if isinstance(head, BaseTunerLayer) else head
        plain.weight = nn.Parameter(plain.weight.detach().clone())


def _probe(adapted: Any) -> Tensor:
    """Token ids [1, T]."""
    vocabulary = adapted.get_base_model().get_input_embeddings().weight.shape[0]
    spread = torch.arange(_PROBED_TOKENS) * vocabulary // _PROBED_TOKENS
    indices = adapted.peft_config["default"].trainable_token_indices or []
    chosen = indices if isinstance(indices, list) else [i for some in indices.values() for i in some]
    own = torch.tensor(sorted(set(chosen))[:_PROBED_TOKENS], dtype=torch.long)
    return torch.cat([spread, own]).unsqueeze(0)


def _check_equal(given: Tensor, wanted: Tensor, folder: Path) -> None:
    """Merging rounds in the weights' precision, so the bound is a share of the largest logit that grows with it."""
    bound = float(wanted.float().abs().max()) * torch.finfo(wanted.dtype).eps ** 0.5
    off = float((given.float() - wanted.float()).abs().max())
    if not off <= bound:  # NaN compares false
        raise PolicyError(
            f"the adapter in {folder} cannot be merged: logits differ from PEFT's by {off:.3g}; evaluate a merged model"
        )

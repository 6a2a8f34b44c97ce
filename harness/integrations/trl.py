"""GSsPO in TRL: `GRPOTrainer` with one ratio per run of policy tokens in `tool_mask` (made of `env_mask`).

Written for TRL 1.16. All but the loss is TRL's: generation, tools, rewards, advantages, KL reference.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from trl import GRPOTrainer

from harness.integrations.mask_runs import segment_mask_runs
from harness.objectives.clip_settings import ClipBand
from harness.objectives.loss import kl_k3, policy_objective, summarize
from harness.objectives.reductions import REDUCTIONS, seq_mean_token_mean


class GSsPOTrainer(GRPOTrainer):  # type: ignore[misc]
    """`GRPOTrainer` whose loss is mean_i mean_k f(s_ik, A_i) + beta KL; other arguments as there.

    `epsilon` and `epsilon_high` are the band of a geometric-mean ratio (e.g. 3e-4 and 4e-4): TRL's default of 0.2 would
    never clip. `loss_type` and `importance_sampling_level` are ignored. TRL's micro-batches of an optimizer step have
    equally many completions, so gradient accumulation does not change the gradient.

    Raises:
        ValueError: for a setting of `GRPOConfig` that changes the loss and is not supported here.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        unsupported = {
            "top_entropy_quantile": self.top_entropy_quantile < 1.0,
            "off_policy_mask_threshold": self.off_policy_mask_threshold is not None,
            "delta": self.args.delta is not None,
            "use_bias_correction_kl": self.beta != 0.0 and self.args.use_bias_correction_kl,  # TRL's default
            "entropy_coef": self._entropy_bonus_enabled,
            "router_aux_loss_coef": self.aux_loss_enabled,
            "vllm_importance_sampling_correction": self.use_vllm and self.vllm_importance_sampling_correction,
        }
        if any(unsupported.values()):
            raise ValueError(f"GSsPO does not support: {', '.join(k for k, on in unsupported.items() if on)}")

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        completion_mask = inputs["completion_mask"]
        policy = (completion_mask * inputs.get("tool_mask", 1)).bool()
        logp, entropy, _ = self._get_per_token_logps_and_entropies(
            model,
            torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1),
            torch.cat([inputs["prompt_mask"], completion_mask], dim=1),
            completion_mask.size(1),
            compute_entropy=True,
        )
        logp = logp[policy]
        old = inputs.get("old_per_token_logps")
        segmentation = segment_mask_runs(policy)
        output = policy_objective(
            logp,
            logp.detach() if old is None else old[policy],  # TRL leaves it out when the policy cannot have moved yet
            inputs["advantages"],
            segmentation,
            REDUCTIONS["N1"](segmentation),
            ClipBand(self.epsilon_low, self.epsilon_high),
        )
        loss = output.loss
        statistics = {name: value for name, value in summarize([output]).items() if name.startswith(("clip", "ratio"))}
        statistics["entropy"] = entropy[policy].mean()
        if self.beta != 0.0:
            kl = kl_k3(logp, inputs["ref_per_token_logps"][policy])
            loss = loss + self.beta * (seq_mean_token_mean(segmentation).to(kl.dtype) * kl).sum()
            statistics["kl"] = kl.detach().mean()
        mode = "train" if self.model.training else "eval"
        for name, value in statistics.items():
            self._metrics[mode][name].append(self.accelerator.gather(value.float()).nanmean().item())
        return loss / (self.current_gradient_accumulation_steps if mode == "train" else 1)

"""Closed lists of metric names: what evaluations and training steps log. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.env.prompts.perturbations import split_of

if TYPE_CHECKING:
    from harness.config.schema import TrialConfig

EVAL, SAMPLED, FAULTED, TWIN = "eval", "eval_sampled", "eval_fault", "eval_twin"
PROMPTED = "eval_prompt_"
"""Prefix of the splits of perturbed prompts."""
SCORES = ("em", "f1", "lenient")
EPISODE = (
    "reward_mean", *SCORES, "format_ok", "parse_ok_rate", "no_answer", "wrong_order", "operator_loop", "warning_loop",
    "repeat_loop", "lazy", "calls", "turns", "tokens", "operator_diversity",
)  # fmt: skip
"""What `signatures.episode_metrics` gives."""
FAULT = ("struck", "exposed", "detected", "detected_twin", "accepted", "recovered", "em_twin", "effect")
"""What `evaluation.fault_metrics` gives."""

GROUP = ("reward_std", "zero_variance", "reward_variance")
"""What `diagnostics.group_metrics` gives."""
UPDATE = (
    "loss", "grad_norm", "grad_norm_max", "grad_spike", "skipped_share", "entropy", "ratio_mean", "ratio_min",
    "ratio_max", "ratio_std", "clip_fraction", "clip_fraction_tokens", "clip_low", "clip_high", "kl_old",
    "gated_positive", "gated_negative", "episodes_effective", "advantage_variance_within", "entropy_think",
    "entropy_action",
)  # fmt: skip
"""What every step's updates give."""
SAMPLER = ("kl_k1", "kl_k3", "logprob_gap", "logprob_gap_mean")
TIME = ("rollout_s", "update_s", "tokens_per_s", "step_s", "eval_s")


def evaluated(config: TrialConfig) -> list[str]:
    """Every metric that the evaluations of a trial can yield, and so what an analysis may be registered for."""
    suites = config.data.eval_suites
    names = [f"{EVAL}/{name}" for name in EPISODE]
    names += [f"{EVAL}/{name}/{suite}" for name in SCORES for suite in suites]
    if config.data.eval_samples:
        names += [f"{EVAL}/em_sampled", *(f"{EVAL}/em_sampled/{suite}" for suite in suites)]
        names += [f"{SAMPLED}/{name}" for name in EPISODE]
    faults = config.environment.faults
    faulted = [FAULTED] if faults is not None and faults.eval_rate > 0 else []
    for split in [*faulted, *(PROMPTED + split_of(name) for name in config.environment.perturbations.eval)]:
        names += [f"{split}/{name}" for name in EPISODE]
        names += [f"{split}/{name}/{suite}" for name in ("em", "lenient") for suite in suites]
    return names + [f"{split}/{name}" for split in faulted for name in FAULT]


def trained(config: TrialConfig) -> list[str]:
    """Every metric that the training steps of a trial log."""
    names = [f"train/{name}" for name in (*EPISODE, *GROUP, "reward_variance_cliff")]
    names += [f"update/{name}" for name in UPDATE]
    names += [f"sampler/{name}" for name in SAMPLER] + [f"time/{name}" for name in TIME]
    if config.objective.kl_weight > 0:
        names.append("update/kl")
    if config.objective.importance_cap is not None:
        names += ["update/importance_mean", "update/importance_capped"]
    return names


def logged(config: TrialConfig) -> list[str]:
    """The closed list of metrics that a trial of this configuration can log."""
    return [*evaluated(config), *trained(config)]

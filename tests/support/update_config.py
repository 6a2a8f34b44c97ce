"""Trial configurations for tests of the update alone: plain averages, no clipping of gradients, one micro-batch."""

from __future__ import annotations

from typing import Any

from harness.config import TrialConfig, load_trial

SECTIONS = {
    "objective": (
        "ratio_unit",
        "reduction",
        "kl_weight",
        "importance_cap",
        "surrogate",
        "advantage",
        "credit_shuffle",
        "credit",
    ),
    "update": ("updates_per_batch", "tokens_per_microbatch", "max_grad_norm", "autocast"),
}


def changed(config: TrialConfig, **settings: Any) -> TrialConfig:
    """The configuration with settings of `SECTIONS` changed, unchecked."""
    update = {
        section: getattr(config, section).model_copy(update={n: settings.pop(n) for n in names if n in settings})
        for section, names in SECTIONS.items()
    }
    assert not settings, f"unknown settings {settings}"
    return config.model_copy(update=update)


def update_config(**settings: Any) -> TrialConfig:
    """GSsPO's axes; `settings` are changed."""
    plain = changed(
        load_trial("tiny", ["objective.preset=gsspo"]),
        kl_weight=0.0,
        updates_per_batch=1,
        tokens_per_microbatch=100_000,
        max_grad_norm=1e9,
        autocast=False,
    )
    return changed(plain, **settings)

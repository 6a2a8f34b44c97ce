"""Per-process cache of the step-0 evaluation, shared by trials with equal initial policy, prompts and data.

A sweep's arms and seeds differ from step 1 on; evaluations draw from random streams that no trial's seed enters. A
cache hit returns the episodes that `evaluate` would play again, so journals do not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from harness.config import TrialConfig, digest
from harness.engines.engine_settings import BuiltinSettings
from harness.operators.operator_settings import Bm25Settings, SimulatedBackend

KEPT = 12
"""Capacity: arms of a sweep whose step-0 evaluations differ (in prompts, or pools). Arms take turns, so one too few
means no hit at all."""

_TRAINING: dict[str, Any] = {
    "steps": True,
    "eval_every": True,
    "checkpoint_every": True,
    "save": True,
    "keep_state": True,
    "objective": True,
    "rollout": {"prompts_per_step", "group_size", "stream"},
    "environment": {"faults": {"train_rate"}},
}
"""Settings that step 0 does not depend on. A new setting enters the key until it is named here."""
_START: dict[str, Any] = {
    "update": True,
    "seed": True,
    "environment": {"faults": {"train_rate"}, "perturbations": {"train"}},
}
"""Settings that the start policy depends on where it is drawn or warmed, and on nothing else before the first step
(those of the environment stand beside what training alone depends on)."""

T = TypeVar("T")
_played: dict[str, object] = {}


def start_key(config: TrialConfig) -> str | None:
    """Cache key: equal for trials of equal step-0 evaluation; None where an evaluation is not deterministic."""
    e = config.environment
    deterministic = (
        isinstance(e.backend, SimulatedBackend)
        and isinstance(e.search.retriever, Bm25Settings)
        and isinstance(config.engine, BuiltinSettings)
    )
    if not deterministic:
        return None
    p = config.policy
    plain = config.branch is None and p.init == "start" and p.warm_start == "none" and p.lora is None
    return digest(config.model_dump(mode="json", exclude={**_TRAINING, **(_START if plain else {})}))


def played_once(key: str | None, play: Callable[[], T]) -> T:
    """The result of `play`, or on a cache hit its result of the first call with this key in this process."""
    if key is None:
        return play()
    if key not in _played:
        made = play()
        while len(_played) >= KEPT:
            del _played[next(iter(_played))]
        _played[key] = made
    return _played[key]  # type: ignore[return-value]

"""The start policy's evaluation, played once a process: trials that begin alike do alike before their first step.

A sweep's arms differ in what training does, its seeds in what training draws; step 0 comes before both, and evaluations
draw from streams that are no trial's own. So a process that runs one trial after another need not play it again. What
is remembered is what `evaluate` would return anew, episode for episode, so journals do not tell the difference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from harness.config import TrialConfig, digest
from harness.engines.engine_settings import BuiltinSettings
from harness.operators.operator_settings import Bm25Settings, SimulatedBackend

KEPT = 12
"""Evaluations remembered at a time: the arms of a sweep that start from different prompts, or pools. Arms take turns:
one too few and none is ever found."""

_TRAINING: dict[str, Any] = {
    "steps": True,
    "eval_every": True,
    "checkpoint_every": True,
    "save": True,
    "objective": True,
    "rollout": {"prompts_per_step", "group_size"},
    "environment": {"faults": {"train_rate"}},
}
"""Settings that nothing before the first step depends on. A new one counts until it is named here."""
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
    """Equal for trials whose start policy is evaluated alike; None where playing again may say something else."""
    e = config.environment
    deterministic = (
        isinstance(e.backend, SimulatedBackend)
        and isinstance(e.search.retriever, Bm25Settings)
        and isinstance(config.engine, BuiltinSettings)
    )
    if not deterministic:
        return None
    p = config.policy
    plain = p.init == "start" and p.warm_start == "none" and p.lora is None
    return digest(config.model_dump(mode="json", exclude={**_TRAINING, **(_START if plain else {})}))


def played_once(key: str | None, play: Callable[[], T]) -> T:
    """What `play` returns, or returned when this process first asked under this key."""
    if key is None:
        return play()
    if key not in _played:
        made = play()
        while len(_played) >= KEPT:
            del _played[next(iter(_played))]
        _played[key] = made
    return _played[key]  # type: ignore[return-value]

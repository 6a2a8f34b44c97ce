"""Published objectives as points on the three axes: ratio unit, reduction, clip band.

| objective | ratio unit | reduction | published band | exact here |
|---|---|---|---|---|
| GRPO (2402.03300) | token | N3 (= N1: units of one token) | 0.2 / 0.2 | yes |
| DAPO (2503.14476) | token | N4 (= N2) | 0.2 / 0.28 | the loss, yes; its sampling rules are not part of it |
| GSPO (2507.18071) | sequence | N1 | 3e-4 / 4e-4 | yes |
| GSPO-token (same) | sequence | N1 | 3e-4 / 4e-4 | yes: `policy_objective_tokenwise` |
| GSsPO (2602.01202) | subsequence | N1 | not stated | yes |
| step-wise GSPO (SkyRL) | subsequence | N1 to N4 | configurable | the ratio is |
| ST-PPO, SO-GRPO (2511.20718) | subsequence | - | - | the turn-level ratio is; their critics are not |
| SSPO (2511.04256) | sentence | - | - | no: needs sentence boundaries, another ratio unit |
| Dr. GRPO (2503.20783) | token | sum / (B L_max) | 0.2 / 0.2 | N4 up to a factor that depends on the batch's length |
| GMPO (2507.20673) | sequence | N1 | e^-0.4 / e^0.4 | no: clips tokens inside the mean, f is not f(mean) |
| CISPO (2506.13585) | token | N4 | high only | no: a clipped token keeps its gradient |
| FSPO (2509.09177) | sequence | N1 | widens with length | no: each unit has its own band; matched clip answers it |

At theta = theta_old, GRPO and GSPO have equal gradients, and GSsPO's differs in token weights only.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.objectives.clip_settings import ClipBand


@dataclass(frozen=True, slots=True)
class Preset:
    """A point on the axes: keys of `RATIO_UNITS` and `REDUCTIONS`, and the default band."""

    ratio_unit: str
    reduction: str
    band: ClipBand


GSPO_BAND = ClipBand(3e-4, 4e-4)

PRESETS: dict[str, Preset] = {
    "grpo": Preset("token", "N3", ClipBand(0.2, 0.2)),
    "gspo": Preset("sequence", "N1", GSPO_BAND),
    # The paper names no band. GSPO's is the one published for a geometric-mean ratio, and with it GSsPO is exactly
    # GSPO wherever an episode has one unit.
    "gsspo": Preset("subsequence", "N1", GSPO_BAND),
}

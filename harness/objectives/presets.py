"""Published objectives as points on the three axes (ratio unit, reduction, clip band).

| objective | ratio unit | reduction | band it was published with | exact here |
|---|---|---|---|---|
| GRPO (2402.03300) | token | N3 | 0.2 / 0.2 | yes (N1 is the same for one-token units) |
| DAPO (2503.14476) | token | N4 | 0.2 / 0.28 | yes, of its loss (its sampling rules are not an objective) |
| GSPO (2507.18071) | sequence | N1 | 3e-4 / 4e-4 | yes |
| GSsPO (2602.01202) | subsequence | N1 | not stated | yes |
| step-wise GSPO (SkyRL), turn level | subsequence | N1 | - | the ratio is; its reduction is configurable there |
| SSPO (2511.04256) | sentence | - | - | no: needs sentence boundaries; the axis admits them |
| Dr. GRPO (2503.20783) | token | sum / (B L_max), no std | 0.2 / 0.2 | no: N4 times a constant only if all batches are as long |
| GMPO (2507.20673) | sequence, tokens clipped *inside* the mean | N1 | e^-0.4 / e^0.4 | no: f is not a function of the mean |
| CISPO (2506.13585) | token | N4 | high only | no: clips the stop-gradient weight, so a clipped token keeps its gradient |
| FSPO (2509.09177) | sequence | N1 | widens with length | no: the band differs between units; matched clipping is its rival |

At theta = theta_old, all of the first four with N1 or N3 on the same tokens differ in nothing but token weights.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.objectives.clip import ClipBand


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

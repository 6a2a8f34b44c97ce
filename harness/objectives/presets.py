"""Published objectives as points on the axes: ratio unit, reduction, clip band, surrogate, advantage, turn credit.

What is not exact here, and why:

| preset | difference |
|---|---|
| `dapo` | the loss; its sampling rules are not part of it |
| `dr_grpo` | up to the constant 1 / L_max, which Adam divides out (`max_grad_norm` does not) |
| `gsspo` | the paper names no band: GSPO's, the one published for a geometric-mean ratio |
| `at2po`, `tree_grpo`, `roll_segment` | ratio and reduction; no tree search, entropy term, dual clip |
| `tree_grpo`, `roll_segment` | the band is their frameworks' default |
| `rloo`, `sapo` | the band has no effect |
| `stepwise_gspo` | SkyRL leaves band and reduction to the user: GSPO's band, its default reduction |
| `reinforce_pp` | no KL in the reward; whitened over tokens, std + 1e-6 in place of sqrt(variance + 1e-8) |
| `cispo` | the paper does not state its upper bound: ScaleRL's 5 (2510.13786); no lower bound |
| `sapo` | temperatures (1.0, 1.05) in place of a band |
| `dppo` | binary total variation; ratios are not truncated |
| `gigpo` | anchor: the set of observations read, exactly; no clipping of advantages |
| `mt_grpo` | turn reward: evidence found, in place of a tool call that worked and an answer in its result |
| `gagpo` | no upstream: V, GAE and ratio by the paper's definitions; trace 0.95 and band 0.2 are not stated |

Not expressible yet: IGPO (2510.14967) needs the policy's p(gold | history) as a turn reward; SPO (2505.23564) and
VinePPO (2410.01679) forked replays; SSPO (2511.04256) sentence boundaries; FSPO (2509.09177) a band that widens with
length.

At theta = theta_old, GRPO and GSPO have equal gradients, and GSsPO's differs in token weights only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from harness.objectives.clip_settings import ClipBand


@dataclass(frozen=True, slots=True)
class Preset:
    """A point on the axes: keys of their dictionaries, the published band, `objective.credit`'s settings if there are
    any. `paper`: arXiv id, or the package that has it."""

    paper: str
    ratio_unit: str
    reduction: str
    band: ClipBand
    surrogate: str = "min_clip"
    advantage: str = "group_relative"
    credit: Mapping[str, str | float] | None = None


PPO_BAND = ClipBand(0.2, 0.2)
GSPO_BAND = ClipBand(3e-4, 4e-4)
AT2PO_BAND = ClipBand(3e-3, 4e-3)
GMPO_BAND = ClipBand(1 - math.exp(-0.4), math.expm1(0.4))
_ANCHOR_Z: dict[str, str | float] = {
    "source": "outcome",
    "returns": "to_go",
    "group": "anchor",
    "scale": "std",
    "discount": 0.95,
}
_ANCHOR_V: dict[str, str | float] = {"source": "outcome", "returns": "telescoped", "group": "anchor"}
_BY_INDEX: dict[str, str | float] = {"source": "evidence", "returns": "to_go", "group": "question_turn", "scale": "std"}
_BEFORE_RESULT: dict[str, str | float] = {
    "source": "evidence",
    "scale": "std",
    "returns": "broadcast",
    "group": "question",
    "counts": "trajectory",
    "turns": "before_result",
}
_WHITENED: dict[str, str | float] = {
    "source": "outcome",
    "returns": "to_go",
    "group": "batch",
    "scale": "std",
    "counts": "token",
}

PRESETS: dict[str, Preset] = {
    "grpo": Preset("2402.03300", "token", "N3", PPO_BAND),
    "gspo": Preset("2507.18071", "sequence", "N1", GSPO_BAND),
    "gsspo": Preset("2602.01202", "subsequence", "N1", GSPO_BAND),
    "dapo": Preset("2503.14476", "token", "N4", ClipBand(0.2, 0.28)),
    "dr_grpo": Preset("2503.20783", "token", "seq-mean-token-sum", PPO_BAND, advantage="group_centred"),
    "at2po": Preset("2601.04767", "subsequence", "N3", AT2PO_BAND),
    "tree_grpo": Preset("2509.21240", "subsequence", "N4", PPO_BAND),
    "roll_segment": Preset("ROLL", "subsequence", "N3", PPO_BAND),
    "stepwise_gspo": Preset("SkyRL", "subsequence", "N4", GSPO_BAND),
    "rloo": Preset("2402.14740", "token", "seq-mean-token-sum", PPO_BAND, "none", "leave_one_out"),
    "reinforce_pp": Preset("2501.03262", "token", "N4", PPO_BAND, advantage="none", credit=_WHITENED),
    "cispo": Preset("2506.13585", "token", "N4", ClipBand(1.0, 4.0), "cispo"),
    "sapo": Preset("2511.20347", "token", "N3", PPO_BAND, "sapo"),
    "gmpo": Preset("2507.20673", "sequence", "N1", GMPO_BAND, "gmpo"),
    "dppo": Preset("2602.04879", "token", "N4", ClipBand(0.15, 0.15), "dppo"),
    "gigpo": Preset("2505.10978", "token", "N4", PPO_BAND, credit=_ANCHOR_Z),
    "mt_grpo": Preset(
        "2505.11821", "token", "N3", PPO_BAND, credit=_BEFORE_RESULT
    ),
    "mt_grpo_by_turn": Preset("2505.11821", "token", "N3", PPO_BAND, credit=_BY_INDEX | {"normalize": "rewards"}),
    "mt_grpo_corrected": Preset("verl RFC 7244", "token", "N3", PPO_BAND, credit=_BY_INDEX),
    "gagpo": Preset(
        "2605.13217", "subsequence", "N1", PPO_BAND, advantage="none",
        credit=_ANCHOR_V | {"scale": "batch_std", "trace": 0.95},
    ),
    "anchor_telescoped": Preset(
        "2605.13217", "subsequence", "N1", GSPO_BAND, advantage="none", credit=_ANCHOR_V | {"scale": "batch_std"}
    ),
}  # fmt: skip

"""Policy-gradient objectives as pure functions of ragged tensors: no model, no configuration object, no logging.

    loss = sum_k w_k f(x_k, A_k) + beta KL(pi_theta || pi_ref);   GRPO, GSPO, GSsPO: f = -min(x A, clip(x) A)

| symbol | meaning | file |
|---|---|---|
| loss, KL | the weighted sum of surrogates, the k3 estimate | `loss` |
| f | surrogate: what a segment's ratio and advantage add | `surrogates` |
| k | segments: groups of tokens that share one importance ratio | `ratio_units` (lengths), `segmentation` (tensors) |
| x_k | importance ratio: geometric mean of the segment's token ratios | `ratios` |
| w_k | reduction: the segment's weight in the mini-batch | `reductions` |
| low, high | clip band, fixed or matched to a clip fraction | `clip` |
| A_k | advantage of the segment's trajectory, within its group | `advantages` |
| A_k | and of its turn: reward, return, comparison group, scale | `turn_table`, `turn_credit` |
| mu vs. pi_old | mismatch of sampler and trainer, truncated importance sampling | `off_policy` |

Ratio unit, reduction, clip band, surrogate and advantage are independent axes; `presets` places the published
objectives on them, and `batch` builds a `Segmentation` from `Trajectory` objects.

Layout: the T policy tokens of a mini-batch are concatenated, trajectory by trajectory, in tensors of shape [T]; a
`Segmentation` cuts them into S segments, each inside one of B trajectories. There is no padding, so none can matter.
"""

"""Importance ratio of a segment: the geometric mean of its token ratios (GSPO, arXiv 2507.18071, eq. 7).

The mean, not the sum, of log-ratios: the variance of a sum grows with the segment's length.
"""

from __future__ import annotations

from torch import Tensor

from harness.objectives.segmentation import Segmentation

MAX_LOG_RATIO = 20.0
"""Bound on |log-ratio| (verl's, for token log-ratios), so that exp stays finite in float32. A clamped segment has zero
gradient; that of all others is exact."""


def segment_mean(values: Tensor, segmentation: Segmentation) -> Tensor:
    """Mean over the tokens of each segment: [T] -> [S]."""
    if segmentation.n_segments == segmentation.n_tokens:  # one-token segments: the mean is the value itself
        return values
    sums = values.new_zeros(segmentation.n_segments).index_add(0, segmentation.segment_of_token, values)
    return sums / segmentation.tokens_per_segment


def log_ratios(logp: Tensor, old_logp: Tensor, segmentation: Segmentation) -> Tensor:
    """Segment means of log pi_theta - log pi_old, clamped: [T], [T] -> [S]. No gradient flows to `old_logp`.

    Raises:
        ValueError: if either shape is not [T].
    """
    if logp.shape != old_logp.shape or logp.shape != (segmentation.n_tokens,):
        raise ValueError(
            f"log-probs {list(logp.shape)}, old {list(old_logp.shape)}: [{segmentation.n_tokens}] expected for both"
        )
    return log_ratio_of_segments(logp - old_logp.detach().to(logp.dtype), segmentation)


def log_ratio_of_segments(delta: Tensor, segmentation: Segmentation) -> Tensor:
    """Segment means of token log-ratios `delta`, clamped: [T] -> [S]."""
    return segment_mean(delta, segmentation).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)

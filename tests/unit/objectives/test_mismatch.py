"""Sampler against trainer: estimates that are exact where every outcome is listed, weights in closed form."""

from __future__ import annotations

import math

import pytest
import torch

from harness.objectives.off_policy import Mismatch, mismatch, truncated_importance
from harness.objectives.ratio_units import UnitLayout
from harness.objectives.segmentation import segment

D = torch.float64
MU, PI = torch.tensor([0.5, 0.25, 0.25], dtype=D), torch.tensor([0.4, 0.4, 0.2], dtype=D)
SAMPLE = torch.tensor([0, 0, 1, 2])  # outcomes in the proportions of mu
KL = float((MU * (MU / PI).log()).sum())


def test_kl_estimates_equal_the_divergence_on_a_sample_with_exact_frequencies() -> None:
    found = mismatch(PI.log()[SAMPLE], MU.log()[SAMPLE]).means()
    assert found["kl_k1"] == pytest.approx(KL, abs=1e-12)
    assert found["kl_k3"] == pytest.approx(KL, abs=1e-12)
    gaps = (PI / MU).log().abs()
    assert found["logprob_gap"] == pytest.approx(float(gaps.max()))
    assert found["logprob_gap_mean"] == pytest.approx(float((MU * gaps).sum()))


def test_parts_add_up_to_the_whole() -> None:
    pi, mu = PI.log()[SAMPLE], MU.log()[SAMPLE]
    parts = mismatch(pi[:1], mu[:1]) + mismatch(pi[1:1], mu[1:1]) + mismatch(pi[1:], mu[1:])
    whole = mismatch(pi, mu)
    for name, value in whole.means().items():
        assert parts.means()[name] == pytest.approx(value, abs=1e-15)
    assert sum([whole], Mismatch()) == whole


@pytest.mark.parametrize("unit", ["token", "subsequence", "sequence"])
def test_weights_are_truncated_geometric_means_of_the_segments_token_ratios(unit: str) -> None:
    layout = UnitLayout(lengths=(3, 2), action_starts=(1, 1), seed=0)
    segments = segment([layout], unit)
    delta = [0.5, 1.0, -0.3, -0.2, -0.6]
    sampler = torch.tensor([-1.0, -2.0, -0.5, -0.1, -3.0], dtype=D)
    weights = truncated_importance(sampler + torch.tensor(delta, dtype=D), sampler, segments, 1.4)
    cuts = {"token": [[d] for d in delta], "subsequence": [delta[:3], delta[3:]], "sequence": [delta]}[unit]
    expected = [min(math.exp(sum(part) / len(part)), 1.4) for part in cuts]
    torch.testing.assert_close(weights, torch.tensor(expected, dtype=D), atol=1e-12, rtol=0)
    assert (weights == 1.4).any() == (unit != "sequence")


def test_equal_distributions_weigh_one_and_no_gradient_flows() -> None:
    segments = segment([UnitLayout((4,), (2,), 0)], "token")
    logp = torch.tensor([-1.0, -0.2, -3.0, -0.7], requires_grad=True)
    weights = truncated_importance(logp, logp.detach(), segments, 2.0)
    assert weights.tolist() == [1.0] * 4
    assert not weights.requires_grad
    with pytest.raises(ValueError, match="cap"):
        truncated_importance(logp, logp, segments, 0.0)

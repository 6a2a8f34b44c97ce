"""The update: independent of the micro-batch split, silent on groups without information, right in its bookkeeping."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.config import TrialConfig
from harness.config.schema import Credit
from harness.objectives.batch import action_tokens
from harness.objectives.clip import FixedClip
from harness.objectives.presets import PRESETS
from harness.objectives.surrogates import SURROGATES
from harness.policy.forward import micro_batches, policy_logprobs
from harness.policy.load import Policy, reference_of, with_lora
from harness.policy.policy_settings import LoraSettings
from harness.policy.tiny import new_model
from harness.training.update import policy_update
from harness.types import NO_UNIT, Group
from tests.support.episodes import chat, group
from tests.support.update_config import changed, update_config

SETTINGS, BAND = update_config(), FixedClip(0.2, 0.2)


def model(seed: int = 0) -> torch.nn.Module:
    return new_model(len(chat().tokenizer), hidden=32, layers=2, heads=2, seed=seed).double()


def step(
    groups: list[Group], settings: TrialConfig, band: FixedClip = BAND, **kw: object
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Weight changes of an SGD step of rate 1 (that is, minus the gradient), and the metrics."""
    policy = model()
    before = {n: p.detach().clone() for n, p in policy.named_parameters()}
    optimizer = torch.optim.SGD(policy.parameters(), lr=1.0)
    result = policy_update(policy, optimizer, groups, band, settings, **kw)
    return {n: p.detach() - before[n] for n, p in policy.named_parameters()}, result.metrics


@pytest.mark.parametrize("preset", ["grpo", "gspo", "gsspo"])
@pytest.mark.parametrize("kl_weight", [0.0, 0.1])
def test_gradient_and_loss_do_not_change_with_the_micro_batch_split(preset: str, kl_weight: float) -> None:
    groups = [group(i, mixed=i != 1) for i in range(3)]
    settings = changed(
        SETTINGS, ratio_unit=PRESETS[preset].ratio_unit, reduction=PRESETS[preset].reduction, kl_weight=kl_weight
    )
    reference = reference_of(Policy(model(seed=5), chat()), 1.0, False) if kl_weight else None
    whole, metrics = step(groups, settings, reference=reference)
    assert max(float(d.abs().max()) for d in whole.values()) > 1e-4
    for budget in (1, 150, 700):
        split, other = step(groups, changed(settings, tokens_per_microbatch=budget), reference=reference)
        for name, delta in whole.items():
            torch.testing.assert_close(split[name], delta, atol=1e-9, rtol=0)
        assert other["update/loss"] == pytest.approx(metrics["update/loss"], abs=1e-9)
        assert other["update/clip_fraction"] == metrics["update/clip_fraction"]


def test_ones_own_surrogate_and_advantage_are_used_and_equal_the_shipped_where_they_are_the_same(tmp_path) -> None:
    own = tmp_path / "own.py"
    own.write_text(
        "def clipped(x, a, band): return -(x * a).minimum(x.clamp(1 - band.low, 1 + band.high) * a)\n"
        "def halved(rewards, group):\n"
        "    from harness.objectives.advantages import group_relative\n"
        "    return group_relative(rewards, group) / 2\n"
        "def short(rewards, group): return rewards[1:]\n"
        "from harness.objectives.surrogates import TokenSurrogate, gmpo\n"
        "by_token = TokenSurrogate(lambda tokens, a, band: gmpo(tokens, a, band))\n"
    )
    groups = [group(i) for i in range(2)]
    shipped, _ = step(groups, SETTINGS)
    same, _ = step(groups, changed(SETTINGS, surrogate=f"{own}:clipped"))
    half, _ = step(groups, changed(SETTINGS, advantage=f"{own}:halved"))
    for name, delta in shipped.items():
        torch.testing.assert_close(same[name], delta, atol=0, rtol=0)
        torch.testing.assert_close(half[name], delta / 2, atol=1e-12, rtol=1e-9)
    narrow = FixedClip(1e-3, 1e-3)
    theirs, _ = step(groups, changed(SETTINGS, surrogate=f"{own}:by_token"), band=narrow)
    for name, delta in step(groups, changed(SETTINGS, surrogate="gmpo"), band=narrow)[0].items():
        torch.testing.assert_close(theirs[name], delta, atol=0, rtol=0)
    with pytest.raises(ValueError, match="finite numbers expected"):
        step(groups, changed(SETTINGS, advantage=f"{own}:short"))


@pytest.mark.parametrize(
    "axis",
    [*({"surrogate": name} for name in SURROGATES if name != "min_clip"), {"advantage": "leave_one_out"}],
)
def test_another_surrogate_or_advantage_changes_the_second_update(axis: dict[str, str]) -> None:
    groups = sampled_from(model(), [group(i) for i in range(2)])
    twice = changed(SETTINGS, updates_per_batch=2)
    shipped, _ = step(groups, twice, band=FixedClip(1e-3, 1e-3))
    other, _ = step(groups, changed(twice, **axis), band=FixedClip(1e-3, 1e-3))
    assert max(float((other[name] - delta).abs().max()) for name, delta in shipped.items()) > 1e-9


def test_a_group_of_equal_rewards_moves_nothing() -> None:
    moved, metrics = step([group(0, mixed=False)], SETTINGS)
    assert all(float(d.abs().max()) == 0.0 for d in moved.values())
    assert metrics["update/skipped_share"] == 1.0
    assert metrics["update/grad_norm"] == 0.0


def test_shuffled_credit_moves_the_policy_elsewhere_whatever_the_micro_batches() -> None:
    groups = [group(i) for i in range(3)]
    plain, _ = step(groups, SETTINGS)
    shuffled, metrics = step(groups, changed(SETTINGS, credit_shuffle=1.0))
    split, _ = step(groups, changed(SETTINGS, credit_shuffle=1.0, tokens_per_microbatch=150))
    assert metrics["update/skipped_share"] == 0.0
    assert max(float((shuffled[name] - plain[name]).abs().max()) for name in plain) > 1e-6
    for name, delta in shuffled.items():
        torch.testing.assert_close(split[name], delta, atol=1e-9, rtol=0)


CREDITS = {
    "gigpo": Credit(source="outcome", returns="to_go", group="anchor", scale="std", discount=0.95),
    "telescoped": Credit(source="outcome", returns="telescoped", group="anchor", scale="none"),
    "form": Credit(source="form", returns="to_go", group="question_turn", scale="std", normalize="rewards"),
    "before the first result": Credit(
        source="form", returns="broadcast", group="question", scale="std", turns="before_result"
    ),
}


@pytest.mark.parametrize("credit", CREDITS.values(), ids=CREDITS)
@pytest.mark.parametrize("ratio_unit", ["token", "subsequence", "sequence", "random"])
def test_turn_credit_changes_the_gradient_whatever_the_micro_batch_split(credit: Credit, ratio_unit: str) -> None:
    groups = [group(i, mixed=i != 1) for i in range(3)]
    settings = changed(SETTINGS, ratio_unit=ratio_unit)
    plain, _ = step(groups, settings)
    whole, metrics = step(groups, changed(settings, credit=credit))
    split, other = step(groups, changed(settings, credit=credit, tokens_per_microbatch=150))
    assert max(float((whole[name] - plain[name]).abs().max()) for name in plain) > 1e-6
    for name, delta in whole.items():
        torch.testing.assert_close(split[name], delta, atol=1e-9, rtol=0)
    assert other["update/loss"] == pytest.approx(metrics["update/loss"], abs=1e-9)


@pytest.mark.parametrize("ratio_unit", ["token", "subsequence", "sequence"])
def test_an_outcome_broadcast_over_its_turns_is_the_trajectorys_advantage(ratio_unit: str) -> None:
    groups = [group(i) for i in range(2)]
    credit = Credit(source="outcome", returns="broadcast", group="question", scale="std", counts="trajectory")
    plain, _ = step(groups, changed(SETTINGS, ratio_unit=ratio_unit))
    by_turn, _ = step(groups, changed(SETTINGS, ratio_unit=ratio_unit, advantage="none", credit=credit))
    for name, delta in plain.items():
        torch.testing.assert_close(by_turn[name], delta, atol=1e-12, rtol=1e-9)


def test_ones_own_turn_reward_is_used_and_weighed(tmp_path) -> None:
    (tmp_path / "own.py").write_text(
        "def first(t): return [float(k == 0) * t.reward.total for k in range(len(t.turns))]"
    )
    axes = {"returns": "to_go", "group": "question", "scale": "none"}
    groups = [group(i) for i in range(2)]
    own = Credit(source=f"{tmp_path / 'own.py'}:first", **axes)
    moved, _ = step(groups, changed(SETTINGS, advantage="none", credit=own))
    twice, _ = step(groups, changed(SETTINGS, advantage="none", credit=own.model_copy(update={"weight": 2.0})))
    for name, delta in moved.items():
        torch.testing.assert_close(twice[name], 2 * delta, atol=1e-12, rtol=1e-9)
    assert max(float(delta.abs().max()) for delta in moved.values()) > 1e-6


def test_a_group_of_equal_outcomes_with_outcome_credit_moves_nothing() -> None:
    moved, metrics = step([group(0, mixed=False)], changed(SETTINGS, credit=CREDITS["telescoped"]))
    assert all(float(d.abs().max()) == 0.0 for d in moved.values())
    assert metrics["update/skipped_share"] == 1.0


def test_entropy_is_split_by_half_and_advantages_vary_within_episodes_only_with_turn_credit() -> None:
    groups = [group(i) for i in range(2)]
    _, metrics = step(groups, SETTINGS)
    acting = action_tokens([t for g in groups for t in g.trajectories]).double().mean().item()
    together = acting * metrics["update/entropy_action"] + (1 - acting) * metrics["update/entropy_think"]
    assert together == pytest.approx(metrics["update/entropy"], rel=1e-9)
    assert metrics["update/advantage_variance_within"] == 0.0
    assert 1 < metrics["update/episodes_effective"] <= 8
    _, split = step(groups, changed(SETTINGS, credit=CREDITS["telescoped"], tokens_per_microbatch=150))
    assert split["update/advantage_variance_within"] > 0.0


def test_shuffled_turn_credit_stays_within_its_group_and_moves_the_policy_elsewhere() -> None:
    groups = [group(0), group(1, mixed=False)]
    settings = changed(SETTINGS, credit=CREDITS["telescoped"], advantage="none")
    plain, before = step(groups, settings)
    shuffled, metrics = step(groups, changed(settings, credit_shuffle=1.0))
    assert metrics["update/skipped_share"] >= before["update/skipped_share"] >= 0.5
    assert max(float((shuffled[name] - plain[name]).abs().max()) for name in plain) > 1e-6


def test_no_gradient_is_held_after_the_update() -> None:
    policy = model()
    optimizer = torch.optim.SGD(policy.parameters(), lr=1.0)
    result = policy_update(policy, optimizer, [group(0)], FixedClip(0.2, 0.2), SETTINGS)
    assert result.metrics["update/grad_norm"] > 0
    assert all(p.grad is None for p in policy.parameters())


def test_equal_groups_still_count_in_the_averages() -> None:
    """Skipping their forward pass must not make the others weigh more."""
    alone, _ = step([group(0)], SETTINGS)
    beside, _ = step([group(0), group(1, mixed=False)], SETTINGS)
    for name in alone:
        torch.testing.assert_close(beside[name], alone[name] / 2, atol=1e-12, rtol=0)


def test_policy_logprobs_equal_the_unpadded_forward() -> None:
    policy, trajectories = model(), [*group(0).trajectories, *group(1).trajectories]
    for batch in micro_batches(trajectories, 400):
        got, _ = policy_logprobs(policy, batch, 0.7, False)
        expected = []
        for i in batch.indices:
            ids = torch.from_numpy(trajectories[i].token_ids)
            logp = torch.log_softmax(policy(ids[None]).logits[0] / 0.7, -1)
            at = np.flatnonzero(trajectories[i].unit_of_token != NO_UNIT)
            expected.append(logp[at - 1, ids[at]])
        torch.testing.assert_close(got, torch.cat(expected), atol=1e-10, rtol=0)


def test_micro_batches_hold_every_trajectory_once_within_the_budget() -> None:
    trajectories = [t for i in range(4) for t in group(i).trajectories]
    batches = micro_batches(trajectories, 500)
    assert sorted(i for b in batches for i in b.indices) == list(range(len(trajectories)))
    assert all(b.tokens.numel() <= 500 or len(b.indices) == 1 for b in batches)
    assert sum(int(b.policy.sum()) for b in batches) == sum(t.n_policy_tokens for t in trajectories)


def test_a_kl_term_without_a_reference_is_refused() -> None:
    with pytest.raises(ValueError, match="reference"):
        step([group(0)], changed(SETTINGS, kl_weight=0.1))


def test_under_lora_the_reference_is_the_policy_before_training() -> None:
    policy = with_lora(Policy(model().float(), chat()), LoraSettings(4, 8.0), seed=0)
    (batch,) = micro_batches(group(0).trajectories, 10_000)
    reference = reference_of(policy, 1.0, False)
    before = reference(batch)
    optimizer = torch.optim.SGD(policy.trainable, lr=5.0)
    metrics = policy_update(
        policy.model, optimizer, [group(0)], FixedClip(0.2, 0.2), changed(SETTINGS, kl_weight=0.1), reference
    ).metrics
    assert metrics["update/kl"] == pytest.approx(0.0, abs=1e-6)  # the first update starts at the reference
    torch.testing.assert_close(reference(batch), before)
    assert float((policy_logprobs(policy.model, batch, 1.0, False)[0] - before).abs().max()) > 1e-4


def sampled_from(policy: torch.nn.Module, groups: list[Group], shift: float = 0.0) -> list[Group]:
    """The groups with the log-probs of this very policy in place of the stored ones, `shift` lower."""
    made = []
    for g in groups:
        trajectories = []
        for t in g.trajectories:
            (batch,) = micro_batches([t], 10_000)
            logp = (policy_logprobs(policy, batch, 1.0, False)[0].detach() - shift).tolist()
            turns, at = [], 0
            for turn in t.turns:
                turns.append(replace(turn, logprobs=tuple(min(x, 0.0) for x in logp[at : at + len(turn.tokens)])))
                at += len(turn.tokens)
            trajectories.append(replace(t, turns=tuple(turns)))
        made.append(Group(g.question, tuple(trajectories)))
    return made


def test_several_updates_leave_the_old_policy_where_it_was_sampled() -> None:
    """Ratios are 1 in the first update only: the later ones are measured against the sampling policy."""
    policy = model()
    (sampled,) = sampled_from(policy, [group(0)])
    optimizer = torch.optim.SGD(policy.parameters(), lr=1.0)
    once = policy_update(policy, optimizer, [sampled], FixedClip(0.2, 0.2), SETTINGS).metrics
    assert once["update/ratio_max"] == pytest.approx(1.0, abs=1e-9)
    assert once["sampler/logprob_gap"] < 1e-9
    again = policy_update(policy, optimizer, [sampled], FixedClip(0.2, 0.2), SETTINGS).metrics
    assert again["update/ratio_max"] > 1.001


def test_the_samplers_mismatch_is_told_when_the_first_minibatch_had_nothing_to_learn() -> None:
    """It is that of the first minibatch with a gradient: no step has moved the policy before."""
    equal, mixed = sampled_from(model(), [group(1, mixed=False), group(0)], shift=0.25)
    _, metrics = step([equal, mixed], changed(SETTINGS, updates_per_batch=2))
    assert metrics["sampler/logprob_gap_mean"] == pytest.approx(0.25, abs=1e-9)
    _, moved = step([mixed, mixed], changed(SETTINGS, updates_per_batch=2))
    assert moved["sampler/logprob_gap_mean"] == pytest.approx(0.25, abs=1e-9)


@pytest.mark.parametrize("preset", ["grpo", "gspo", "gsspo"])
@pytest.mark.parametrize(("shift", "factor"), [(0.1, math.exp(0.1)), (-0.1, math.exp(-0.1)), (0.5, 1.2)])
def test_a_sampler_that_is_off_by_a_constant_scales_the_gradient_by_the_truncated_ratio(
    preset: str, shift: float, factor: float
) -> None:
    axes = PRESETS[preset]
    settings = changed(SETTINGS, ratio_unit=axes.ratio_unit, reduction=axes.reduction, tokens_per_microbatch=500)
    exact, _ = step(sampled_from(model(), [group(0), group(1)]), settings)
    wrong = sampled_from(model(), [group(0), group(1)], shift)
    corrected, metrics = step(wrong, changed(settings, importance_cap=1.2))
    for name, delta in exact.items():
        torch.testing.assert_close(corrected[name], factor * delta, atol=1e-7, rtol=1e-6)
    assert metrics["update/ratio_max"] == pytest.approx(1.0, abs=1e-12)  # against the trainer's own old policy
    assert metrics["update/importance_mean"] == pytest.approx(factor, abs=1e-6)
    assert metrics["update/importance_capped"] == (1.0 if factor == 1.2 else 0.0)
    assert metrics["sampler/logprob_gap_mean"] == pytest.approx(abs(shift), abs=1e-6)
    assert metrics["sampler/kl_k1"] == pytest.approx(-shift, abs=1e-6)


def test_the_corrections_old_policy_is_that_of_the_batchs_start_in_every_update() -> None:
    groups = sampled_from(model(), [group(0), group(1)])
    settings = changed(SETTINGS, updates_per_batch=2)
    plain, _ = step(groups, settings)
    corrected, metrics = step(groups, changed(settings, importance_cap=2.0))
    for name, delta in plain.items():  # sampler and trainer agree: nothing to correct in the second update either
        torch.testing.assert_close(corrected[name], delta, atol=1e-9, rtol=0)
    assert metrics["update/ratio_max"] > 1 + 1e-6
    assert "update/importance_mean" not in step(groups, settings)[1]

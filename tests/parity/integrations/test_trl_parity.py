"""Our objectives against TRL's own loss, run by a real `GRPOTrainer`, in float64, value and gradient.

Known differences:
- advantages: TRL divides by std + 1e-4, verl and this harness by std + 1e-6; so both get the same advantages here;
- `dr_grpo` divides by B * max_completion_length, which no reduction does: equal up to that constant only;
- `cispo` has an upper bound alone, `epsilon_high` itself, and multiplies log pi: that term is added here;
- `sapo` has its temperatures in float32 in TRL, hence the tolerance there;
- segments beyond a log-ratio of 20, where ours are clamped and TRL's are not;
- the KL term with TRL's default `use_bias_correction_kl=True`, which multiplies it by the ratio: switched off here;
- gradient accumulation: TRL divides "grpo" by the number of accumulation steps, as our whole-batch weights do.
"""

import pytest
import torch

from harness.integrations.mask_runs import segment_mask_runs
from harness.objectives.clip_settings import ClipBand
from harness.objectives.loss import kl_k3, policy_objective, summarize
from harness.objectives.ratio_units import UnitLayout
from harness.objectives.reductions import REDUCTIONS, seq_mean_token_mean
from harness.objectives.segmentation import segment
from harness.objectives.surrogates import SURROGATES
from tests.parity.integrations.padded_batches import BATCHES, Padded, padded_batch
from tests.parity.integrations.tiny_language_model import tiny_model, tiny_tokenizer

pytest.importorskip("trl", reason="parity with TRL needs the package trl (test requirements)")

BAND = ClipBand(0.2, 0.28)
CASES = BATCHES | {"a row without policy tokens": padded_batch([[2, 3], [], [4]], seed=6)}


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    arguments = GRPOConfig(
        output_dir=str(tmp_path_factory.mktemp("trl")),
        use_cpu=True,
        bf16=False,
        report_to=[],
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=64,
        epsilon=BAND.low,
        epsilon_high=BAND.high,
        use_bias_correction_kl=False,
    )
    made = GRPOTrainer(
        model=tiny_model(),
        args=arguments,
        processing_class=tiny_tokenizer(),
        train_dataset=Dataset.from_list([{"prompt": "ab"}] * 4),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
    )
    made.current_gradient_accumulation_steps = 1
    return made


def trl_loss(trainer, monkeypatch, batch: Padded, loss_type, level="token", **extra):
    """TRL's loss of these log-probs, and its gradient on the policy tokens [T]."""
    monkeypatch.setattr(trainer, "loss_type", loss_type)
    monkeypatch.setattr(trainer, "importance_sampling_level", level)
    monkeypatch.setattr(
        trainer,
        "_get_per_token_logps_and_entropies",
        lambda *_, **__: (batch.logp, torch.zeros_like(batch.logp), None),
    )
    ids = torch.ones_like(batch.mask)
    inputs = {
        "prompt_ids": ids[:, :1],
        "prompt_mask": ids[:, :1],
        "completion_ids": ids,
        "completion_mask": ids,
        "tool_mask": batch.mask,
        "old_per_token_logps": batch.old,
        "advantages": batch.advantage,
        "num_items_in_batch": batch.mask.sum(),
        **extra,
    }
    trainer._metrics["train"].clear()
    loss = trainer.compute_loss(trainer.model.train(), inputs)
    (gradient,) = torch.autograd.grad(loss, batch.logp)
    assert (gradient[batch.mask == 0] == 0).all()
    return loss.detach(), gradient[batch.mask.bool()]


def segmentation_of(batch: Padded, ratio_unit):
    lengths = batch.mask.sum(dim=1).tolist()
    return segment([UnitLayout((n,) if n else (), (0,) if n else ()) for n in lengths], ratio_unit)


def our_loss(batch: Padded, segmentation, reduction, kl_weight=0.0, reference=None, surrogate="min_clip", band=BAND):
    policy = batch.mask.bool()
    weights, f = REDUCTIONS[reduction](segmentation), SURROGATES[surrogate]
    output = policy_objective(batch.logp[policy], batch.old[policy], batch.advantage, segmentation, weights, band, f)
    loss = output.loss
    if kl_weight:
        kl = kl_k3(batch.logp[policy], reference[policy])
        loss = loss + kl_weight * (seq_mean_token_mean(segmentation) * kl).sum()
    (gradient,) = torch.autograd.grad(loss, batch.logp)
    return loss.detach(), gradient[policy], output


def same(theirs, ours, tolerance=1e-12):
    torch.testing.assert_close(ours[0], theirs[0], rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(ours[1], theirs[1], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    ("loss_type", "level", "ratio_unit", "reduction"),
    [
        ("grpo", "token", "token", "N3"),  # GRPO
        ("grpo", "token", "token", "N1"),
        ("grpo", "sequence", "sequence", "N1"),  # GSPO
        ("dapo", "token", "token", "N4"),  # DAPO
        ("bnpo", "token", "token", "N4"),
        ("dapo", "sequence", "sequence", "N4"),
    ],
)
def test_trl_has_the_same_loss_and_gradient(trainer, monkeypatch, case, loss_type, level, ratio_unit, reduction):
    batch = CASES[case]
    theirs = trl_loss(trainer, monkeypatch, batch, loss_type, level)
    same(theirs, our_loss(batch, segmentation_of(batch, ratio_unit), reduction))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("level", ["token", "sequence"])
def test_trl_has_the_same_sapo(trainer, monkeypatch, case, level):
    batch, reduction = CASES[case], {"token": "N3", "sequence": "N1"}[level]
    theirs = trl_loss(trainer, monkeypatch, batch, "sapo", level)
    same(theirs, our_loss(batch, segmentation_of(batch, level), reduction, surrogate="sapo"), 2e-7)


@pytest.mark.parametrize("case", CASES)
def test_trl_has_the_same_cispo(trainer, monkeypatch, case):
    batch, policy, s = CASES[case], CASES[case].mask.bool(), segmentation_of(CASES[case], "token")
    monkeypatch.setattr(trainer, "epsilon_high", 1.3)
    ratio = (batch.logp - batch.old).detach().exp()[policy].clamp(max=1.3)
    advantage = batch.advantage[s.trajectory_of_token]
    constant = (REDUCTIONS["N4"](s) * -ratio * advantage * batch.old[policy]).sum()
    loss, gradient, _ = our_loss(batch, s, "N4", surrogate="cispo", band=ClipBand(1.0, 0.3))
    same(trl_loss(trainer, monkeypatch, batch, "cispo"), (loss + constant, gradient))


@pytest.mark.parametrize("case", CASES)
def test_dr_grpo_is_the_token_mean_times_a_constant_of_the_batch(trainer, monkeypatch, case):
    batch = CASES[case]
    loss, gradient = trl_loss(trainer, monkeypatch, batch, "dr_grpo")
    constant = len(batch.mask) * trainer.max_completion_length / int(batch.mask.sum())
    same((loss * constant, gradient * constant), our_loss(batch, segmentation_of(batch, "token"), "N4"))


@pytest.mark.parametrize(("loss_type", "steps"), [("grpo", 3), ("dapo", 3)])
def test_trl_over_accumulation_steps_is_our_whole_batch(trainer, monkeypatch, loss_type, steps):
    """Rows split over three micro-batches, one accumulation window: the sum is the mini-batch's loss."""
    monkeypatch.setattr(trainer, "current_gradient_accumulation_steps", steps)
    monkeypatch.setattr(trainer.args, "steps_per_generation", steps)
    batch = padded_batch([[3, 1], [9], [2, 2, 2], [1], [5, 4], [7]], seed=8)
    expected = our_loss(batch, segmentation_of(batch, "token"), "N3" if loss_type == "grpo" else "N4")
    total, gradient = 0.0, []
    for rows in torch.arange(6).split(2):
        part = Padded(
            batch.mask[rows], batch.logp[rows].detach().requires_grad_(), batch.old[rows], batch.advantage[rows]
        )
        loss, g = trl_loss(trainer, monkeypatch, part, loss_type, num_items_in_batch=batch.mask.sum())
        total, gradient = total + loss, [*gradient, g]
    same((total, torch.cat(gradient)), expected)


def test_trl_has_the_same_kl_term(trainer, monkeypatch):
    batch = BATCHES["several units"]
    reference = batch.old + 0.2 * torch.randn(batch.old.shape, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(trainer, "beta", 0.04)
    theirs = trl_loss(trainer, monkeypatch, batch, "grpo", ref_per_token_logps=reference)
    same(theirs, our_loss(batch, segmentation_of(batch, "token"), "N3", 0.04, reference))


@pytest.mark.parametrize(("level", "statistic"), [("token", "clip_fraction_tokens"), ("sequence", "clip_fraction")])
def test_trl_counts_the_same_share_of_clipped_units(trainer, monkeypatch, level, statistic):
    batch = BATCHES["wide ratios"]
    trl_loss(trainer, monkeypatch, batch, "grpo", level)
    reported = trainer._metrics["train"]["clip_ratio/region_mean"][-1]
    ours = summarize([our_loss(batch, segmentation_of(batch, level), "N1")[2]])[statistic]
    assert reported == pytest.approx(float(ours), abs=1e-6)
    assert reported > 0


@pytest.mark.parametrize("case", CASES)
def test_with_one_run_a_row_gsspo_is_trls_gspo(trainer, monkeypatch, case):
    """Oracle 1 across libraries: fill the gaps between units, and GSsPO's mask runs are whole sequences."""
    batch = CASES[case]
    length = torch.arange(batch.mask.shape[1]) < batch.mask.sum(dim=1, keepdim=True)
    solid = Padded(length.long(), batch.logp, batch.old, batch.advantage)
    theirs = trl_loss(trainer, monkeypatch, solid, "grpo", "sequence")
    same(theirs, our_loss(solid, segment_mask_runs(solid.mask), "N1"))

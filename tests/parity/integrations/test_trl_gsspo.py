"""GSsPO in TRL: the loss by value and gradient, and real training on two-turn episodes."""

import math

import pytest
import torch

from harness.integrations.mask_runs import segment_mask_runs
from harness.objectives.clip_settings import ClipBand
from harness.objectives.loss import kl_k3, policy_objective
from harness.objectives.reductions import REDUCTIONS, seq_mean_token_mean
from tests.parity.integrations.padded_batches import BATCHES, padded_batch
from tests.parity.integrations.tiny_language_model import tiny_model, tiny_tokenizer

pytest.importorskip("trl", reason="the TRL integration needs the package trl (test requirements)")

BAND = ClipBand(0.1, 0.15)
OBSERVATION = [70, 71, 72]
TURN_TOKENS = (3, 5)


def two_turns(prompts, trainer):
    """A rollout function: sample a turn, read an observation, sample another turn."""
    model, tokenizer = trainer.accelerator.unwrap_model(trainer.model), trainer.processing_class
    context = torch.tensor(tokenizer(prompts)["input_ids"])
    prompt_ids = context.tolist()
    mask = []
    for turn, n in enumerate(TURN_TOKENS):
        if turn:
            context = torch.cat([context, torch.tensor([OBSERVATION] * len(prompts))], dim=1)
            mask += [0] * len(OBSERVATION)
        for _ in range(n):
            with torch.no_grad():
                logits = model(context).logits[:, -1]
            context = torch.cat([context, logits.softmax(-1).multinomial(1)], dim=1)
            mask.append(1)
    completions = context[:, len(prompt_ids[0]) :].tolist()
    return {
        "prompt_ids": prompt_ids,
        "completion_ids": completions,
        "logprobs": [[0.0] * len(c) for c in completions],  # read with vLLM only
        "env_mask": [mask] * len(prompts),
    }


def share_of_low_ids(completion_ids, **_):
    """Half the vocabulary is good: a reward that any working policy gradient soon finds."""
    policy = [t for t in range(11) if t not in range(3, 6)]
    return [sum(ids[t] < 49 for t in policy) / len(policy) for ids in completion_ids]


def make_trainer(folder, cls, **settings):
    from datasets import Dataset
    from trl import GRPOConfig

    arguments = GRPOConfig(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        report_to=[],
        logging_steps=1,
        save_strategy="no",
        disable_tqdm=True,
        max_completion_length=32,
        gradient_checkpointing=False,
        **{
            "per_device_train_batch_size": 8,
            "num_generations": 8,
            "epsilon": BAND.low,
            "epsilon_high": BAND.high,
            "use_bias_correction_kl": False,
            **settings,
        },
    )
    model = tiny_model()
    model.save_pretrained(folder)
    model.config._name_or_path = str(folder)  # where TRL loads the reference policy from, for beta > 0
    return cls(
        model=model,
        args=arguments,
        processing_class=tiny_tokenizer(),
        train_dataset=Dataset.from_list([{"prompt": p} for p in ("abc", "xyz", "two", "six")]),
        reward_funcs=share_of_low_ids,
        rollout_func=two_turns,
    )


def plain_loss(model, inputs, accumulation):
    """The formula in objectives, row by row from the model's logits; no code of the harness."""
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
    n = inputs["completion_ids"].shape[1]
    logits = model(input_ids=ids, attention_mask=attention).logits[:, -n - 1 : -1]
    logp = logits.log_softmax(-1).gather(-1, inputs["completion_ids"].unsqueeze(-1)).squeeze(-1)
    old = inputs.get("old_per_token_logps", logp.detach())
    total, units = 0.0, [range(3), range(6, 11)]
    for row, advantage in enumerate(inputs["advantages"].tolist()):
        for unit in units:
            ratio = math.exp(sum(float((logp - old)[row, t].detach()) for t in unit) / len(unit))
            bounded = min(max(ratio, 1 - BAND.low), 1 + BAND.high)
            total -= min(ratio * advantage, bounded * advantage) / len(units)
    return total / len(inputs["advantages"]) / accumulation


def test_it_trains_on_two_turn_episodes_with_the_loss_of_the_formula(tmp_path):
    from transformers.trainer_callback import PrinterCallback

    from harness.integrations.trl import GSsPOTrainer

    losses = []

    class Watched(GSsPOTrainer):
        def _compute_loss(self, model, inputs):
            loss = super()._compute_loss(model, inputs)
            losses.append((float(loss.detach()), plain_loss(model, inputs, self.current_gradient_accumulation_steps)))
            return loss

    torch.manual_seed(0)
    trainer = make_trainer(
        tmp_path,
        Watched,
        max_steps=24,
        learning_rate=2e-2,
        lr_scheduler_type="constant",
        num_iterations=2,
        gradient_accumulation_steps=2,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    assert len(losses) == 48
    for ours, expected in losses:
        assert ours == pytest.approx(expected, abs=1e-5)
    history = [entry for entry in trainer.state.log_history if "ratio_max" in entry]
    rewards = [entry["reward"] for entry in history if "reward" in entry]
    assert sum(rewards[:4]) / 4 < 0.65
    assert sum(rewards[-4:]) / 4 > 0.8
    assert max(entry["ratio_max"] for entry in history) > 1.01  # the second iteration is off-policy
    assert max(entry["clip_fraction"] for entry in history) > 0
    assert all(math.isfinite(entry["grad_norm"]) for entry in history)


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    from harness.integrations.trl import GSsPOTrainer

    made = make_trainer(tmp_path_factory.mktemp("trl"), GSsPOTrainer, beta=0.0)
    made.current_gradient_accumulation_steps = 1
    return made


def inputs_of(batch, **extra):
    ids = torch.ones_like(batch.mask)
    return {
        "prompt_ids": ids[:, :1],
        "prompt_mask": ids[:, :1],
        "completion_ids": ids,
        "completion_mask": ids,
        "tool_mask": batch.mask,
        "old_per_token_logps": batch.old,
        "advantages": batch.advantage,
        **extra,
    }


@pytest.mark.parametrize("case", [*BATCHES, "a row without policy tokens"])
@pytest.mark.parametrize("beta", [0.0, 0.04])
def test_loss_and_gradient_are_gsspos(trainer, monkeypatch, case, beta):
    batch = BATCHES.get(case) or padded_batch([[2, 3], [], [4]], seed=6)
    monkeypatch.setattr(trainer, "beta", beta)
    monkeypatch.setattr(
        trainer,
        "_get_per_token_logps_and_entropies",
        lambda *_, **__: (batch.logp, torch.zeros_like(batch.logp), None),
    )
    reference = batch.old + 0.2 * torch.randn(batch.old.shape, generator=torch.Generator().manual_seed(1))
    loss = trainer.compute_loss(trainer.model.train(), inputs_of(batch, ref_per_token_logps=reference))
    policy, segmentation = batch.mask.bool(), segment_mask_runs(batch.mask)
    weights = REDUCTIONS["N1"](segmentation)
    ours = policy_objective(batch.logp[policy], batch.old[policy], batch.advantage, segmentation, weights, BAND).loss
    ours = ours + beta * (seq_mean_token_mean(segmentation) * kl_k3(batch.logp[policy], reference[policy])).sum()
    torch.testing.assert_close(loss, ours, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad(x, batch.logp)[0] for x in (loss, ours)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "settings",
    [
        {"top_entropy_quantile": 0.5},
        {"delta": 2.0},
        {"off_policy_mask_threshold": 0.1},
        {"entropy_coef": 0.01},
        {"beta": 0.1, "use_bias_correction_kl": True},
    ],
)
def test_a_setting_that_would_be_ignored_is_refused(tmp_path, settings):
    from harness.integrations.trl import GSsPOTrainer

    with pytest.raises(ValueError, match=next(iter(set(settings) - {"beta"}))):
        make_trainer(tmp_path, GSsPOTrainer, **settings)

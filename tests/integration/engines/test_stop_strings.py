"""Stop strings in the text of a real tokenizer, token by token, and what a turn that ended with one becomes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config import load_trial
from harness.engines.builtin import BuiltinEngine
from harness.engines.stop_strings import StopStrings
from harness.env.rollout import rollout
from harness.policy.load import load_policy
from harness.training import factory
from harness.training.trial_data import load_trial_data
from harness.training.warm_start.start_policy import base_policy
from harness.types import ParseFailure, StopReason
from tests.support.examples import examples

CHAT = load_policy("tiny", None, init="random", dtype=torch.float32, seed=0, cache=Path("unused")).chat
PARTS = ["</tool>", "</", "to", "ol>", "</answer>", "é", "→", "😀", " ", "\n", "a", "Chad", ">", "<|im_start|>"]
TEXTS = st.lists(st.sampled_from(PARTS) | st.text(max_size=4), max_size=20).map("".join)
STOPS = [("</tool>", "</answer>"), ("é",), (" a",), ("→😀", "d"), ("\n",)]


@pytest.mark.parametrize("stop", STOPS)
@settings(max_examples=examples(60), deadline=None)
@given(text=TEXTS)
def test_the_first_token_that_completes_a_string_is_found(stop: tuple[str, ...], text: str) -> None:
    tokens = CHAT.turn(text)[:-1]
    strings = StopStrings(stop, CHAT.text)
    holding = (n for n in range(1, len(tokens) + 1) if any(s in CHAT.text(tokens[:n]) for s in stop))
    end = next(holding, None)
    assert strings.end(tokens) == end
    assert strings.end(tokens[:end], max(0, (end or len(tokens)) - 1)) == end  # as an engine asks, a token at a time


def test_a_turn_that_ends_with_a_stop_string_is_whole_and_its_tokens_are_those_sampled() -> None:
    plain = load_trial("tiny", ["data.eval_questions=3"])
    stopping = load_trial("tiny", ["data.eval_questions=3", "environment.stop=[</tool>, </answer>]"])
    policy, data = base_policy(plain), load_trial_data(plain)
    questions = [q for asked in data.evaluation.values() for q in asked]
    seeds = range(len(questions))

    def played(config):  # type: ignore[no-untyped-def]
        environment = factory.environment(config, policy.chat, data)
        return rollout(BuiltinEngine(policy.model, capacity=2600), environment, questions, seeds, 0.0)

    end = policy.chat.end_of_turn
    assert len(questions) > 10
    stopped = 0
    for before, after in zip(played(plain), played(stopping), strict=True):
        for turn in after.turns:
            text = policy.chat.text(turn.tokens)
            ended = text.endswith(("</tool>", "</answer>"))
            assert ended == (turn.tokens[-1] != end and ParseFailure.TRUNCATED_TURN not in turn.parsed.failures)
            if ended and turn.observation_tokens:
                assert turn.observation_tokens[0] == end  # context, closed by the environment
                assert end not in turn.tokens
            stopped += ended
        first, same = after.turns[0], before.turns[0]
        assert same.tokens[: len(first.tokens)] == first.tokens
        if after.stop is StopReason.ANSWERED:
            assert after.turns[-1].parsed.action is not None
    assert stopped > 10

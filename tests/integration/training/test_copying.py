"""The tiny policy's vocabulary, its start with heads that copy, and the lesson in copying."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.policy.tiny import TAGS, new_model, word_tokenizer
from harness.training.warm_start.copying import LENGTH, ROWS, learn_to_copy, repetitive_text

WORDS = "Find the Capital of Chad: N'Djamena, 1.9 million people"
TOKENIZER = word_tokenizer([WORDS, "1.9 billion, 15 of 20", "<think>system user assistant"])


def encoded(text: str) -> list[int]:
    return TOKENIZER.encode(text, add_special_tokens=False)


# --- vocabulary


def test_a_known_word_or_number_is_one_token_and_others_are_spelt() -> None:
    for word in ("Find", " the", " Capital", " million", " 1.9", "1.9", " 20"):
        assert len(encoded(word)) == 1
    assert len(encoded(" 5")) == 2
    assert len(encoded(" 8.3")) == 4
    assert all(len(encoded(tag)) == 1 for tag in TAGS)


@given(st.text(max_size=60))
def test_any_text_comes_back_as_it_was(text: str) -> None:
    assert TOKENIZER.decode(encoded(text), clean_up_tokenization_spaces=False) == text


def test_the_vocabulary_does_not_depend_on_the_order_of_texts() -> None:
    first, second = word_tokenizer(["one two three", "four five"]), word_tokenizer(["four five", "one two three"])
    assert first.get_vocab() == second.get_vocab()


# --- heads that copy, from the start


def test_the_first_layers_heads_attend_one_and_two_tokens_back() -> None:
    model = new_model(300, seed=3)
    model.set_attn_implementation("eager")
    tokens = torch.arange(20, 60)[None]
    weights = model(input_ids=tokens, output_attentions=True).attentions[0][0]  # [heads, to, from]
    for head, back in ((0, 1), (1, 2)):
        seen = weights[head].argmax(-1)[back:]
        assert torch.equal(seen, torch.arange(tokens.shape[1])[back:] - back)


def test_a_head_of_the_second_layer_finds_the_place_after_an_earlier_occurrence_of_the_last_two_words() -> None:
    model = new_model(300, seed=3)
    model.set_attn_implementation("eager")
    # 27 28 stood at places 7 and 8, before 29 at place 9; 28 alone stood at place 30 too.
    tokens = torch.tensor([[*range(20, 50), 28, 60, 61, 27, 28]])
    weights = model(input_ids=tokens, output_attentions=True).attentions[1][0]
    assert weights[1, -1, 9] > 0.8


# --- the lesson


def test_what_is_to_be_predicted_stood_before_in_the_same_surroundings() -> None:
    words, common = list(range(10, 200)), [1, 2, 3]
    text, repeated = repetitive_text(words, common, 12, np.random.default_rng(0))
    assert text.shape == repeated.shape == (ROWS, LENGTH)
    assert repeated.float().mean() > 0.5
    for row, wanted in zip(text.tolist(), repeated.tolist(), strict=True):
        pairs = set()
        for i in range(1, LENGTH):
            if wanted[i]:
                assert (row[i - 1], row[i]) in pairs
            pairs.add((row[i - 1], row[i]))


def test_the_lesson_teaches_to_copy_words_alike() -> None:
    model = new_model(120, seed=0)
    losses: list[float] = []
    learn_to_copy(
        model, range(10, 120), [1, 2], updates=120, learning_rate=2.5e-3, seed=0,
        report=lambda update, updates, loss: losses.append(loss),
    )  # fmt: skip
    assert losses[0] > 4.0
    assert np.mean(losses[-10:]) < 0.6 * np.log(110)

"""Scores against the published SQuAD evaluation script, written out again here, and known cases."""

from __future__ import annotations

import collections
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.protocol import exact_match, f1, lenient, normalize_answer


def squad_normalize(s: str) -> str:
    """`normalize_answer` of the SQuAD 1.1 evaluation script (evaluate-v1.1.py), step by step."""

    def remove_articles(text: str) -> str:
        return re.sub(r"\b(a|an|the)\b", " ", text)

    def white_space_fix(text: str) -> str:
        return " ".join(text.split())

    def remove_punc(text: str) -> str:
        exclude = set(string.punctuation)
        return "".join(ch for ch in text if ch not in exclude)

    return white_space_fix(remove_articles(remove_punc(s.lower())))


def squad_f1(prediction: str, ground_truth: str) -> float:
    """`compute_f1` of the SQuAD 2.0 script."""
    gold_toks = squad_normalize(ground_truth).split()
    pred_toks = squad_normalize(prediction).split()
    common = collections.Counter(gold_toks) & collections.Counter(pred_toks)
    num_same = sum(common.values())
    if len(gold_toks) == 0 or len(pred_toks) == 0:
        return int(gold_toks == pred_toks)
    if num_same == 0:
        return 0
    precision = 1.0 * num_same / len(pred_toks)
    recall = 1.0 * num_same / len(gold_toks)
    return (2 * precision * recall) / (precision + recall)


phrase = st.one_of(
    st.text(max_size=25),
    st.lists(st.sampled_from(["the", "a", "An", "cat", "Cat.", "dog", "U.S.", "-", "12", "A'b", "  "]), max_size=6).map(
        " ".join
    ),
)


@given(phrase)
def test_normalisation_is_the_squad_scripts(text: str) -> None:
    assert normalize_answer(text) == squad_normalize(text)


@given(phrase, st.lists(phrase, min_size=1, max_size=4))
def test_exact_match_and_f1_are_the_squad_scripts_maxima_over_golds(prediction: str, golds: list[str]) -> None:
    assert exact_match(prediction, golds) == max(squad_normalize(prediction) == squad_normalize(g) for g in golds)
    assert f1(prediction, golds) == pytest.approx(max(squad_f1(prediction, g) for g in golds))


@given(phrase, st.lists(phrase, min_size=1, max_size=4))
def test_scores_are_ordered_and_do_not_depend_on_the_order_of_golds(prediction: str, golds: list[str]) -> None:
    assert 0.0 <= exact_match(prediction, golds) <= f1(prediction, golds) <= 1.0
    assert f1(prediction, golds) == f1(prediction, golds[::-1])
    if normalize_answer(prediction):
        assert lenient(prediction, golds) >= exact_match(prediction, golds)


@pytest.mark.parametrize(
    ("prediction", "golds", "em"),
    [
        ("The Beatles!", ["Beatles"], 1.0),
        ("an  apple", ["apple"], 1.0),
        ("U.S.A.", ["USA"], 1.0),
        ("Paris, France", ["Paris"], 0.0),
        ("theatre", ["re"], 0.0),
        ("", ["Paris"], 0.0),
        ("Lyon", ["Paris", "lyon"], 1.0),
        ("1,234", ["1234"], 1.0),
        ("well-known", ["wellknown"], 1.0),
        ("Beyoncé", ["Beyonce"], 0.0),
    ],
)
def test_exact_match_of_known_cases(prediction: str, golds: list[str], em: float) -> None:
    assert exact_match(prediction, golds) == em


def test_f1_looks_past_a_first_gold_without_overlap() -> None:
    assert f1("Barack Obama", ["the 44th president", "Obama"]) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("prediction", "golds", "score"),
    [
        ("It was written by J.R.R. Tolkien in 1937.", ["J. R. R. Tolkien", "JRR Tolkien"], 1.0),
        ("Parisian", ["Paris"], 0.0),  # whole words only
        ("Paris", ["Paris, France"], 0.0),  # the gold must be contained in the prediction, not the other way round
        ("twelve", ["12"], 1.0),
        ("12.0", ["12"], 1.0),
        ("$1,000", ["1000"], 1.0),
        ("1.5", ["15"], 1.0),  # as EM does: punctuation goes
        ("11", ["12"], 0.0),
        ("nan", ["inf"], 0.0),
        ("1e999999999", ["3"], 0.0),
        ("anything", ["the"], 0.0),  # a gold of articles only is contained in nothing
        ("", ["x"], 0.0),
        ("x", [], 0.0),
    ],
)
def test_lenient_of_known_cases(prediction: str, golds: list[str], score: float) -> None:
    assert lenient(prediction, golds) == score

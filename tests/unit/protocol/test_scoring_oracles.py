"""Scores against the published SQuAD evaluation script, written out again here, and known cases."""

from __future__ import annotations

import collections
import re
import string
import unicodedata

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from harness.protocol import exact_match, f1, lenient, normalize_answer
from harness.protocol.scoring import fold_unicode


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
    assume(all(map(squad_normalize, golds)))
    assert exact_match(prediction, golds) == max(squad_normalize(prediction) == squad_normalize(g) for g in golds)
    assert f1(prediction, golds) == pytest.approx(max(squad_f1(prediction, g) for g in golds))


@given(phrase, st.lists(phrase, min_size=1, max_size=4))
def test_scores_are_ordered_and_do_not_depend_on_the_order_of_golds(prediction: str, golds: list[str]) -> None:
    assert 0.0 <= exact_match(prediction, golds) <= f1(prediction, golds) <= 1.0
    assert f1(prediction, golds) == f1(prediction, golds[::-1])
    assert lenient(prediction, golds) >= exact_match(prediction, golds)
    assert exact_match(prediction, golds) <= f1(prediction, golds, "hotpotqa") <= f1(prediction, golds)


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


# --- golds that normalise to nothing ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prediction", "gold", "score"),
    [
        ("The The", "The The", 1.0),
        ("the the!", "The The", 1.0),
        (".", "The The", 0.0),
        ("", "The The", 0.0),
        ("the", "The The", 0.0),
        ("A", "A", 1.0),
        ("an", "A", 0.0),
        ("It is a long story", "A", 0.0),  # an article is contained in most sentences
        ("!!!", "!!!", 1.0),
        ("???", "!!!", 0.0),
        ("", " ", 0.0),
    ],
)
def test_a_gold_that_normalises_to_nothing_is_matched_as_it_is_written(prediction, gold, score):
    assert exact_match(prediction, [gold]) == lenient(prediction, [gold]) == score


@given(st.text(" .,!?-'", max_size=5), st.text("aAnthe .,!?-'", min_size=1, max_size=8))
def test_an_answer_without_a_word_does_not_match_a_gold_with_one(prediction, gold):
    assume(any(map(str.isalnum, gold)))
    assert exact_match(prediction, [gold]) == f1(prediction, [gold]) == lenient(prediction, [gold]) == 0.0


# --- HotpotQA's F1 ------------------------------------------------------------------------------------------------


def hotpot_f1(prediction: str, ground_truth: str) -> float:
    """`f1_score` of hotpot_evaluate_v1.py, for one gold."""
    normalized_prediction, normalized_ground_truth = squad_normalize(prediction), squad_normalize(ground_truth)
    if normalized_prediction in ["yes", "no", "noanswer"] and normalized_prediction != normalized_ground_truth:
        return 0
    if normalized_ground_truth in ["yes", "no", "noanswer"] and normalized_prediction != normalized_ground_truth:
        return 0
    return squad_f1(prediction, ground_truth)


closed = st.lists(st.sampled_from(["yes", "No", "noanswer", "the", "idea", ".", "Yes!"]), max_size=3).map(" ".join)


@given(closed | phrase, st.lists(closed | phrase, min_size=1, max_size=3))
@example("no idea", ["no"])
def test_f1_of_hotpotqa_is_that_of_its_script(prediction: str, golds: list[str]) -> None:
    assume(all(map(squad_normalize, golds)))
    assert f1(prediction, golds, "hotpotqa") == pytest.approx(max(hotpot_f1(prediction, gold) for gold in golds))


def test_the_rule_for_yes_and_no_is_hotpotqas_alone():
    assert f1("no idea", ["no"], "hotpotqa") == 0.0
    assert f1("no", ["no idea"], "hotpotqa") == 0.0
    assert f1("No.", ["no"], "hotpotqa") == 1.0
    assert f1("no idea", ["no"]) == f1("no idea", ["no"], "nq") == pytest.approx(2 / 3)


# --- the lenient score folds Unicode ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prediction", "gold"),
    [
        ("Beyonce\u0301", "Beyonc\u00e9"),  # decomposed, composed
        ("It is \u201cHamlet\u201d", "Hamlet"),
        ("O\u2019Brien", "O'Brien"),
        ("1914\u20131918", "1914-1918"),
        ("Rolls\u2011Royce", "Rolls-Royce"),
        ("\u22125", "-5"),
        ("Pa\u200bris", "Paris"),
        ("\ufeffParis\u2060", "Paris"),
        ("co\u00adoperation", "cooperation"),
        ("New\u00a0York", "New York"),
        ("\uff30\uff41\uff52\uff49\uff53", "Paris"),  # full width
        ("\ufb01nal", "final"),  # ligature
        ("Stra\u00dfe", "STRASSE"),
        ("\u2764\ufe0f", "\u2764"),  # variation selector
    ],
)
def test_lenient_takes_spellings_that_look_alike_for_one_and_exact_match_does_not(prediction, gold):
    assert lenient(prediction, [gold]) == 1.0
    assert exact_match(prediction, [gold]) == float(squad_normalize(prediction) == squad_normalize(gold))


@pytest.mark.parametrize(("prediction", "gold"), [("Beyonce", "Beyonc\u00e9"), ("Paris\u2009ian", "Parisian")])
def test_lenient_keeps_accents_and_spaces_apart(prediction, gold):
    assert lenient(prediction, [gold]) == 0.0


@given(st.text("aeé ñÅü'", max_size=8), st.text("aeéñÅü'", min_size=1, max_size=4), st.sampled_from(["NFC", "NFD"]))
def test_lenient_does_not_depend_on_how_accents_are_composed(prediction, gold, form):
    written = unicodedata.normalize(form, prediction)
    golds = [unicodedata.normalize(other, gold) for other in ("NFC", "NFD")]
    assume(not exact_match(written, golds))  # its own rule may drop the letter below a decomposed accent as an article
    assert lenient(written, golds[:1]) == lenient(written, golds[1:])


@given(st.text())
def test_folding_twice_folds_no_further(text):
    assert fold_unicode(fold_unicode(text)) == fold_unicode(text)


@given(st.text(max_size=12), st.lists(st.text(max_size=6), max_size=3))
def test_scores_are_defined_on_any_text(prediction, golds):
    for score in (exact_match, f1, lenient):
        assert 0.0 <= score(prediction, golds) <= 1.0

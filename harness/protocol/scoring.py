"""Answer scores against gold answers: exact match, F1, and a lenient score that is reported and never rewarded.

Exact match and F1 are the benchmarks' own: the SQuAD script's (Rajpurkar et al. 2016; FlashRAG uses the same), and for
HotpotQA its script's F1. All scores are in [0, 1], maxima over golds. One case departs from those scripts: a gold that
normalises to nothing ("The The", "!!!") would match every answer that does ("."), so it is compared in a weaker form.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_SMALL_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
_NUMBER_WORDS = {word: Decimal(i) for i, word in enumerate(_SMALL_NUMBERS.split())}
_LONGEST_NUMBER = 40

CLOSED_ANSWERS = frozenset({"yes", "no", "noanswer"})
CLOSED_ANSWER_SUITES = frozenset({"hotpotqa"})
"""Benchmarks whose script gives an F1 of 0 to an answer that differs from the gold if either is a closed answer."""

_QUOTES = dict.fromkeys(map(ord, "‘’‚‛′‹›ʼʹ"), "'") | dict.fromkeys(map(ord, "“”„‟″«»〝〞"), '"')
_DASHES = dict.fromkeys(map(ord, "‐‑‒–—―⁃−﹘"), "-")
_INVISIBLE = dict.fromkeys([0x034F, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)])  # joiner, variation selectors
_FOLDED = _QUOTES | _DASHES | _INVISIBLE


def normalize_answer(text: str) -> str:
    """Lower-case, strip ASCII punctuation, drop a/an/the, squeeze white space (the SQuAD script's definition)."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def fold_unicode(text: str) -> str:
    """One spelling of text that looks alike: NFKC, case folded, ASCII quotes and dashes, no invisible characters.

    Composed and decomposed accents become one; an accent itself is kept. Idempotent.
    """
    if text.isascii():
        return text.casefold()
    visible = "".join(c for c in text.translate(_FOLDED) if unicodedata.category(c) != "Cf")
    composed = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", visible).casefold())
    return composed.translate(_FOLDED)


def exact_match(prediction: str, golds: Sequence[str]) -> float:
    """1.0 if the normalised prediction equals any normalised gold, else 0.0."""
    return float(any(_equal(prediction, gold) for gold in golds))


def f1(prediction: str, golds: Sequence[str], suite: str = "") -> float:
    """F1 over bags of normalised words, the best over all golds. `suite` selects its benchmark's rule."""
    return max((_f1_one(prediction, gold, suite in CLOSED_ANSWER_SUITES) for gold in golds), default=0.0)


def lenient(prediction: str, golds: Sequence[str]) -> float:
    """1.0 if the prediction contains some gold as consecutive whole words, or is the same number; never below EM.

    Words are those of `normalize_answer` after `fold_unicode`. A gold that normalises to nothing must match exactly.
    Numbers: thousands separators and a leading currency sign are dropped, `zero` ... `twenty` are numerals
    ("1,000.0" is 1000, "Twelve" is 12).
    """
    folded = fold_unicode(prediction)
    number = _number(folded)
    for gold in golds:
        other = fold_unicode(gold)
        if _equal(prediction, gold) or _contains(folded, other):
            return 1.0
        if number is not None and number == _number(other):
            return 1.0
    return 0.0


def _contains(prediction: str, gold: str) -> bool:
    normal = normalize_answer(gold)
    return f" {normal} " in f" {normalize_answer(prediction)} " if normal else _equal(prediction, gold)


def _equal(prediction: str, gold: str) -> bool:
    normal = _normal_form(gold)
    return bool(gold.strip()) and normal(prediction) == normal(gold)


def _normal_form(gold: str) -> Callable[[str], str]:
    """`normalize_answer`, or where nothing of `gold` is left by it, the form with articles, or as written."""
    return next((form for form in (normalize_answer, _with_articles) if form(gold)), _as_written)


def _with_articles(text: str) -> str:
    return " ".join(text.lower().translate(_PUNCTUATION).split())


def _as_written(text: str) -> str:
    return " ".join(text.lower().split())


def _f1_one(prediction: str, gold: str, closed: bool) -> float:
    normal = _normal_form(gold)
    answer, right = normal(prediction), normal(gold)
    if closed and answer != right and not CLOSED_ANSWERS.isdisjoint({answer, right}):
        return 0.0
    predicted, wanted = answer.split(), right.split()
    common = sum((Counter(predicted) & Counter(wanted)).values())
    return 2 * common / max(len(predicted) + len(wanted), 1)


def _number(text: str) -> Decimal | None:
    stripped = text.strip().lower().lstrip("$€£¥").rstrip(".").replace(",", "")
    if not stripped or len(stripped) > _LONGEST_NUMBER:
        return None
    if stripped in _NUMBER_WORDS:
        return _NUMBER_WORDS[stripped]
    try:
        value = Decimal(stripped)
    except InvalidOperation:
        return None
    return value if value.is_finite() else None

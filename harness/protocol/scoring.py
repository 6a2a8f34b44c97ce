"""Answer scores against gold answers: exact match and F1 as in the SQuAD script, and a lenient score beside them.

`normalize_answer` is the SQuAD / FlashRAG one (Rajpurkar et al. 2016). All scores are in [0, 1], maxima over golds.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_SMALL_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
_NUMBER_WORDS = {word: Decimal(i) for i, word in enumerate(_SMALL_NUMBERS.split())}
_LONGEST_NUMBER = 40


def normalize_answer(text: str) -> str:
    """Lower-case, strip ASCII punctuation, drop a/an/the, squeeze white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, golds: Sequence[str]) -> float:
    """1.0 if the normalised prediction equals any normalised gold, else 0.0."""
    normal = normalize_answer(prediction)
    return float(any(normal == normalize_answer(gold) for gold in golds))


def f1(prediction: str, golds: Sequence[str]) -> float:
    """Token F1 (bag of normalised words), the best over all golds; every gold is looked at."""
    return max((_f1_one(prediction, gold) for gold in golds), default=0.0)


def lenient(prediction: str, golds: Sequence[str]) -> float:
    """1.0 if some gold is contained in the prediction as consecutive whole words, or is the same number.

    Containment is after `normalize_answer`; a gold that normalises to nothing is contained in nothing. Numbers are
    read from the raw strings: thousands separators and a leading currency sign are dropped, `zero` ... `twenty` are
    numerals ("1,000.0" is 1000, "Twelve" is 12). Reported beside EM, never rewarded.
    """
    words = f" {normalize_answer(prediction)} "
    number = _number(prediction)
    for gold in golds:
        normal = normalize_answer(gold)
        if normal and f" {normal} " in words:
            return 1.0
        if number is not None and number == _number(gold):
            return 1.0
    return 0.0


def _f1_one(prediction: str, gold: str) -> float:
    predicted, wanted = normalize_answer(prediction).split(), normalize_answer(gold).split()
    if not predicted or not wanted:
        return float(predicted == wanted)  # as in the SQuAD 2.0 script
    common = sum((Counter(predicted) & Counter(wanted)).values())
    return 2 * common / (len(predicted) + len(wanted))


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

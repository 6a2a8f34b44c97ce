"""Words of doubt in the policy's thoughts, and of rejection in a review: regular expressions, no model."""

from __future__ import annotations

import re


def _any_of(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(rf"\b(?:{pattern})\b" for pattern in patterns))


# Phrases that contain a word of doubt and mean the contrary.
_CERTAIN = _any_of(
    "(?:no|without|beyond|any) doubts?",
    "(?:nothing|not|isn't|is not) (?:is )?(?:wrong|incorrect|strange|odd)",
    "no (?:contradiction|conflict|mistake|error)s?",
    "no need to (?:verify|double-check|try|search|ask)",
)
_DOUBT = _any_of(
    r"wrong|incorrect|mistaken?|error|doubt\w*|suspicious|strange|odd|unlikely|implausible",
    r"contradict\w*|conflict\w*|inconsistent|disagree\w*|mismatch\w*",
    "irrelevant|unrelated|outdated|stale|unreliable|unsure|uncertain|unclear",
    "not (?:right|correct|relevant|related|helpful|useful|found|there|given|sure|certain|plausible|enough|about)",
    "(?:does|did|do|was|is|are|were)(?:n't| not) (?:answer|say|tell|mention|help|work|look|seem|match|make sense|fit)",
    "no (?:results?|answer|feedback|hits?|passages?|information|reply)|nothing (?:found|useful|relevant|here)",
    "fail(?:ed|s)?|tim(?:ed|e)[ -]?out|cut (?:off|short)|br(?:eaks|oke) off|truncated|incomplete|empty|missing",
    r"verify|double-check|(?:try|search|ask|look|call|check)(?: \w+){0,3} again",
)
# About a review, words of doubt usually repeat its verdict ("Wrong. Revise."): doubt must be cast on the review.
_REVIEW = "(?:review|reviewer|feedback|verdict)"
_DOUBT_OF_REVIEW = _any_of(
    r"disagree\w*|still (?:think|believe|sure)|incomplete|cut (?:off|short)|fail(?:ed|s)?|tim(?:ed|e)[ -]?out",
    rf"{_REVIEW}(?: \w+){{0,3}} (?:wrong|mistaken|incorrect|missing|empty|doubtful|unreliable|unclear|not)",
    rf"no feedback|(?:doubt|distrust|contradicts?|despite|ignore)(?: \w+){{0,2}} {_REVIEW}",
    r"(?:review|check|verify)(?: \w+){0,3} again",
)
_REJECTION = re.compile(r"\b(?:wrong|incorrect|not (?:correct|right)|mistaken?|error|false)\b", re.IGNORECASE)


def doubts(text: str, of_review: bool = False) -> bool:
    """Whether a think text voices doubt, e.g. "This is not about Chad", "The search timed out".

    "No doubt it is Paris" does not. With `of_review`, only doubt of the review itself counts: "I disagree with the
    review", but not "The solution is wrong".
    """
    plain = " ".join(text.lower().replace("’", "'").split())
    return bool((_DOUBT_OF_REVIEW if of_review else _DOUBT).search(_CERTAIN.sub(" ", plain)))


def rejects(feedback: str) -> bool:
    """Whether a review's feedback calls the solution wrong."""
    return bool(_REJECTION.search(feedback))

"""Doubt of what was read in the policy's thoughts, and rejection in a review: regular expressions, no model.

A word of doubt counts where it concerns an observation. "The passage is wrong", "That is wrong", "Wrong." and "Wrong
passage" do; "The king was wrong" and "The river is missing" are about the question's subject matter and do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator


def _any_of(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(rf"\b(?:{pattern})(?!\w)" for pattern in patterns))


NEAR = 120
"""Characters before and after a word that decide what it is said of: time stays linear in the text."""

# Phrases that contain a word of doubt and mean the contrary.
_CERTAIN = _any_of(
    "(?:no|without|beyond|any) doubts?",
    "(?:nothing|not|isn't|is not) (?:is )?(?:wrong|incorrect|strange|odd)",
    "no (?:contradiction|conflict|mistake|error)s?",
    "no need to (?:verify|double-check|try|search|ask)",
)
_NEGATION = "(?:do|does|did|is|was|are|were|has|have|had|could|can)(?:n't| not)|cannot|can't"
_READ = (
    "passages?|results?|search(?:es)?|texts?|articles?|documents?|pages?|snippets?|hits?|sources?|information|info|"
    "observations?|outputs?|responses?|repl(?:y|ies)|answers?|candidates?|feedback|reviews?|reviewer|verdicts?|"
    "operators?|tools?|calls?|quer(?:y|ies)|programs?|retriev(?:al|er)|evidence|expert|solutions?"
)
"""Names of what a policy reads, and of what gave it."""
_REVIEW = "review|reviewer|feedback|verdict"

# Doubt by themselves, whatever stands around them.
_ALWAYS = _any_of(
    r"i(?: \w+)? (?:doubt|distrust|disagree|suspect)",
    r"(?:i am|i'm|we are)(?: \w+)? (?:unsure|uncertain|sceptical|skeptical|mistaken)",
    r"(?:i am|i'm|we are)(?: \w+)? not(?: \w+)? (?:sure|certain|convinced)",
    "no (?:results?|answer|feedback|hits?|passages?|information|reply)|nothing (?:found|useful|relevant|here)",
    f"(?:{_NEGATION}) make sense|tim(?:ed|e)[ -]?out",
    r"verify|double-check|(?:try|search|ask|look|call|check)(?: \w+){0,3} again",
)
# Doubt where what they are about was read.
_OF_WHAT_WAS_READ = _any_of(
    r"wrong|incorrect|mistaken?|errors?|doubtful|suspicious|strange|odd|unlikely|implausible",
    r"contradict\w*|conflict\w*|inconsisten\w*|disagree\w*|mismatch\w*",
    "irrelevant|unrelated|outdated|stale|unreliable|unsure|uncertain|unclear|unhelpful|useless",
    "not (?:right|correct|relevant|related|helpful|useful|sure|certain|plausible|enough|about)",
    "not (?:found|there|given|mentioned|listed|stated|in)",
    f"(?:{_NEGATION}) (?:answer|say|tell|mention|help|work|look|seem|match|fit|about|state|contain|list)",
    r"fail(?:ed|s)?(?= to (?:answer|return|respond|load|find)|$| again)",
    r"cut (?:off|short)|br(?:eaks|oke|oken) off|truncated|incomplete|empty|missing",
)
_REPORTED = re.compile(r"not (?:found|given|mentioned|listed|stated)$")
"""At a clause's end, of anything: that it was not in the text is said of the text."""

_LINK = (
    "is|are|was|were|be|been|seems?|looks?|sounds?|appears?|feels?|has|have|had|may|might|must|can|could|should|would|"
    "will|do|does|did|to"
)
_ADVERB = (
    "really|just|also|still|clearly|probably|likely|possibly|perhaps|maybe|rather|very|quite|too|somewhat|completely|"
    "totally|entirely|obviously|partly|all|both|somehow|even|simply|a|an"
)
_FILLER = "hm+|well|oh|ok|okay|no|yes|but|and|so|then|again|however|this time"
_CLAUSE = re.compile(r"[.;:!?,()]+|(?<=\s)(?:but|and|so|because|yet|while|although|since|whereas)(?=\s)")
_BETWEEN = rf"(?: (?:{_LINK}|{_ADVERB}))*"


def _about(nouns: str) -> re.Pattern[str]:
    """What stands before a predicate that is about one of `nouns`, a pronoun for it, or nothing at all."""
    named = rf"\b(?:{nouns})(?: (?:of|for|about|from|on|in|to|by)(?: [\w']+){{1,4}}?)?"
    pronoun = rf"\b(?:it|this|these|those|they|something)|^(?:(?:{_FILLER}) )*(?:that|there)"
    alone = rf"^(?:{_FILLER})?(?: (?:{_FILLER}))*"
    return re.compile(rf"(?:{named}|{pronoun}|{alone})(?:'s|'re)?{_BETWEEN}$|^(?:{_LINK}|{_ADVERB})?{_BETWEEN}$")


_ABOUT_READ, _ABOUT_REVIEW = _about(_READ), _about(_REVIEW)
_ARTICLE = re.compile(r"(?:^|\s)(?:the|a|an|his|her|its|their|any|some|of)$")
_READ_FIRST = re.compile(rf"(?:{_READ})\b")
_PLACE = re.compile(rf"(?:from|in|by|of|with)(?: [\w']+){{0,3}} (?:{_READ})\b")
_COMPLEMENT = re.compile(r"(?:about|for|with|in|to|from|of|by|on|at|again|too|here|either|enough|yet|each)\b")

# About a review, words of doubt usually repeat its verdict ("Wrong. Revise."): doubt must be cast on the review.
_DOUBT_OF_REVIEW = _any_of(
    r"i(?: \w+)? (?:doubt|distrust|disagree)|disagree with|still (?:think|believe|sure)|tim(?:ed|e)[ -]?out",
    rf"(?:{_REVIEW})(?: \w+){{0,3}} (?:wrong|mistaken|incorrect|missing|empty|doubtful|unreliable|unclear|not)",
    rf"no feedback|(?:doubt|distrust|contradicts?|despite|ignore)(?: \w+){{0,2}} (?:{_REVIEW})",
    r"(?:review|check|verify)(?: \w+){0,3} again",
)
_BROKEN_REVIEW = _any_of(r"fail(?:ed|s)?|cut (?:off|short)|incomplete")
_REJECTION = re.compile(r"\b(?:wrong|incorrect|not (?:correct|right)|mistaken?|error|false)\b", re.IGNORECASE)


def doubts(text: str, of_review: bool = False) -> bool:
    """Whether a think text voices doubt of what was read, e.g. "This is not about Chad", "The search timed out".

    "No doubt it is Paris" and "The river is missing" do not. With `of_review`, only doubt of the review itself counts:
    "I disagree with the review", but not "The solution is wrong".
    """
    plain = _CERTAIN.sub(" ", " ".join(text.lower().replace("’", "'").split()))
    if of_review:
        broken = (_ABOUT_REVIEW.search(before) for before, _, _ in _found(_BROKEN_REVIEW, plain))
        return bool(_DOUBT_OF_REVIEW.search(plain)) or any(broken)
    return bool(_ALWAYS.search(plain)) or any(_concerns(*found) for found in _found(_OF_WHAT_WAS_READ, plain))


def _found(pattern: re.Pattern[str], text: str) -> Iterator[tuple[str, str, str]]:
    """(words before in its clause, match, words after) of every match."""
    for clause in _CLAUSE.split(text):
        clause = " ".join(clause.split())
        for match in pattern.finditer(clause):
            near = max(0, match.start() - NEAR)
            cut = "… " if near else ""
            yield cut + clause[near : match.start()].rstrip(), match[0], clause[match.end() :][:NEAR].lstrip()


def _concerns(before: str, word: str, after: str) -> bool:
    """Whether a word of doubt is said of what was read."""
    if _READ_FIRST.match(after) or _PLACE.match(after) or (_REPORTED.search(word) and not after):
        return True
    stands_alone = (
        not after or bool(_COMPLEMENT.match(after)) or word.startswith(("contradict", "conflict", "disagree"))
    )
    if not stands_alone and (not before or _ARTICLE.search(before)):
        return False  # "the missing river", "wrong turn"
    return bool(_ABOUT_READ.search(before)) and (stands_alone or bool(before))


def rejects(feedback: str) -> bool:
    """Whether a review's feedback calls the solution wrong."""
    return bool(_REJECTION.search(feedback))

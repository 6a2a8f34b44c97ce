"""Observations: truncated in the middle, neutralised, wrapped in info tags; and the warnings of WarningOp."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.protocol.grammar import Grammar, short_forms
from harness.protocol.tags import XML
from harness.types import ParseFailure

# Special tokens of chat models (Qwen, SmolLM, Llama, Gemma, DeepSeek), which an operator's text must not contain.
_SPECIAL = re.compile(
    r"<(?=[|｜])|(?<=[|｜])>"
    r"|</?(?:s|bos|eos|pad|unk|mask|start_of_turn|end_of_turn|tool_call|tool_response|tools|repo_name|reponame"
    r"|file_sep|filename|gh_stars|issue_(?:start|comment|closed)|jupyter_(?:start|text|code|output|script)"
    r"|empty_output)>|\[/?INST\]",
    re.IGNORECASE,
)
_HARMLESS = str.maketrans("<>[]", "‹›⟦⟧")

FAILURE_TEXTS: dict[ParseFailure, str] = {
    ParseFailure.MISSING_THINK: "there was no thought before the action",
    ParseFailure.EMPTY_THINK: "the thought was empty",
    ParseFailure.MISSING_ACTION: "there was no action",
    ParseFailure.EMPTY_ACTION: "the action was empty",
    ParseFailure.MULTIPLE_THINKS: "there was more than one thought",
    ParseFailure.MULTIPLE_ACTIONS: "there was more than one action",
    ParseFailure.UNCLOSED_TAG: "a tag was opened but not closed",
    ParseFailure.UNOPENED_TAG: "a tag was closed but not opened",
    ParseFailure.NESTED_TAG: "a tag stood inside another",
    ParseFailure.WRONG_ORDER: "the action came before the thought",
    ParseFailure.STRAY_TEXT: "there was text outside the tags",
    ParseFailure.FORGED_INFO: "only the environment may write an observation",
    ParseFailure.MISSING_OPERATOR_NAME: "the call did not begin with an operator name and a colon",
    ParseFailure.UNKNOWN_OPERATOR: "the operator does not exist",
    ParseFailure.NO_ANSWER: "no answer was given",
    ParseFailure.TRUNCATED_TURN: "the turn was too long and was cut off",
    ParseFailure.OVER_BUDGET: "no calls are left, only an answer is possible",
}


def truncate_middle(text: str, max_chars: int) -> str:
    """`text` cut to at most `max_chars` characters: its start and end around a marker, or its start if none fits.

    Raises:
        ValueError: if `max_chars` is negative.
    """
    if max_chars < 0:
        raise ValueError(f"max_chars must not be negative, got {max_chars}")
    if len(text) <= max_chars:
        return text
    marker = f"\n...[{len(text)} characters, cut in the middle]...\n"
    kept = max_chars - len(marker)
    if kept <= 0:
        return text[:max_chars]
    tail = kept // 2
    return text[: kept - tail] + marker + text[len(text) - tail :]


def neutralise(text: str, grammar: Grammar = XML) -> str:
    """`text`, of equal length, without protocol tags of `grammar` or XML and without special tokens of chat models.

    Only these change (`<answer>` becomes `‹answer›`); a stray `<`, `<br>` or `<solution>` stays.
    """
    text = grammar.neutralise(XML.neutralise(text))
    return _SPECIAL.sub(lambda match: match.group().translate(_HARMLESS), text)


def render_observation(text: str, *, grammar: Grammar = XML, trusted: bool = False) -> str:
    """`text` in the grammar's info element, neutralised unless `trusted`.

    Trusted are the environment's own templates alone (a warning names tags), never text of an operator or a policy.
    """
    return grammar.wrap_info(text if trusted else neutralise(text, grammar))


def warning_text(failures: Sequence[ParseFailure], *, grammar: Grammar = XML, compact: bool = False) -> str:
    """WarningOp's observation: the failures and the permitted forms. Contains no text of the policy."""
    reasons = "; ".join(FAILURE_TEXTS[failure] for failure in failures)
    forms = f"Write {short_forms(grammar)}." if compact else f"Every turn must be {grammar.rule()}."
    return f"{reasons} {forms}".strip()

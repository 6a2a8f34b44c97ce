"""Kinds of action, reasons to stop, and the ways in which turns and operators fail."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class StopReason(StrEnum):
    """Why an episode ended."""

    ANSWERED = "answered"  # an executed action gave an answer
    TURN_BUDGET = "turn_budget"  # the limit on assistant turns was reached
    TOKEN_BUDGET = "token_budget"  # the response, observations included, reached its token limit


class ParseFailure(StrEnum):
    """Defects of a turn; NO_ANSWER is of an episode. A turn may have several."""

    MISSING_THINK = "missing_think"  # no think element
    EMPTY_THINK = "empty_think"  # a think element without visible text
    MISSING_ACTION = "missing_action"  # no action element: tool or answer, or code
    EMPTY_ACTION = "empty_action"  # a tool or code element, or its input, without visible text
    MULTIPLE_THINKS = "multiple_thinks"  # more than one think element
    MULTIPLE_ACTIONS = "multiple_actions"  # parallel calls, a call and an answer, or two answers
    UNCLOSED_TAG = "unclosed_tag"  # a tag opened and never closed
    UNOPENED_TAG = "unopened_tag"  # a closing tag without an opening one
    NESTED_TAG = "nested_tag"  # a tag opened inside an element
    WRONG_ORDER = "wrong_order"  # the action precedes the think element
    STRAY_TEXT = "stray_text"  # visible text outside the elements
    FORGED_INFO = "forged_info"  # the policy wrote an info tag, which is the environment's
    MISSING_OPERATOR_NAME = "missing_operator_name"  # a tool call without `Name:`
    UNKNOWN_OPERATOR = "unknown_operator"  # a tool call to a name outside the pool
    NO_ANSWER = "no_answer"  # the episode ended without an answer
    TRUNCATED_TURN = "truncated_turn"  # the token limit cut the turn before its end-of-turn token
    OVER_BUDGET = "over_budget"  # a call after the call budget was spent


class ActionKind(StrEnum):
    """Kinds of action a turn can end in."""

    TOOL = "tool"  # call one operator in natural language
    ANSWER = "answer"  # answer the question and end the episode
    CODE = "code"  # run a program that calls operators (code interface)


class OperatorFailure(StrEnum):
    """Why an operator returned no useful result. Counted apart from parse failures."""

    MISSING_INPUT = "missing_input"  # a required inner tag is absent; the result is a corrective message
    UNKNOWN_OPERATOR = "unknown_operator"  # a name outside the pool was called
    TIMEOUT = "timeout"  # no response before the deadline, retries spent
    SERVER_ERROR = "server_error"  # no connection, or a response with an error status, retries spent
    RATE_LIMITED = "rate_limited"  # refused for the rate of calls (HTTP 429), retries spent
    BAD_RESPONSE = "bad_response"  # a garbled, truncated or oversized body, or JSON of another schema
    MISSING_OUTPUT_TAG = "missing_output_tag"  # the operator LLM left out a required tag, retries spent
    EMPTY = "empty"  # a result without content, such as a search without a hit
    PROGRAM_ERROR = "program_error"  # the policy's program ended in an error (code interface)


class Diverged(ArithmeticError):
    """A quantity of training that is not finite: nothing that follows would be a result. A trial ends with it, and
    gives the same with the same seed, so it is not restarted.

    `metrics`: what is known of the step; `step` None until the trial adds it.
    """

    def __init__(self, quantity: str, metrics: Mapping[str, float] | None = None, step: int | None = None) -> None:
        self.quantity, self.metrics, self.step = quantity, dict(metrics or {}), step
        where = "" if step is None else f"training diverged at step {step}: "
        super().__init__(f"{where}{quantity} is not finite")

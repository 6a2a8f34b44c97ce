"""Specification of an operator: everything the harness knows about it, in one object.

A new operator is one file in `specs/` and one line in `registry.py`. Prompts, execution, the simulated LLM, scripted
agents, injected faults, their detection and the analysis read it from here: by the spec itself, or by its `Role`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from harness.operators.base import CallContext, Inputs, LLMRequest, Services, elements
from harness.operators.llm.simulated import SimulatedLLM
from harness.types import OperatorResult


class Role(Enum):
    """An operator's part in a workflow, and the form of its result. Faults strike and are detected by role."""

    RETRIEVES = "retrieves"  # passages about a query: `[1] Title: snippet`
    ANSWERS = "answers"  # one answer: `Answer: …`
    SAMPLES = "samples"  # several candidate answers: `[Answer 1] … [Answer 2] …`
    REFINES = "refines"  # a better query, no answer
    REVIEWS = "reviews"  # a verdict on the <solution> of its input: `Feedback: …`
    REVISES = "revises"  # a better solution, by the feedback given: `Answer: …`
    CHOOSES = "chooses"  # one of the solutions given: `Answer: …`
    WARNS = "warns"  # the environment's reply to a turn that cannot be executed; cannot be called


ANSWERING = frozenset({Role.ANSWERS, Role.SAMPLES, Role.REVISES, Role.CHOOSES})
"""Roles whose results state an answer."""
SECOND_LOOKS = frozenset({Role.REVIEWS, Role.REVISES, Role.CHOOSES})
"""Roles that work on answers given to them."""

Simulate = Callable[[SimulatedLLM, LLMRequest], str]
"""The simulated LLM's completion of a request, required tags included."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What an operator requests from the operator LLM.

    `template` is the user message, with a `{field}` for each inner tag of the input (`{text}` without tags); several
    elements of one tag are numbered, one a line. `required`: tags that a completion must hold.
    """

    template: str
    required: tuple[str, ...]
    simulate: Simulate


@dataclass(frozen=True, slots=True)
class OperatorSpec:
    """One operator: its name, role and description, its input, how it runs, and how it is shown in use.

    `tags` maps each required inner tag to the least number of its occurrences; with no tags the whole text is the
    input, under the key `text`. `run` is None for what only the environment emits. `demonstration` is (input, result)
    of a call about the novel *The Glass Orchard*, which does not exist, for a worked example in a prompt: an example
    must not give an answer away.
    """

    name: str
    role: Role
    summary: str
    input_format: str
    example: str
    run: Run | None
    tags: Mapping[str, int] = field(default_factory=dict)
    completion: Completion | None = None
    needs_retriever: bool = False
    demonstration: tuple[str, str] | None = None

    @property
    def needs_llm(self) -> bool:
        return self.completion is not None

    def call(self, text: str = "", **contents: str | Sequence[str]) -> str:
        """The call as a turn writes it, `Name: input`: the text, then each element's contents in its inner tag."""
        listed = {tag: [given] if isinstance(given, str) else given for tag, given in contents.items()}
        return f"{self.name}: {text}" + "".join(f"<{t}>{one}</{t}>" for t, given in listed.items() for one in given)

    def read_inputs(self, text: str) -> tuple[dict[str, tuple[str, ...]], list[str]]:
        """The parsed input of a call, and what is missing from it (empty: nothing).

        An empty inner element counts as absent. Without tags, `{"text": (text,)}`.
        """
        if not self.tags:
            body = text.strip()
            return {"text": (body,)}, [] if body else ["the input text"]
        inputs: dict[str, tuple[str, ...]] = {}
        missing: list[str] = []
        for tag, least in self.tags.items():
            inputs[tag] = tuple(e for e in elements(text, tag) if e)
            if len(inputs[tag]) < least:
                element = f"<{tag}>…</{tag}>"
                missing.append(element if least == 1 else f"{element} ({least} needed, {len(inputs[tag])} given)")
        return inputs, missing


Run = Callable[[OperatorSpec, Inputs, CallContext, Services], Awaitable[OperatorResult]]
"""Execution of a call whose input is complete. Must not raise for a failing service."""

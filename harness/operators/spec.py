"""Specification of an operator: everything the harness knows about it, in one object.

A new operator is one file in `specs/` and one line in `registry.py`. Prompts, execution, the simulated LLM, scripted
agents, injected faults, their detection and the analysis read it from here: by the spec itself, or by its `Role`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.operators.base import CallContext, Inputs, LLMRequest, Services, elements
from harness.operators.handles import Handle
from harness.operators.llm.simulated import SimulatedLLM
from harness.operators.roles import Role
from harness.types import OperatorResult

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
    must not give an answer away. `handles` gives, for inner tags that a call in the compact style may leave out, what
    stands for them.
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
    handles: Mapping[str, Handle] = field(default_factory=dict)

    @property
    def needs_llm(self) -> bool:
        return self.completion is not None

    def call(self, text: str = "", **contents: str | Sequence[str]) -> str:
        """The call as a turn writes it, `Name: input`: the text, then each element's contents in its inner tag."""
        listed = {tag: [given] if isinstance(given, str) else given for tag, given in contents.items()}
        return f"{self.name}: {text}" + "".join(f"<{t}>{one}</{t}>" for t, given in listed.items() for one in given)

    @property
    def bare(self) -> bool:
        """Whether the compact style may call it without any input."""
        return all(tag in self.handles for tag in self.tags or ("text",))

    def read_inputs(
        self, text: str, episode: CallContext | None = None
    ) -> tuple[dict[str, tuple[str, ...]], list[str]]:
        """The parsed input of a call, and what is missing from it (empty: nothing).

        An empty inner element counts as absent. Without tags, `{"text": (text,)}`. `episode` completes short forms.
        """
        if not self.tags:
            body = text.strip()
            if not body and episode is not None and "text" in self.handles:
                (body,) = self.handles["text"](episode)
            return {"text": (body,)}, [] if body else ["the input text"]
        inputs: dict[str, tuple[str, ...]] = {}
        missing: list[str] = []
        for tag, least in self.tags.items():
            inputs[tag] = tuple(e for e in elements(text, tag) if e)
            if not inputs[tag] and episode is not None and tag in self.handles:
                inputs[tag] = self.handles[tag](episode)
            if len(inputs[tag]) < least:
                element = f"<{tag}>…</{tag}>"
                missing.append(element if least == 1 else f"{element} ({least} needed, {len(inputs[tag])} given)")
        return inputs, missing


Run = Callable[[OperatorSpec, Inputs, CallContext, Services], Awaitable[OperatorResult]]
"""Execution of a call whose input is complete. Must not raise for a failing service."""

"""Every text that a policy or the operator LLM reads, by what it is: instructions, warnings, requests, observations.

python -m tests.unit.env.policy_texts      # record their hashes again, after a deliberate change of wording
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from harness.env.fault_injection import FAULTS, FaultInjector, FaultPlan
from harness.env.interfaces import ActionInterface, CodeInterface, NaturalInterface
from harness.env.prompts.perturbations import PERTURBATIONS, Perturbed, problem_of
from harness.env.prompts.system import standard_prompt, system_prompt
from harness.operators import CALLABLE, OPERATORS, POOLS, CallContext, LLMRequest, LLMResponse, Style, Toolbox
from harness.operators.formatting import FAILURE_TEXT, failure_text
from harness.protocol import GRAMMARS, parse_turn, with_failure
from harness.types import ParseFailure
from tests.support.small_world import KNOWLEDGE, LANDS, ONE_HOP, TOWNS, TWO_HOP, retriever, toolbox

RECORDED = Path(__file__).with_name("policy_texts.json")
STYLES: tuple[Style, ...] = ("compact", "full")
VALUES = {"question": "{q}", "query": "{q}", "task": "{q}", "instruction": "Answer in one word."}
FURTHER = {"solution": ("Capital8", "Capital7"), "feedback": ("The solution is wrong.", "Doubtful.")}


def texts() -> dict[str, str]:
    """What it is → the text, or the texts of many questions one after another."""
    return dict([*_instructions(), *_warnings(), *_requests(), *_observations(), *_faults()])


def hashes() -> dict[str, str]:
    """As `texts`, by SHA-256 (16 hex digits)."""
    return {key: hashlib.sha256(text.encode()).hexdigest()[:16] for key, text in sorted(texts().items())}


def _interfaces(style: Style) -> tuple[ActionInterface, ...]:
    compact = style == "compact"
    grammars = [NaturalInterface(grammar, compact) for grammar in GRAMMARS.values() if grammar.name != "xml_code"]
    return (*grammars, CodeInterface(compact=compact))


def _name(interface: ActionInterface) -> str:
    return f"{interface.name}-{interface.grammar.name}"


def _instructions() -> Iterator[tuple[str, str]]:
    for style in STYLES:
        for interface in _interfaces(style):
            for pool in POOLS:
                yield f"instruction/{pool}/{style}/{_name(interface)}", system_prompt(pool, style, interface)
            for name in PERTURBATIONS:
                bases = [standard_prompt(pool, style, interface) for pool in POOLS]
                shown = [
                    "\n".join(Perturbed(base, (name,), seed).messages(TWO_HOP[7]))
                    for base in bases
                    if problem_of((name,), base) is None
                    for seed in range(5)
                ]
                yield f"perturbed/{name}/{style}/{_name(interface)}", "\n\n".join(shown)


def _warnings() -> Iterator[tuple[str, str]]:
    malformed = parse_turn("", CALLABLE)
    for style in STYLES:
        for interface in _interfaces(style):
            shown = [interface.warning(with_failure(malformed, failure)) for failure in ParseFailure]
            yield f"warning/{style}/{_name(interface)}", "\n".join(shown)
    unknown = [_call(toolbox(pool=pool), name, "x") for pool in POOLS for name in ("Serch", "WarningOp", "x" * 60)]
    yield "warning/unknown operator", "\n".join(unknown)
    for name in CALLABLE:
        yield f"warning/failed/{name}", "\n".join(failure_text(name, f) for f in FAILURE_TEXT)
        yield f"warning/incomplete/{name}", "\n".join(_call(toolbox(), name, text) for text in _incomplete(name))


def _incomplete(name: str) -> list[str]:
    tags = list(OPERATORS[name].tags)
    return ["", *(f"<{tag}>x</{tag}>" for tag in tags), "".join(f"<{tag}>x</{tag}>" for tag in tags[1:])]


def _requests() -> Iterator[tuple[str, str]]:
    for name in CALLABLE:
        if OPERATORS[name].needs_llm:
            silent = _Silent([])
            _call(Toolbox([name], silent), name, operator_input(name, 7))
            shown = json.dumps([[r.messages, r.required_tags, r.temperature, r.max_tokens] for r in silent.requests])
            yield f"request/{name}", shown


class _Silent:
    """An operator LLM that leaves out every required tag but the last, so that it is reminded of them."""

    def __init__(self, requests: list[LLMRequest]) -> None:
        self.requests = requests

    async def complete(self, request: LLMRequest) -> LLMResponse:
        self.requests.append(request)
        return LLMResponse(f"<{request.required_tags[-1]}></{request.required_tags[-1]}>")


def operator_input(name: str, i: int) -> str:
    """The input of an operator about question `i`: whole, with as many elements as it needs."""
    tags, question = OPERATORS[name].tags, (ONE_HOP if i % 3 else TWO_HOP)[i].text
    if not tags:
        return question if OPERATORS[name].needs_llm else f"{LANDS[i]} {TOWNS[i]}"
    given = {tag: (form.replace("{q}", question),) for tag, form in VALUES.items()} | FURTHER
    return "".join(
        f"<{tag}>{given[tag][(i + n) % len(given[tag])]}</{tag}>" for tag, least in tags.items() for n in range(least)
    )


def _observations() -> Iterator[tuple[str, str]]:
    for style in STYLES:
        box = toolbox(style=style)
        for name in CALLABLE:
            shown = [_call(box, name, operator_input(name, i), i) for i in range(0, 200, 3)]
            yield f"observation/{name}/{style}", "\n\n".join(shown)


def _faults() -> Iterator[tuple[str, str]]:
    for style in STYLES:
        for kind in FAULTS:
            for name in FAULTS[kind].operators:
                plan = FaultPlan((kind,), 1.0, seed=3)
                box = FaultInjector(toolbox(style=style), plan, KNOWLEDGE, LANDS)
                shown = [_call(box, name, operator_input(name, i), i) for i in range(0, 100, 3)]
                yield f"fault/{kind}/{name}/{style}", "\n\n".join(shown)


def _call(box: Toolbox | FaultInjector, name: str, text: str, i: int = 7) -> str:
    asked = (ONE_HOP if i % 3 else TWO_HOP)[i]
    return asyncio.run(box.call(name, text, CallContext(asked, i, i % 4))).text


if __name__ == "__main__":
    retriever()
    RECORDED.write_text(json.dumps(hashes(), indent=0) + "\n", encoding="utf-8")

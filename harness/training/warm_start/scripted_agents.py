"""Scripted agents: competent, lazy, credulous and hasty episodes on questions whose plan is known.

The initial policies imitate them. A script is a generator: it yields the text of a turn and is sent the text of
the observation. `ScriptedEngine` speaks these texts through the ordinary rollout, so that scripted episodes meet the
real operators, parser and reward. A good initial policy reads well and *decides* badly: skill comes from `search`, and
the mixture makes bad decisions common, which leaves room for RL to improve.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.engines.base import Generation, GenerationRequest, SamplingParams
from harness.env.interfaces import ActionInterface
from harness.env.prompts.chat import ChatFormat
from harness.operators import OPERATORS
from harness.operators.specs import answer_generate, multi_answer_generate, review, revise, sc_ensemble, search
from harness.protocol import Grammar, parse_turn
from harness.tasks.world import RELATIONS, load_world
from harness.types import Question, Step

Script = Generator[str, str, None]
Strategy = Callable[[Question, Sequence[str], np.random.Generator], Script]
NounOf = Mapping[str, str]

_SEARCH, _EXPERT, _REVIEW, _REVISE = search.SPEC, answer_generate.SPEC, review.SPEC, revise.SPEC
_SAMPLES, _CHOICE = multi_answer_generate.SPEC, sc_ensemble.SPEC


def turn(think: str, *, tool: str | None = None, answer: str | None = None) -> str:
    """A well-formed turn."""
    action = f"<tool>{tool}</tool>" if tool is not None else f"<answer>{answer}</answer>"
    return f"<think>{think}</think>{action}"


@dataclass(frozen=True, slots=True)
class Scripts:
    """Strategies over plans. `nouns` names each relation as passages do; `guess` is what a lazy agent answers."""

    nouns: NounOf
    guess: Callable[[Question, np.random.Generator], str]

    def search(
        self, question: Question, pool: Sequence[str], rng: np.random.Generator, hops: int | None = None
    ) -> Script:
        """One search a hop, each value read in the passage found; another query if it is not there, then the expert.

        `hops` stops early: the answer is then the value of the last hop looked up.
        """
        steps = question.plan[:hops]
        value = ""
        known = ""
        for _i, step in enumerate(steps):
            noun = self.nouns.get(step.relation, step.relation)
            seen = yield turn(f"{known}Find {noun} of {step.subject}.", tool=_SEARCH.call(f"{step.subject} {noun}"))
            if step.value not in seen:
                query = _SEARCH.call(f"{noun} {step.subject}")
                seen = yield turn(f"Not found. Find {noun} of {step.subject}.", tool=query)
            if step.value not in seen and _EXPERT.name in pool:
                asked = question.text if len(question.plan) == 1 else f"{noun} of {step.subject}"
                seen = yield turn("Not found. Ask.", tool=_EXPERT.call(asked))
                value = (
                    seen.removeprefix("<info>").removesuffix("</info>").removeprefix("Answer: ").strip() or "unknown"
                )
                known = f"{noun} of {step.subject} is {value}. "
                if value != step.value:
                    break
            else:
                value = step.value
                known = f"{noun} of {step.subject} is {value}. "
        if hops is None and _compares(question.plan):
            facts = ", ".join(f"{s.subject} {s.value}" for s in steps)
            yield turn(f"{facts}. Done.", answer=question.answers[0])
        else:
            yield turn(f"{known}Done.", answer=value)

    def hasty(self, question: Question, pool: Sequence[str], rng: np.random.Generator) -> Script:
        """Stop a hop early."""
        return self.search(question, pool, rng, hops=max(1, len(question.plan) - 1))

    def lazy(self, question: Question, pool: Sequence[str], rng: np.random.Generator) -> Script:
        """Answer at once from memory."""
        yield turn("I know.", answer=self.guess(question, rng))

    def credulous(self, question: Question, pool: Sequence[str], rng: np.random.Generator) -> Script:
        """Accept the expert's answer."""
        if _EXPERT.name not in pool:
            yield from self.lazy(question, pool, rng)
            return
        seen = yield turn("Ask.", tool=_EXPERT.call(question.text))
        said = _answer_in(seen)
        yield turn(f"Answer is {said}. Done.", answer=said)

    def careful(self, question: Question, pool: Sequence[str], rng: np.random.Generator) -> Script:
        """Have the expert's answer reviewed; search or revise when it is rejected."""
        if _REVIEW.name not in pool or _EXPERT.name not in pool:
            yield from self.credulous(question, pool, rng)
            return
        seen = yield turn("Ask, then check.", tool=_EXPERT.call(question.text))
        said = _answer_in(seen)
        verdict = yield turn(
            f"Answer is {said}. Check.",
            tool=_REVIEW.call(question=question.text, solution=said),
        )
        if not _doubtful(verdict):
            yield turn(f"Answer is {said}. Done.", answer=said)
        elif _REVISE.name in pool and (_SEARCH.name not in pool or rng.random() < 0.4):
            feedback = verdict.removeprefix("<info>").removesuffix("</info>").removeprefix("Feedback: ").strip()
            seen = yield turn(
                "Wrong. Revise.",
                tool=_REVISE.call(question=question.text, solution=said, feedback=feedback),
            )
            said = _answer_in(seen)
            yield turn(f"Answer is {said}. Done.", answer=said)
        else:
            yield from self.search(question, pool, rng)

    def voting(self, question: Question, pool: Sequence[str], rng: np.random.Generator) -> Script:
        """Three answers, then the ensemble's choice."""
        if _SAMPLES.name not in pool or _CHOICE.name not in pool:
            yield from self.credulous(question, pool, rng)
            return
        seen = yield turn("Ask thrice.", tool=_SAMPLES.call(question.text))
        said = [part.split("]", 1)[-1].strip() for part in seen.replace("</info>", "").split("[Answer")[1:]]
        if len(said) < 2:
            yield from self.credulous(question, pool, rng)
            return
        seen = yield turn("Choose.", tool=_CHOICE.call(query=question.text, solution=said))
        chosen = _answer_in(seen)
        yield turn(f"Answer is {chosen}. Done.", answer=chosen)

    @property
    def strategies(self) -> dict[str, Strategy]:
        return {
            "search": self.search,
            "hasty": self.hasty,
            "lazy": self.lazy,
            "credulous": self.credulous,
            "careful": self.careful,
            "voting": self.voting,
        }


STRATEGIES = {"lazy": 0.34, "credulous": 0.24, "search": 0.20, "hasty": 0.10, "careful": 0.08, "voting": 0.04}
"""Shares of the strategies in what the initial policy imitates last: mostly bad decisions."""


def world_scripts() -> Scripts:
    """Strategies for the offline world's questions. A guess is right one time in four."""
    facts = load_world().facts

    def guess(question: Question, rng: np.random.Generator) -> str:
        step = question.plan[-1]
        wrong = facts.wrong(step.subject, step.relation)
        return question.answers[0] if not wrong or rng.random() < 0.25 else wrong[int(rng.integers(len(wrong)))]

    return Scripts({k: r.noun for k, r in RELATIONS.items()}, guess)


def imitated(question: Question, pool: Sequence[str], titles: Mapping[str, str], rng: np.random.Generator) -> Script:
    """The script that a warm start imitates: a strategy drawn by `STRATEGIES` where the question's plan is known, else
    `look_up`."""
    if not question.plan:
        return look_up(question, titles)
    names, shares = zip(*STRATEGIES.items(), strict=True)
    chosen = names[int(rng.choice(len(names), p=shares))]
    return world_scripts().strategies[chosen](question, pool, rng)


def look_up(question: Question, titles: Mapping[str, str]) -> Script:
    """A real question without a plan: search for it, then for each supporting title until an answer is in sight.

    `titles` maps the ids of supporting passages to their titles. The gold answer is given at the end in any case:
    what is imitated is the protocol and the looking up, and short answers in the benchmark's form.
    """
    gold = question.answers[0]
    seen = yield turn("I should look this up.", tool=_SEARCH.call(question.text))
    for title in dict.fromkeys(titles[i] for i in question.supporting):
        if gold.lower() in seen.lower():
            break
        seen = yield turn(f"Not there yet. I need to know about {title}.", tool=_SEARCH.call(title))
    yield turn(f"The answer is {gold}.", answer=gold)


def _compares(plan: Sequence[Step]) -> bool:
    """Whether the hops stand side by side (a comparison) instead of one feeding the next."""
    return len(plan) > 1 and plan[0].value != plan[1].subject


def _answer_in(observation: str) -> str:
    body = observation.removeprefix("<info>").removesuffix("</info>")
    return body.rsplit("Answer:", 1)[-1].strip() or "unknown"


def _doubtful(verdict: str) -> bool:
    return any(word in verdict.lower() for word in ("wrong", "incorrect", "doubt", "not "))


def spoken(script: Script, interface: ActionInterface) -> Script:
    """The script in another interface or syntax: the same thoughts, calls and answers, its turns spelt by `interface`.

    Scripts themselves are in the natural interface's XML, and read observations in it. An operator's input becomes a
    function's arguments where turns are programs.
    """
    names = [*OPERATORS]
    text = next(script, None)
    while text is not None:
        parsed = parse_turn(text, names)
        if parsed.action is None or parsed.think is None:  # a warning (such as of a turn too long) taken for an answer
            yield interface.answer("Done.", "unknown")
            return
        think = text[parsed.think.start : parsed.think.end].removeprefix("<think>").removesuffix("</think>")
        action = parsed.action
        if action.operator is None:
            seen = yield interface.answer(think, action.text)
        else:
            seen = yield interface.turn(think, f"{action.operator}: {action.text}")
        try:
            text = script.send(f"<info>{_unwrapped(seen, interface.grammar)}</info>")
        except StopIteration:
            return


def _unwrapped(seen: str, grammar: Grammar) -> str:
    """The text of an observation; the inverse of `wrap_info`, for the one text that is at hand."""
    start, _, end = grammar.wrap_info("\0").partition(json.dumps("\0")[1:-1] if grammar.name == "json" else "\0")
    inner = seen.removeprefix(start).removesuffix(end)
    return str(json.loads(f'"{inner}"', strict=False)) if grammar.name == "json" else inner


def malformed(script: Script, rate: float, rng: np.random.Generator) -> Script:
    """The script with a share `rate` of its turns malformed: think left out, a tag unclosed, or the order reversed."""
    text = next(script, None)
    while text is not None:
        if rng.random() < rate:
            proper = text
            think, _, action = text.partition("</think>")
            if not action:  # no XML: half of it is wrong in every syntax
                action, think = text[len(text) // 2 :], text[: len(text) // 2]
            text = (action, think + action, f"{action}{think}</think>")[int(rng.integers(3))]
            seen = yield text
            # the environment warned instead of acting: repeat the turn well-formed
            seen = yield proper
        else:
            seen = yield text
        try:
            text = script.send(seen)
        except StopIteration:
            return


_OPENS, _CLOSES = "user\n", "\nassistant\n"
"""What stands around an observation in the chat format, special tokens left out."""


class ScriptedEngine:
    """Inference engine that plays scripts: sequence i follows `scripts[i]`. Log-probs are 0 (probability one)."""

    def __init__(self, chat: ChatFormat, scripts: Sequence[Script]) -> None:
        self._chat, self._scripts = chat, scripts
        self._read: dict[int, int] = {}

    def sleep(self) -> None: ...

    def load_weights(self, model: object) -> None:
        """A script has no weights."""

    def release(self, sequence_ids: Sequence[int]) -> None:
        for sid in sequence_ids:
            self._read.pop(sid, None)

    def generate(self, requests: Sequence[GenerationRequest], params: SamplingParams) -> list[Generation]:
        return [self._speak(r, params) for r in requests]

    def _speak(self, request: GenerationRequest, params: SamplingParams) -> Generation:
        script, start = self._scripts[request.sequence_id], self._read.get(request.sequence_id)
        if start is None:
            text: str = next(script)
        else:
            message = self._chat.tokenizer.decode(request.context[start:], skip_special_tokens=True)
            begin, end = message.index(_OPENS) + len(_OPENS), message.rindex(_CLOSES)
            try:
                text = script.send(message[begin:end])
            except StopIteration:  # a malformed last turn was refused and the script is at its end
                text = turn("Done.", answer="unknown")
        tokens = self._chat.turn(text)[: min(request.max_tokens, params.max_tokens)]
        self._read[request.sequence_id] = len(request.context) + len(tokens)
        return Generation(tokens, (0.0,) * len(tokens), tokens[-1] == params.stop_token)

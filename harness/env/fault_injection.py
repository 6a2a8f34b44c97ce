"""Fault injection: operator results changed by plan, each episode with a fault-free counterpart (its twin).

Invariant: whether and how a call is faulted depends on (plan, question, call index, the call's own true result) alone,
and the true call is always made first. So an episode and its twin (equal plan, injection disabled, equal sampling
seeds) are identical up to the first fault. The policy sees the changed text only; `OperatorResult.fault` keeps the
true one. Forks of a state (`CallContext.forked`) are no twins: their faults depend on the sampling seed too.

A kind of fault is one function and its line in `FAULTS`, which names the roles of operators that it strikes. The
policy's response is read by `harness.env.fault_detection`, its effect estimated by `analysis.self_correction`, and
`python -m harness.evaluation.fault_demo` shows an episode beside its twin.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.env.doubt import rejects
from harness.env.environment_settings import FaultScope
from harness.operators import ANSWERING, Role, spelling_hint, with_role
from harness.operators.base import CallContext, pick, uniform
from harness.operators.formatting import failure_text
from harness.operators.llm.knowledge_base import KnowledgeBase, KnownFact, words
from harness.operators.toolbox import Caller
from harness.types import Fault, OperatorFailure, OperatorResult

_HIT = re.compile(r"\[\d+\] ")
_ANSWER = re.compile(r"(Answer: |\[Answer \d+\] )(?!Thought: )([^\n\[]+)")
MIN_CUT_CHARS = 12  # a shorter text is not cut: nothing would be left to read


@dataclass(frozen=True, slots=True)
class FaultPlan(FaultScope):
    """Which calls are faulted, and how.

    Each call at one of `positions` (call indices; None: all) is faulted with probability `rate` by one of `kinds` that
    applies to its result. `enabled=False` is the twin. Raises ValueError for an unknown kind, none, or a bad rate.
    """

    rate: float
    seed: int = 0
    enabled: bool = True

    def __post_init__(self) -> None:
        if not self.kinds:
            raise ValueError(f"a fault plan needs at least one kind ({', '.join(FAULTS)})")
        for kind in self.kinds:
            if kind not in FAULTS:
                raise ValueError(
                    f"unknown fault kind {kind!r}{spelling_hint(kind, list(FAULTS))} (kinds: {', '.join(FAULTS)})"
                )
        if not 0.0 <= self.rate <= 1.0:
            raise ValueError(f"fault rate must be in [0, 1], not {self.rate!r}")
        if self.positions is not None and (not self.positions or min(self.positions) < 0):
            raise ValueError(f"fault positions must be call indices from 0, not {self.positions!r}")

    def twin(self) -> FaultPlan:
        """The same plan without injection."""
        return replace(self, enabled=False)


@dataclass(frozen=True, slots=True)
class _Scene:
    """Input of a fault: the call, its true result, and sources of plausible wrong content."""

    caller: Caller
    text: str
    result: OperatorResult
    context: CallContext
    knowledge: KnowledgeBase | None
    decoys: Sequence[str]
    keys: tuple[object, ...]

    def facts(self) -> list[KnownFact]:
        """Facts the call may be about: what its text asks, then the question's hops, the last first."""
        plan = [
            (self.knowledge and self.knowledge.fact(s.subject, s.relation))
            or KnownFact(s.subject, s.relation, (s.value,))
            for s in reversed(self.context.question.plan)
        ]
        asked = self.knowledge.read(self.text) if self.knowledge else ()
        return [*reversed(asked), *plan]

    def wrong_for(self, value: str) -> str | None:
        """A plausible wrong value in place of `value`: never a gold answer, never `value` itself."""
        facts = self.facts()
        about = next((f for f in facts if words(value) in {words(v) for v in f.values}), facts[0] if facts else None)
        right = (value, *self.context.question.answers, *(about.values if about else ()))
        banned = {words(v) for v in right}
        for source in (about.wrong if about else (), self.decoys):
            options = [v for v in source if words(v) not in banned]
            if options:
                return pick(options, "value", *self.keys)
        return None


Apply = Callable[[_Scene], Awaitable[OperatorResult | None]]


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """A kind of fault, the roles of operators it strikes, and its effect (None: does not apply to this result)."""

    summary: str
    roles: frozenset[Role]
    apply: Apply

    @property
    def operators(self) -> tuple[str, ...]:
        """Names of the operators it strikes."""
        return with_role(self.roles)


async def _wrong_passage(scene: _Scene) -> OperatorResult | None:
    """The result of a search for a decoy: of a few, the first that reveals no true value."""
    values = [v for f in scene.facts() for v in f.values] + list(scene.context.question.answers)
    for attempt in range(4):
        query = pick(scene.decoys, "decoy", attempt, *scene.keys)
        other = await scene.caller.call(scene.result.operator, query, scene.context)
        if other.failure is None and not any(v in other.text for v in values):
            return replace(scene.result, text=other.text)
    return None


async def _empty_result(scene: _Scene) -> OperatorResult | None:
    return replace(scene.result, text="No results.", failure=OperatorFailure.EMPTY)


def _stale_hit(scene: _Scene) -> tuple[list[str], int, str] | None:
    """(hits, index of the best hit that states a hop of the question, that hit with a wrong value in it)."""
    text = scene.result.text
    starts = [m.start() for m in _HIT.finditer(text)]
    hits = [text[a:b].rstrip() for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]
    for i, hit in enumerate(hits):
        title, _, body = _HIT.sub("", hit, count=1).partition(":")
        for step in scene.context.question.plan:
            value = re.compile(rf"(?<!\w){re.escape(step.value)}(?!\w)")
            # The value's own passage states other facts: changing its name there would be another fault.
            if step.subject in hit and step.value not in title and value.search(body):
                wrong = scene.wrong_for(step.value)
                if wrong is None:
                    return None
                return hits, i, hit[: len(hit) - len(body)] + wrong.join(value.split(body))
    return None


def _join_hits(scene: _Scene, hits: Sequence[str]) -> OperatorResult:
    separator = "\n" if "\n" in scene.result.text else " "
    text = separator.join(_HIT.sub(f"[{n}] ", hit, count=1) for n, hit in enumerate(hits, 1))
    return replace(scene.result, text=text)


async def _stale_fact(scene: _Scene) -> OperatorResult | None:
    found = _stale_hit(scene)
    if found is None:
        return None
    hits, i, changed = found
    return _join_hits(scene, [*hits[:i], changed, *hits[i + 1 :]])


async def _contradicting_fact(scene: _Scene) -> OperatorResult | None:
    """The changed copy comes first, the true passage second; the worst hits give way."""
    found = _stale_hit(scene)
    if found is None:
        return None
    hits, i, changed = found
    return _join_hits(scene, [changed, hits[i], *hits[:i], *hits[i + 1 :]][: max(2, len(hits))])


async def _timeout(scene: _Scene) -> OperatorResult | None:
    text = failure_text(scene.result.operator, OperatorFailure.TIMEOUT)
    return replace(scene.result, text=text, failure=OperatorFailure.TIMEOUT)


async def _truncated_text(scene: _Scene) -> OperatorResult | None:
    length = len(scene.result.text)
    if length < MIN_CUT_CHARS:
        return None
    kept = int(length * (0.2 + 0.4 * uniform("cut", *scene.keys)))
    return replace(scene.result, text=scene.result.text[:kept])


async def _wrong_verdict(scene: _Scene) -> OperatorResult | None:
    if rejects(scene.result.text):
        return replace(scene.result, text="Feedback: The solution is correct.")
    hint = next((f" Check the {f.relation.replace('_', ' ')} of {f.subject}." for f in scene.facts()), "")
    return replace(scene.result, text=f"Feedback: The solution is wrong.{hint}")


async def _missing_review(scene: _Scene) -> OperatorResult | None:
    return replace(scene.result, text=f"{scene.result.operator} gave no feedback.", failure=OperatorFailure.EMPTY)


async def _corrupted_answer(scene: _Scene) -> OperatorResult | None:
    """Another answer in place of the given one; with several candidates, in place of one of them."""
    matches = list(_ANSWER.finditer(scene.result.text))
    if not matches:
        return None
    match = pick(matches, "candidate", *scene.keys)
    wrong = scene.wrong_for(match[2].strip())
    if wrong is None:
        return None
    tail = match[2][len(match[2].rstrip()) :]
    text = scene.result.text
    return replace(scene.result, text=text[: match.start(2)] + wrong + tail + text[match.end(2) :])


_SEARCH, _REVIEW = frozenset({Role.RETRIEVES}), frozenset({Role.REVIEWS})
_ANY = frozenset(Role) - {Role.WARNS}

FAULTS: Mapping[str, FaultSpec] = {
    "wrong_passage": FaultSpec("search finds passages about something else", _SEARCH, _wrong_passage),
    "empty_result": FaultSpec("search finds nothing", _SEARCH, _empty_result),
    "stale_fact": FaultSpec("a passage states a wrong value", _SEARCH, _stale_fact),
    "contradicting_fact": FaultSpec("a further passage contradicts the true one", _SEARCH, _contradicting_fact),
    "timeout": FaultSpec("the operator does not answer in time", _ANY, _timeout),
    "truncated_text": FaultSpec("the result breaks off", _ANY, _truncated_text),
    "wrong_verdict": FaultSpec("a review calls right wrong, or wrong right", _REVIEW, _wrong_verdict),
    "missing_review": FaultSpec("a review returns no feedback", _REVIEW, _missing_review),
    "corrupted_answer": FaultSpec("a candidate answer is replaced by a wrong one", ANSWERING, _corrupted_answer),
}


class FaultInjector:
    """A Caller that calls `caller` and then, by `plan`, changes the result.

    `knowledge` gives plausible wrong values, `decoys` (names, such as passage titles) what to search for instead and
    wrong values where nothing is known. Raises ValueError if `wrong_passage` is planned without decoys.
    """

    def __init__(
        self, caller: Caller, plan: FaultPlan, knowledge: KnowledgeBase | None = None, decoys: Sequence[str] = ()
    ) -> None:
        if "wrong_passage" in plan.kinds and not decoys:
            raise ValueError("fault kind wrong_passage needs decoys to search for")
        self._caller = caller
        self.plan = plan
        self._knowledge = knowledge
        self._decoys = decoys

    @property
    def pool(self) -> tuple[str, ...]:
        return self._caller.pool

    async def call(self, name: str, text: str, context: CallContext) -> OperatorResult:
        result = await self._caller.call(name, text, context)
        if result.failure is not None or not self._strikes(context):
            return result
        keys = self._keys(context)
        kinds = [kind for kind in self.plan.kinds if name in FAULTS[kind].operators]
        # In a random order, so that a kind that does not apply here leaves its place to another.
        for kind in sorted(kinds, key=lambda k: uniform("kind", k, *keys)):
            scene = _Scene(self._caller, text, result, context, self._knowledge, self._decoys, (kind, *keys))
            faulted = await FAULTS[kind].apply(scene)
            if faulted is not None and faulted.text != result.text:
                return replace(faulted, fault=Fault(kind, context.call_index, result.text))
        return result

    def _strikes(self, context: CallContext) -> bool:
        plan = self.plan
        if not plan.enabled or (plan.positions is not None and context.call_index not in plan.positions):
            return False
        return uniform("fault", *self._keys(context)) < plan.rate

    def _keys(self, context: CallContext) -> tuple[object, ...]:
        keys = (self.plan.seed, context.question.id, context.call_index)
        return (*keys, context.seed) if context.forked else keys

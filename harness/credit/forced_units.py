"""Forced units, do(unit): what another move would have been worth at states where the policy itself reviews.

At each such state (an occasion) a script's turns are taken in place of the policy's next one, then the policy goes on.
Every script is paired with the policy's own continuation: fork m of both has one seed, so that they share the draws of
the operators that they both call. The scripts use the policy's own words of its review: its thought, its solution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.stats.cluster import cluster_mean_interval
from analysis.stats.types import Estimate
from harness.credit.values import FORKS_AT_ONCE, ForkSettings, fork_seeds
from harness.engines.base import Engine
from harness.env.doubt import rejects
from harness.env.fault_detection import asks, think_text
from harness.env.interfaces import ActionInterface
from harness.env.rollout import Environment, act, resume
from harness.env.states import State
from harness.operators import OPERATORS, Role, with_role
from harness.operators.base import elements
from harness.protocol import exact_match
from harness.types import Trajectory, Turn

OWN, OMIT, PLACEBO = "own", "omit", "placebo"
OMIT_TRIES = 8
"""Draws of a turn that is no review, after which a fork has no such turn."""


@dataclass(frozen=True, slots=True)
class Occasion:
    """A state at which the policy's own next turn reviewed `solution`: its thought, and the review's whole input.

    `right` is whether that solution would be scored as right. `searched` is the last query before it, if any.
    """

    state: State
    think: str
    call: str
    solution: str
    right: bool
    searched: str | None


@dataclass(frozen=True, slots=True)
class ForcedReturns:
    """Returns of an occasion's forks by move, `OWN` and those forced, paired by fork: rewards and EM, float64 [M].

    NaN where the policy gave no turn without a review (`OMIT`).
    """

    occasion: Occasion
    rewards: Mapping[str, np.ndarray]
    em: Mapping[str, np.ndarray]

    def effect(self, move: str) -> float:
        """Mean reward of a move less that of the policy's own continuation; NaN where no fork has both."""
        paired = self.rewards[move] - self.rewards[OWN]
        return float(np.nanmean(paired)) if not np.isnan(paired).all() else float("nan")


Script = Callable[[Occasion, Sequence[Turn], ActionInterface], str | None]
"""The next scripted turn, given those taken so far with what they returned; None where the policy goes on."""


def _review(occasion: Occasion, taken: Sequence[Turn], interface: ActionInterface) -> str | None:
    return None if taken else interface.turn(occasion.think, occasion.call)


def _revise_if_doubted(occasion: Occasion, taken: Sequence[Turn], interface: ActionInterface) -> str | None:
    if len(taken) != 1:
        return _review(occasion, taken, interface)
    result = taken[0].result
    if result is None or result.failure is not None or not rejects(result.text):
        return None
    (revise, *_) = with_role({Role.REVISES})
    question, feedback = occasion.state.question.text, result.text.removeprefix("Feedback:").strip()
    call = OPERATORS[revise].call(question=question, solution=occasion.solution, feedback=feedback)
    return interface.turn(occasion.think, call)


def _search_again(occasion: Occasion, taken: Sequence[Turn], interface: ActionInterface) -> str | None:
    (search, *_) = with_role({Role.RETRIEVES})
    query = occasion.searched or occasion.state.question.text
    return None if taken else interface.turn(occasion.think, OPERATORS[search].call(query))


def _answer(occasion: Occasion, taken: Sequence[Turn], interface: ActionInterface) -> str | None:
    return None if taken else interface.answer(occasion.think, f" {occasion.solution}")


def _one_turn(text: str) -> Script:
    return lambda occasion, taken, interface: None if taken else text


FORCED_SCRIPTS: Mapping[str, Script] = {
    "review": _review,
    "review_revise": _revise_if_doubted,
    "search_again": _search_again,
    "answer": _answer,
}
"""Scripted moves. Beside them: `OMIT`, the policy's own next turn given that it is no review, and `PLACEBO`, its own
next turn of another draw, taken as a script, whose effect is 0."""


def review_occasions(environment: Environment, episodes: Sequence[Trajectory]) -> list[Occasion]:
    """Every state of `episodes` at which the policy reviewed a solution; equal states and solutions once."""
    found: dict[tuple[str, str], Occasion] = {}
    for episode in episodes:
        for k, turn in enumerate(episode.turns):
            review = next((ask for ask in asks(turn) if ask.role is Role.REVIEWS), None)
            solutions = elements(review.text, "solution") if review is not None else ()
            if review is None or not solutions:
                continue
            state, solution = State.of(episode, k), solutions[0]
            right = _is_right(environment, state, solution)
            call = f"{review.operator}: {review.text}"
            found.setdefault(
                (state.key, solution), Occasion(state, think_text(turn), call, solution, right, _last_search(state))
            )
    return list(found.values())


def _is_right(environment: Environment, state: State, solution: str) -> bool:
    if environment.is_right is not None:
        return environment.is_right(solution, state.question)
    return bool(exact_match(solution, state.question.answers))


def _last_search(state: State) -> str | None:
    made = [ask.text for turn in state.turns for ask in asks(turn) if ask.role is Role.RETRIEVES]
    return made[-1] if made else None


def forced_returns(
    engine: Engine,
    environment: Environment,
    occasions: Sequence[Occasion],
    moves: Sequence[str],
    settings: ForkSettings,
) -> list[ForcedReturns]:
    """Returns of `settings.forks` forks of each occasion by each move and by the policy's own continuation.

    Moves are names of `FORCED_SCRIPTS`, `OMIT` and `PLACEBO`. Raises KeyError for another one.
    """
    seeds = [fork_seeds(settings.seed, o.state.key, settings.forks) for o in occasions]
    ends: list[dict[str, list[Trajectory | None]]] = [{} for _ in occasions]
    pairs = [(i, seed) for i, own in enumerate(seeds) for seed in own]
    for start in range(0, len(pairs), FORKS_AT_ONCE):
        part = [(occasions[i], seed) for i, seed in pairs[start : start + FORKS_AT_ONCE]]
        play = _Forks(engine, environment, part, settings.temperature)
        own = play.own()
        played: dict[str, Sequence[Trajectory | None]] = {OWN: own}
        for move in moves:
            if move == OMIT:
                played[move] = play.without_review(own)
            else:
                script = play.placebo() if move == PLACEBO else [FORCED_SCRIPTS[move]] * len(part)
                played[move] = play.scripted(script)
        for move, found in played.items():
            for (i, _), end in zip(pairs[start : start + FORKS_AT_ONCE], found, strict=True):
                ends[i].setdefault(move, []).append(end)
    return [
        ForcedReturns(
            occasion,
            {m: np.array([np.nan if e is None else e.reward.total for e in each]) for m, each in of.items()},
            {m: np.array([np.nan if e is None else e.reward.em for e in each]) for m, each in of.items()},
        )
        for occasion, of in zip(occasions, ends, strict=True)
    ]


@dataclass(frozen=True)
class _Forks:
    """Forks of occasions, each with its seed, played together."""

    engine: Engine
    environment: Environment
    forks: Sequence[tuple[Occasion, int]]
    temperature: float

    def own(self, shift: int = 0, which: Sequence[int] | None = None) -> list[Trajectory]:
        """The policy's own continuations, of all forks or `which`; `shift` gives each another draw."""
        chosen = [self.forks[i] for i in (range(len(self.forks)) if which is None else which)]
        states, seeds = [o.state for o, _ in chosen], [_shifted(seed, shift) for _, seed in chosen]
        return resume(self.engine, self.environment, states, seeds, self.temperature, forked=True)

    def without_review(self, own: Sequence[Trajectory]) -> list[Trajectory | None]:
        """The first continuation of each fork whose next turn is no review; the own one where it has none."""
        found: list[Trajectory | None] = [None if self._reviews(i, end) else end for i, end in enumerate(own)]
        for attempt in range(1, OMIT_TRIES):
            missing = [i for i, end in enumerate(found) if end is None]
            for i, end in zip(missing, self.own(attempt, missing) if missing else [], strict=True):
                found[i] = None if self._reviews(i, end) else end
        return found

    def _reviews(self, fork: int, end: Trajectory) -> bool:
        turn = end.turns[len(self.forks[fork][0].state.turns)]
        return any(ask.role is Role.REVIEWS for ask in asks(turn))

    def placebo(self) -> list[Script]:
        """Scripts of one turn: the policy's own of another draw."""
        ends = self.own(OMIT_TRIES)
        texts = [e.turns[len(o.state.turns)].parsed.text for e, (o, _) in zip(ends, self.forks, strict=True)]
        return [_one_turn(text) for text in texts]

    def scripted(self, scripts: Sequence[Script]) -> list[Trajectory]:
        """Take each fork's script to its end, then continue by the policy."""
        now: list[State | Trajectory] = [occasion.state for occasion, _ in self.forks]
        waiting = list(range(len(now)))
        while waiting:
            texts = {i: self._next(i, now[i], scripts[i]) for i in waiting}
            going = {i: text for i, text in texts.items() if text is not None}
            states, seeds = [now[i] for i in going], [self.forks[i][1] for i in going]
            taken = act(self.environment, _states(states), list(going.values()), seeds, forked=True)
            for i, after in zip(going, taken, strict=True):
                now[i] = after
            waiting = [i for i in going if isinstance(now[i], State)]
        left = [i for i, each in enumerate(now) if isinstance(each, State)]
        rest = resume(
            self.engine,
            self.environment,
            _states([now[i] for i in left]),
            [self.forks[i][1] for i in left],
            self.temperature,
            forked=True,
        )
        ends = dict(zip(left, rest, strict=True))
        return [ends[i] if isinstance(each, State) else each for i, each in enumerate(now)]

    def _next(self, fork: int, now: State | Trajectory, script: Script) -> str | None:
        occasion = self.forks[fork][0]
        return script(occasion, now.turns[len(occasion.state.turns) :], self.environment.interface)


def forced_effects(returns: Sequence[ForcedReturns], move: str, level: float = 0.95) -> dict[str, Estimate]:
    """Effect of a move on the reward, with an interval over questions, each of which counts alike: over `all` occasions
    and where the policy's own solution is `wrong` or `right`. Those with fewer than two questions are left out.
    """
    effects: dict[str, Estimate] = {}
    for name, kept in (("all", (False, True)), ("wrong", (False,)), ("right", (True,))):
        chosen = [(r.occasion.state.question.id, r.effect(move)) for r in returns if r.occasion.right in kept]
        chosen = [(question, effect) for question, effect in chosen if not math.isnan(effect)]
        if len({question for question, _ in chosen}) > 1:
            questions, values = zip(*chosen, strict=True)
            effects[name] = cluster_mean_interval(values, questions, level)
    return effects


def _states(found: Sequence[State | Trajectory]) -> list[State]:
    return [state for state in found if isinstance(state, State)]


def _shifted(seed: int, shift: int) -> int:
    """Another seed below 2^56 for each shift, the same one for shift 0."""
    return (
        seed
        if not shift
        else int(np.random.SeedSequence([seed, shift]).generate_state(1, np.uint64)[0] >> np.uint64(8))
    )

"""Episodes: all of a batch advance together, turn by turn, policy and operators in alternation.

Tokens the policy samples enter the trajectory as they are. Text is decoded from them once, to be parsed; an operator's
result is encoded once and appended as observation tokens. The environment's text is never parsed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from harness.distributed.collective import ALONE, Collective, reunite, share
from harness.engines.base import Engine, Generation, GenerationRequest, SamplingParams
from harness.env.environment_settings import Budgets
from harness.env.interfaces.base import ActionInterface, Execution, Session
from harness.env.prompts.chat import ChatFormat
from harness.operators.base import CallContext, PastCall
from harness.operators.registry import OPERATORS
from harness.operators.specs.warning import warning
from harness.operators.toolbox import Caller
from harness.protocol import RewardWeights, action_start_char, episode_failures, episode_reward
from harness.types import ActionKind, Group, OperatorResult, ParsedTurn, Question, StopReason, Trajectory, Turn


@dataclass(frozen=True, slots=True)
class Environment:
    """Everything outside the policy: instructions, operators, limits, reward, and how the policy acts.

    `reworded` gives a question's (system, user) messages where `system_prompt` and the question are not used as they
    are. `is_right` scores an answer to a question in place of exact match.
    """

    system_prompt: str
    chat: ChatFormat
    operators: Caller
    budgets: Budgets
    reward: RewardWeights
    interface: ActionInterface
    reworded: Callable[[Question], tuple[str, str]] | None = None
    is_right: Callable[[str, Question], bool] | None = None

    def prompt(self, question: Question) -> tuple[int, ...]:
        """Tokens of an episode's opening."""
        system, user = (self.system_prompt, question.text) if self.reworded is None else self.reworded(question)
        return self.chat.prompt(system, user)


@dataclass(slots=True)
class _Episode:
    """An episode in progress. `context` is every token so far; `sampled` the response's length in tokens."""

    index: int
    question: Question
    seed: int
    prompt: tuple[int, ...]
    context: list[int]
    session: Session
    turns: list[Turn] = field(default_factory=list)
    calls: int = 0
    earlier: list[PastCall] = field(default_factory=list)
    stop: StopReason | None = None

    def response_tokens(self) -> int:
        return len(self.context) - len(self.prompt)


def rollout(
    engine: Engine,
    environment: Environment,
    questions: Sequence[Question],
    seeds: Sequence[int],
    temperature: float,
    watch: Callable[[int, Turn], None] | None = None,
) -> list[Trajectory]:
    """One episode for each (question, seed) pair, in order. Equal pairs give equal episodes, whatever the batch.

    `temperature` 0 is greedy. The same question may occur many times: its prompt is read once. `watch` gets every
    turn as it ends, with the episode's index.
    """
    episodes = []
    signatures = [OPERATORS[name] for name in environment.operators.pool]
    for i, (question, seed) in enumerate(zip(questions, seeds, strict=True)):
        prompt = environment.prompt(question)
        episodes.append(_Episode(i, question, seed, prompt, list(prompt), environment.interface.start(signatures)))
    asyncio.run(_play(engine, environment, episodes, temperature, watch))
    engine.release([e.index for e in episodes])
    return [_trajectory(e, environment) for e in episodes]


def rollout_groups(
    engine: Engine,
    environment: Environment,
    questions: Sequence[Question],
    group_size: int,
    seed: Sequence[int],
    temperature: float,
    workers: Collective = ALONE,
) -> list[Group]:
    """`group_size` episodes of each question, each with a random stream of its own, all derived from `seed`.

    Each of several `workers` plays its share of the groups and is given them all; who plays changes no stream.
    """
    states = np.random.SeedSequence(list(seed)).generate_state(len(questions) * group_size, np.uint64)
    seeds = np.array([int(s >> np.uint64(8)) for s in states]).reshape(len(questions), group_size)
    mine = share(workers, range(len(questions)))
    repeated = [questions[i] for i in mine for _ in range(group_size)]
    played = rollout(engine, environment, repeated, [int(s) for i in mine for s in seeds[i]], temperature)
    groups = [Group(questions[i], tuple(played[n * group_size : (n + 1) * group_size])) for n, i in enumerate(mine)]
    return reunite(workers, groups)


async def _play(
    engine: Engine,
    environment: Environment,
    episodes: Sequence[_Episode],
    temperature: float,
    watch: Callable[[int, Turn], None] | None,
) -> None:
    budgets = environment.budgets
    chat = environment.chat
    text = chat.text if budgets.stop else None
    params = SamplingParams(temperature, budgets.max_turn_tokens, chat.end_of_turn, budgets.stop, text)
    while active := [e for e in episodes if e.stop is None]:
        requests = [
            GenerationRequest(
                e.index,
                e.context,
                seed=e.seed * 64 + len(e.turns),  # one stream a turn: a turn's draws do not depend on earlier lengths
                max_tokens=min(budgets.max_turn_tokens, budgets.max_response_tokens - e.response_tokens()),
            )
            for e in active
        ]
        start = time.perf_counter()
        generations = engine.generate(requests, params)
        seconds = time.perf_counter() - start
        await asyncio.gather(
            *(_take_turn(e, g, environment, seconds) for e, g in zip(active, generations, strict=True))
        )
        if watch is not None:
            for e in active:
                watch(e.index, e.turns[-1])


async def _take_turn(episode: _Episode, generation: Generation, environment: Environment, generate_s: float) -> None:
    """Parse the sampled turn, execute it, and leave the episode stopped or ready for its next turn."""
    chat, budgets = environment.chat, environment.budgets
    text = chat.text(generation.tokens)
    parsed = environment.interface.parse(text, environment.operators.pool, truncated=not generation.stopped)
    start = time.perf_counter()
    execution = await _act(episode, parsed, environment)
    operate_s = time.perf_counter() - start
    parsed, result = execution.parsed, execution.result
    episode.context += generation.tokens
    observation: tuple[int, ...] = ()
    if result is None:
        episode.stop = StopReason.ANSWERED
    elif len(episode.turns) + 1 >= budgets.max_turns:
        episode.stop = StopReason.TURN_BUDGET
    else:
        # a warning names the tags of the permitted forms; an operator's result must not forge any
        shown = environment.interface.observation(result.text, trusted=parsed.action is None)
        # after a stop string the end-of-turn token is missing: it is context, never a token of the policy
        observation = chat.observation(shown, turn_ended=generation.tokens[-1] == chat.end_of_turn)
        if episode.response_tokens() + len(observation) >= budgets.max_response_tokens:
            episode.stop, observation = StopReason.TOKEN_BUDGET, ()
    episode.turns.append(
        Turn(
            generation.tokens,
            generation.logprobs,
            parsed,
            chat.token_at(generation.tokens, action_start_char(parsed)),
            observation,
            result,
            generate_s,
            operate_s,
            execution.calls if parsed.action is not None and parsed.action.kind is ActionKind.CODE else (),
        )
    )
    episode.context += observation


async def _act(episode: _Episode, parsed: ParsedTurn, environment: Environment) -> Execution:
    """Execute the turn, its calls counted; a turn without an executable action is warned."""
    if parsed.action is None:
        return Execution(parsed, warning(environment.interface.warning(parsed)))

    async def call(name: str, text: str) -> OperatorResult:
        context = CallContext(episode.question, episode.seed, episode.calls, tuple(episode.earlier))
        episode.calls += 1
        result = await environment.operators.call(name, text, context)
        if name in OPERATORS:
            episode.earlier.append(PastCall(OPERATORS[name].role, text, result))
        return result

    return await episode.session.execute(parsed, call, environment.budgets.max_calls - episode.calls)


def _trajectory(episode: _Episode, environment: Environment) -> Trajectory:
    assert episode.stop is not None
    parsed, question = [t.parsed for t in episode.turns], episode.question
    score = environment.is_right
    is_right = None if score is None else lambda answer: score(answer, question)
    return Trajectory(
        question,
        episode.prompt,
        tuple(episode.turns),
        episode.stop,
        episode_reward(
            parsed, episode.stop, question.answers, environment.reward, question.suite, is_right, episode.calls
        ),
        episode_failures(parsed, episode.stop),
        episode.seed,
    )

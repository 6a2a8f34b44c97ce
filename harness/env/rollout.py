"""Episodes: all of a batch advance together, turn by turn, policy and operators in alternation.

Tokens the policy samples enter the trajectory as they are. Text is decoded from them once, to be parsed; an operator's
result is encoded once and appended as observation tokens. The environment's text is never parsed.

An episode is played from a state (`harness.env.states`); `rollout` begins with the empty one. A state resumed with the
seed of its own episode gives that episode: the same tokens, draws and reward, log-probs up to rounding (another batch
sums in another order). With other seeds it gives forks of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from harness.engines.base import Engine, Generation, GenerationRequest, SamplingParams
from harness.env.environment_settings import Budgets
from harness.env.interfaces.base import ActionInterface, Execution, Session
from harness.env.prompts.chat import ChatFormat
from harness.env.states import RecordedCalls, State, recorded_calls
from harness.operators.base import CallContext, PastCall
from harness.operators.registry import OPERATORS
from harness.operators.specs.warning import warning
from harness.operators.toolbox import Caller
from harness.protocol import RewardWeights, action_start_char, episode_failures, episode_reward
from harness.types import ActionKind, OperatorResult, ParsedTurn, Question, StopReason, Trajectory, Turn


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

    def opening(self, question: Question) -> State:
        """The state in which an episode begins."""
        return State(question, self.prompt(question))


@dataclass(slots=True)
class _Episode:
    """An episode in progress. `context` is every token so far; `forked` as in `resume`."""

    index: int
    question: Question
    seed: int
    prompt: tuple[int, ...]
    context: list[int]
    session: Session
    forked: bool
    turns: list[Turn] = field(default_factory=list)
    calls: int = 0
    earlier: list[PastCall] = field(default_factory=list)
    stop: StopReason | None = None

    def response_tokens(self) -> int:
        return len(self.context) - len(self.prompt)

    def room(self, budgets: Budgets) -> int:
        """Tokens that the next turn may take."""
        return min(budgets.max_turn_tokens, budgets.max_response_tokens - self.response_tokens())


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
    return resume(engine, environment, [environment.opening(q) for q in questions], seeds, temperature, watch)


def resume(
    engine: Engine,
    environment: Environment,
    states: Sequence[State],
    seeds: Sequence[int],
    temperature: float,
    watch: Callable[[int, Turn], None] | None = None,
    *,
    forked: bool = False,
) -> list[Trajectory]:
    """One episode for each (state, seed) pair, in order, continued from the state to its end.

    The seed draws the further turns and results; those of the state stay. `forked`: it also draws the further faults,
    which otherwise depend on the question and the index of the call alone, so that all forks of a state would meet
    the same ones.

    Raises:
        ValueError: if a program of a state prints or calls something else when replayed.
    """

    async def play() -> list[_Episode]:
        episodes = await _begin(environment, states, seeds, forked)
        await _play(engine, environment, episodes, temperature, watch)
        return episodes

    episodes = asyncio.run(play())
    engine.release([e.index for e in episodes])
    return [_trajectory(e, environment) for e in episodes]


def act(
    environment: Environment,
    states: Sequence[State],
    texts: Sequence[str],
    seeds: Sequence[int],
    *,
    forked: bool = False,
) -> list[State | Trajectory]:
    """Take one scripted turn a state: the state it leads to, or the episode where it ends it.

    The turn is executed like a sampled one, cut at the same limits, its results drawn by the seed (`forked`, and what
    is raised, as in `resume`). Its log-probs are 0: nothing was sampled.
    """

    async def take(episode: _Episode, text: str) -> State | Trajectory:
        tokens = environment.chat.turn(text)[: episode.room(environment.budgets)]
        turn = Generation(tokens, (0.0,) * len(tokens), tokens[-1] == environment.chat.end_of_turn)
        await _take_turn(episode, turn, environment, 0.0)
        if episode.stop is None:
            return State(episode.question, episode.prompt, tuple(episode.turns))
        return _trajectory(episode, environment)

    async def take_all() -> list[State | Trajectory]:
        episodes = await _begin(environment, states, seeds, forked)
        return await asyncio.gather(*(take(e, text) for e, text in zip(episodes, texts, strict=True)))

    return asyncio.run(take_all())


async def _begin(
    environment: Environment, states: Sequence[State], seeds: Sequence[int], forked: bool
) -> list[_Episode]:
    """Episodes that have come to `states`."""
    signatures = [OPERATORS[name] for name in environment.operators.pool]
    episodes = []
    for i, (state, seed) in enumerate(zip(states, seeds, strict=True)):
        session, prompt = environment.interface.start(signatures), state.prompt_tokens
        episodes.append(_Episode(i, state.question, seed, prompt, list(prompt), session, forked))
    await asyncio.gather(*(_replay(e, environment, s.turns) for e, s in zip(episodes, states, strict=True)))
    return episodes


async def _replay(episode: _Episode, environment: Environment, turns: Sequence[Turn]) -> None:
    """Bring an episode to where `turns` left it: its session, its calls and what operators may look back on."""
    for turn in turns:
        if turn.parsed.action is not None:
            recorded = RecordedCalls(environment.operators.pool, recorded_calls(turn))
            again = (await _act(episode, turn.parsed, replace(environment, operators=recorded))).result
            same = again is not None and turn.result is not None and again.text == turn.result.text
            if not same or len(recorded.made) != len(recorded.results):
                where = f"turn {len(episode.turns)} of question {episode.question.id!r}"
                raise ValueError(f"{where} has another result when it is replayed")
        episode.turns.append(turn)
        episode.context += (*turn.tokens, *turn.observation_tokens)


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
                max_tokens=e.room(budgets),
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
        context = CallContext(
            episode.question, episode.seed, episode.calls, tuple(episode.earlier), forked=episode.forked
        )
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

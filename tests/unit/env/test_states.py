"""States: an episode continued from any of its turns, by its own seed or another, or by a scripted turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.env.rollout import act, resume, rollout
from harness.env.states import State
from harness.types import ParseFailure, Trajectory
from tests.support.drawn_turns import QUESTION, TURNS, DrawnTurns, faulted_environment
from tests.support.examples import examples
from tests.support.small_world import TWO_HOP

INTERFACES = ("natural", "code")


def play(interface: str, seeds: Sequence[int], turns: Sequence[str] | None = None) -> list[Trajectory]:
    engine = DrawnTurns(turns or TURNS[interface])
    asked = [TWO_HOP[7 + seed % 12] for seed in seeds]  # of other questions other calls are faulted
    return rollout(engine, faulted_environment(interface), asked, seeds, 1.0)


@cache
def episodes(interface: str) -> tuple[Trajectory, ...]:
    return tuple(play(interface, range(120)))


def states(episode: Trajectory) -> list[State]:
    return [State.of(episode, k) for k in range(len(episode.turns))]


@pytest.mark.parametrize("interface", INTERFACES)
def test_the_episodes_of_these_tests_meet_all_that_a_state_must_restore(interface: str) -> None:
    turns = [t for e in episodes(interface) for t in e.turns[:-1]]
    assert {f.kind for t in turns for f in t.faults} >= {"timeout", "wrong_verdict", "corrupted_answer"}
    assert any(f.value == "over_budget" for t in turns for f in t.parsed.failures)


@pytest.mark.parametrize("interface", INTERFACES)
@settings(max_examples=examples(30))
@given(seed=st.integers(0, 2**56 - 1))
def test_a_state_resumed_with_its_own_seed_gives_the_episode_at_every_turn(interface: str, seed: int) -> None:
    (episode,) = play(interface, [seed])
    again = resume(
        DrawnTurns(TURNS[interface]), faulted_environment(interface), states(episode), [seed] * len(episode.turns), 1.0
    )
    assert again == [episode] * len(episode.turns)


@pytest.mark.parametrize("interface", INTERFACES)
def test_an_episode_acted_out_turn_by_turn_is_the_episode(interface: str) -> None:
    environment = faulted_environment(interface)
    for episode in episodes(interface):
        made = act(
            environment,
            states(episode),
            [t.parsed.text for t in episode.turns],
            [episode.sample_seed] * len(episode.turns),
        )
        scripted = tuple(replace(t, logprobs=(0.0,) * len(t.tokens)) for t in episode.turns)
        for k, (outcome, turn) in enumerate(zip(made, scripted, strict=True)):
            assert outcome.turns == (*episode.turns[:k], turn)
        (end,) = (m for m in made if isinstance(m, Trajectory))
        assert (end.reward, end.stop, end.failures) == (episode.reward, episode.stop, episode.failures)
        assert end is made[-1]


def test_a_scripted_turn_is_cut_like_a_sampled_one() -> None:
    environment = faulted_environment("natural", max_turn_tokens=20)
    (cut,) = act(environment, [environment.opening(QUESTION)], ["<think>" + "so " * 50], [0])
    assert len(cut.turns[0].tokens) == 20
    assert ParseFailure.TRUNCATED_TURN in cut.turns[0].parsed.failures


@pytest.mark.parametrize("interface", INTERFACES)
def test_forks_draw_their_own_turns_results_and_faults(interface: str) -> None:
    environment = faulted_environment(interface)
    call = environment.interface.turn("so", f"MultiAnswerGenerate: {QUESTION.text}")
    start = environment.opening(QUESTION)
    for forked in (True, False):
        taken = act(environment, [start] * 30, [call] * 30, range(30), forked=forked)
        faults = [s.turns[0].faults for s in taken]
        assert (len({tuple(f.kind for f in each) for each in faults}) > 1) is forked
        drawn = {each[0].true_text if each else s.turns[0].result for each, s in zip(faults, taken, strict=True)}
        assert len(drawn) > 1
    engine = DrawnTurns(TURNS[interface])
    resume(engine, environment, [start] * 3, [5, 6, 7], 1.0, forked=True)
    assert engine.seeds[:3] == [5 * 64, 6 * 64, 7 * 64]
    later = DrawnTurns(TURNS[interface])
    resume(later, environment, [s for s in taken if isinstance(s, State)][:3], [5, 6, 7], 1.0, forked=True)
    assert later.seeds[:3] == [5 * 64 + 1, 6 * 64 + 1, 7 * 64 + 1]  # a turn's stream is its own


def test_equal_keys_are_equal_futures() -> None:
    """States are merged across episodes; every fork of one is a fork of the other."""
    of_key: dict[str, list[State]] = {}
    for interface in INTERFACES:
        of_key.clear()
        for episode in episodes(interface):
            for state in states(episode):
                of_key.setdefault(state.key, []).append(state)
        merged = [group for group in of_key.values() if len(group) > 1 and group[0].turns]
        assert merged
        for group in merged:
            forks = resume(
                DrawnTurns(TURNS[interface]), faulted_environment(interface), group, [99] * len(group), 1.0, forked=True
            )
            futures = {(f.stop, f.reward, f.turns[len(group[0].turns) :]) for f in forks}
            assert len(futures) == 1


def test_a_key_tells_apart_what_a_program_kept_without_printing_it() -> None:
    environment = faulted_environment("code", rate=0.0)
    kept = [TURNS["code"][1]] * 20
    seen = act(environment, [environment.opening(QUESTION)] * 20, kept, range(20))
    assert len({s.context for s in seen}) == 1  # type: ignore[union-attr]
    shown = act(environment, seen, [TURNS["code"][4]] * 20, [0] * 20)  # type: ignore[arg-type]
    by_key = {s.key: t.turns[1].result for s, t in zip(seen, shown, strict=True)}  # type: ignore[union-attr]
    assert len(by_key) == len({s.turns[0].program_calls[0].text for s in seen}) > 1
    assert all(by_key[s.key] == t.turns[1].result for s, t in zip(seen, shown, strict=True))  # type: ignore[union-attr]


def test_a_key_tells_apart_the_verdicts_that_one_faulted_review_hid() -> None:
    environment = faulted_environment("natural", rate=1.0)
    review = TURNS["natural"][3]
    reviews = act(environment, [environment.opening(QUESTION)] * 40, [review] * 40, range(40), forked=True)
    hidden: dict[tuple[int, ...], set[tuple[str, str]]] = {}
    for state in reviews:
        (fault,) = state.turns[0].faults
        hidden.setdefault(state.context, set()).add((fault.true_text, state.key))  # type: ignore[union-attr]
    alike = [both for both in hidden.values() if len({true for true, _ in both}) > 1]
    assert alike
    assert all(len({key for _, key in both}) == len({true for true, _ in both}) for both in alike)


def test_there_is_no_state_after_the_end_nor_before_the_beginning() -> None:
    episode = episodes("natural")[0]
    for turns in (-1, len(episode.turns)):
        with pytest.raises(ValueError, match="no state before turn"):
            State.of(episode, turns)
    with pytest.raises(ValueError, match="ended with turn"):
        State(episode.question, episode.prompt_tokens, episode.turns)


def test_a_program_that_replays_otherwise_is_refused() -> None:
    episode = next(e for e in episodes("code") if len(e.turns) > 1 and e.turns[0].program_calls)
    turn = episode.turns[0]
    assert turn.result is not None
    start = State.of(episode, 1)
    for changed in (replace(turn, program_calls=()), replace(turn, result=replace(turn.result, text="else"))):
        with pytest.raises(ValueError, match=r"turn 0 of question 'two[0-9]+' has another result"):
            act(faulted_environment("code"), [replace(start, turns=(changed,))], ["x"], [0])

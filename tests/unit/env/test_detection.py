"""Detection, acceptance and recovery read in hand-written, hand-labelled episodes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.env.diagnostics import Loop, loops
from harness.env.doubt import doubts
from harness.env.fault_detection import Response, Signal, content_words, read_faults, same_need, signals_after
from harness.operators.registry import CALLABLE
from harness.protocol import PUBLISHED_REWARD, episode_failures, episode_reward, parse_turn
from harness.types import Fault, OperatorFailure, OperatorResult, Question, StopReason, Trajectory, Turn

QUESTION = Question("q", "What is the capital of the country where Bongor is?", ("N'Djamena",), "suite", 2)
DETECTED, ACCEPTED, UNAFFECTED = Response.DETECTED, Response.ACCEPTED, Response.UNAFFECTED


@dataclass(frozen=True)
class Read:
    """What an operator gave back; with `true`, by a fault of kind `fault`."""

    text: str
    fault: str | None = None
    true: str = ""
    failure: OperatorFailure | None = None


def episode(*said_and_read: str | Read) -> Trajectory:
    """Turns in order: what the policy wrote (think | action), each followed by what it read unless it is the last."""
    turns: list[Turn] = []
    parsed_turns = []
    items = list(said_and_read)
    while items:
        said = items.pop(0)
        assert isinstance(said, str)
        think, _, action = said.partition(" | ")
        kind = "answer" if action.startswith("= ") else "tool"
        text = f"<think>{think}</think><{kind}>{action.removeprefix('= ')}</{kind}>"
        read = items.pop(0) if items and isinstance(items[0], Read) else None
        parsed = parse_turn(text, CALLABLE)
        parsed_turns.append(parsed)
        result = None
        if read is not None:
            fault = Fault(read.fault, len(turns), read.true) if read.fault else None
            operator = parsed.action.operator if parsed.action else "WarningOp"
            result = OperatorResult(operator or "", read.text, read.failure, fault=fault)
        observed = (9,) if read is not None and items else ()
        turns.append(Turn((1, 2), (-0.1, -0.1), parsed, 1, observed, result))
    stop = StopReason.ANSWERED if turns[-1].result is None else StopReason.TURN_BUDGET
    reward = episode_reward(parsed_turns, stop, QUESTION.answers, PUBLISHED_REWARD)
    return Trajectory(QUESTION, (5,), tuple(turns), stop, reward, episode_failures(parsed_turns, stop))


TOWN = "[1] Bongor: Bongor is a city. Country: Chad."
CHAD = "[1] Chad: Chad is a country. Capital: N'Djamena."
STALE_TOWN = Read("[1] Bongor: Bongor is a city. Country: Niger.", "stale_fact", TOWN)
STALE_CHAD = Read("[1] Chad: Chad is a country. Capital: Niamey.", "stale_fact", CHAD)
LOST = Read("[1] Lima: Lima is a city. Country: Peru.", "wrong_passage", CHAD)
EMPTY = Read("No results.", "empty_result", CHAD, OperatorFailure.EMPTY)
TIMEOUT = Read("Search did not answer in time.", "timeout", CHAD, OperatorFailure.TIMEOUT)
CUT = Read("[1] Chad: Chad is a", "truncated_text", CHAD)
CLASH = Read("[1] Chad: Chad is a country. Capital: Niamey. [2] " + CHAD[4:], "contradicting_fact", CHAD)
BAD_ANSWER = Read("Answer: Niamey", "corrupted_answer", "Answer: N'Djamena")
APPROVED = Read("Feedback: The solution is correct.", "wrong_verdict", "Feedback: The solution is wrong.")
REJECTED = Read("Feedback: The solution is wrong.", "wrong_verdict", "Feedback: The solution is correct.")
NO_REVIEW = Read(
    "Review gave no feedback.", "missing_review", "Feedback: The solution is wrong.", OperatorFailure.EMPTY
)
FIRST = "Find it. | Search: Bongor country"
SECOND = "Chad. | Search: Chad capital"
RIGHT, WRONG = "Done. | = N'Djamena", "Done. | = Niamey"
ASK = f"Ask. | AnswerGenerate: {QUESTION.text}"


def review(solution: str, think: str = "Check.") -> str:
    return f"{think} | Review: <question>{QUESTION.text}</question><solution>{solution}</solution>"


def revise(solution: str, think: str = "Wrong. Revise.") -> str:
    return (
        f"{think} | Revise: <question>{QUESTION.text}</question><solution>{solution}</solution>"
        "<feedback>The solution is wrong.</feedback>"
    )


# name → (episode, response, signals in order, turns to recovery)
LABELLED: dict[str, tuple[Trajectory, Response | None, Sequence[Signal], int | None]] = {
    "stale hop followed blindly to a wrong end": (
        episode(FIRST, STALE_TOWN, "Niger. | Search: Niger capital", Read("[1] Niger: Capital: Niamey."), WRONG),
        ACCEPTED, [], None),
    "stale hop, but the policy knew better": (
        episode(FIRST, STALE_TOWN, SECOND, Read(CHAD), RIGHT), UNAFFECTED, [], 2),
    "stale last hop answered": (episode(FIRST, Read(TOWN), SECOND, STALE_CHAD, WRONG), ACCEPTED, [], None),
    "stale last hop doubted and asked elsewhere": (
        episode(FIRST, Read(TOWN), SECOND, STALE_CHAD, "Unlikely. | AnswerGenerate: capital of Chad",
                Read("Answer: N'Djamena"), RIGHT),
        DETECTED, [Signal.DOUBT, Signal.OTHER_OPERATOR], 2),
    "stale last hop doubted, yet answered": (
        episode(FIRST, Read(TOWN), SECOND, STALE_CHAD, "Niamey is in Niger, that is a contradiction. | = Niamey"),
        DETECTED, [Signal.DOUBT], None),
    "asked elsewhere without a word": (
        episode(SECOND, STALE_CHAD, "So. | AnswerGenerate: What is the capital of Chad?",
                Read("Answer: N'Djamena"), RIGHT),
        DETECTED, [Signal.OTHER_OPERATOR], 2),
    "wrong passages, query reworded": (
        episode(SECOND, LOST, "Hm. | Search: capital city of Chad", Read(CHAD), RIGHT),
        DETECTED, [Signal.CHANGED_QUERY], 2),
    "wrong passages, doubted, reworded": (
        episode(SECOND, LOST, "This is not about Chad. | Search: Republic of Chad capital", Read(CHAD), RIGHT),
        DETECTED, [Signal.DOUBT, Signal.CHANGED_QUERY], 2),
    "wrong passages, their content answered": (episode(SECOND, LOST, "Peru. | = Lima"), ACCEPTED, [], None),
    "wrong passages, answered from memory": (episode(SECOND, LOST, RIGHT), UNAFFECTED, [], 1),
    "wrong passages, another hop instead": (
        episode(FIRST, Read("[1] Lima: Lima is a city.", "wrong_passage", TOWN), SECOND, Read(CHAD), RIGHT),
        UNAFFECTED, [], 2),
    "no result, same query again": (
        episode(SECOND, EMPTY, "Hm. | Search: Chad capital", Read(CHAD), RIGHT), DETECTED, [Signal.RETRY], 2),
    "no result, answered": (episode(SECOND, EMPTY, WRONG), ACCEPTED, [], None),
    "no result, noticed": (
        episode(SECOND, EMPTY, "Not found. Find Capital of Chad. | Search: Capital Chad", Read(CHAD), RIGHT),
        DETECTED, [Signal.DOUBT, Signal.CHANGED_QUERY], 2),
    "no result, on with another thing": (
        episode(FIRST, Read("No results.", "empty_result", TOWN, OperatorFailure.EMPTY), SECOND, Read(CHAD), RIGHT),
        UNAFFECTED, [], 2),
    "time-out, named": (
        episode(SECOND, TIMEOUT, "The search timed out. | Search: Chad capital", Read(CHAD), RIGHT),
        DETECTED, [Signal.DOUBT, Signal.RETRY], 2),
    "time-out, answered at once": (episode(SECOND, TIMEOUT, WRONG), ACCEPTED, [], None),
    "broken off, query refined": (
        episode(SECOND, CUT, "So. | Search: Chad capital city name", Read(CHAD), RIGHT),
        DETECTED, [Signal.CHANGED_QUERY], 2),
    "broken off, answered": (episode(SECOND, CUT, RIGHT), ACCEPTED, [], 1),
    "contradiction, the wrong one believed": (episode(SECOND, CLASH, WRONG), ACCEPTED, [], None),
    "contradiction, the right one believed": (episode(SECOND, CLASH, RIGHT), UNAFFECTED, [], 1),
    "contradiction, named": (
        episode(SECOND, CLASH, "The passages contradict each other. | = N'Djamena"), DETECTED, [Signal.DOUBT], 1),
    "bad answer believed": (episode(ASK, BAD_ANSWER, WRONG), ACCEPTED, [], None),
    "bad answer reviewed": (
        episode(ASK, BAD_ANSWER, review("Niamey"), Read("Feedback: The solution is wrong."), revise("Niamey"),
                Read("Answer: N'Djamena"), RIGHT),
        DETECTED, [Signal.REVIEW, Signal.DOUBT, Signal.REVIEW], 3),
    "bad answer checked by search": (
        episode(ASK, BAD_ANSWER, "Look. | Search: Bongor country", Read(TOWN), SECOND, Read(CHAD), RIGHT),
        DETECTED, [Signal.OTHER_OPERATOR], 3),
    "bad answer, no doubt about it": (
        episode(ASK, BAD_ANSWER, "There is no doubt. | = Niamey"), ACCEPTED, [], None),
    "approval believed": (
        episode(ASK, Read("Answer: Niamey"), review("Niamey"), APPROVED, WRONG), ACCEPTED, [], None),
    "approval doubted": (
        episode(ASK, Read("Answer: Niamey"), review("Niamey"), APPROVED, "I disagree with the review. | = N'Djamena"),
        DETECTED, [Signal.DOUBT], 1),
    "approval checked by search": (
        episode(ASK, Read("Answer: Niamey"), review("Niamey"), APPROVED, "Look. | Search: Bongor country capital",
                Read(TOWN), RIGHT),
        DETECTED, [Signal.OTHER_OPERATOR], 2),
    "rejection carried out": (
        episode(ASK, Read("Answer: N'Djamena"), review("N'Djamena"), REJECTED, revise("N'Djamena"),
                Read("Answer: Niamey"), WRONG),
        ACCEPTED, [], None),
    "rejection followed by a search that saves it": (
        episode(ASK, Read("Answer: N'Djamena"), review("N'Djamena"), REJECTED, "Wrong. | Search: Bongor country",
                Read(TOWN), RIGHT),
        ACCEPTED, [], 2),
    "rejection withstood": (
        episode(ASK, Read("Answer: N'Djamena"), review("N'Djamena"), REJECTED, RIGHT), UNAFFECTED, [], 1),
    "rejection reviewed again": (
        episode(ASK, Read("Answer: N'Djamena"), review("N'Djamena"), REJECTED, review("N'Djamena", "Hm."),
                Read("Feedback: The solution is correct."), RIGHT),
        DETECTED, [Signal.RETRY], 2),
    "review missing, answered all the same": (
        episode(ASK, Read("Answer: Niamey"), review("Niamey"), NO_REVIEW, WRONG), ACCEPTED, [], None),
    "review missing, asked for again": (
        episode(ASK, Read("Answer: Niamey"), review("Niamey"), NO_REVIEW, review("Niamey", "No feedback."),
                Read("Feedback: The solution is wrong."), RIGHT),
        DETECTED, [Signal.DOUBT, Signal.RETRY], 2),
    "noticed only two turns later": (
        episode(FIRST, STALE_TOWN, "Niger. | Search: Niger capital", Read("[1] Niger: Capital: Niamey."),
                "Bongor in Niger? I doubt it. | Search: Bongor", Read(TOWN), RIGHT),
        DETECTED, [Signal.DOUBT, Signal.CHANGED_QUERY], 3),
    "never read: the episode was over": (episode(FIRST, Read(TOWN), SECOND, STALE_CHAD), None, [], None),
}  # fmt: skip


@pytest.mark.parametrize("name", LABELLED)
def test_the_labelled_episodes_are_read_as_labelled(name: str) -> None:
    trajectory, response, signals, turns = LABELLED[name]
    (reading,) = read_faults(trajectory)
    assert (reading.response, [s for _, s in reading.signals], reading.turns_to_recovery) == (
        response,
        list(signals),
        turns,
    )
    assert reading.exposed == (response is not None)
    assert reading.recovered == (turns is not None)


def test_the_labelled_set_covers_every_kind_response_and_signal() -> None:
    from harness.env.fault_injection import FAULTS

    readings = [read_faults(t)[0] for t, *_ in LABELLED.values()]
    assert len(readings) >= 25
    assert {r.kind for r in readings} == set(FAULTS)
    assert {r.response for r in readings} == {*Response, None}
    assert {s for r in readings for _, s in r.signals} == set(Signal)


def test_each_fault_of_an_episode_is_read_by_itself() -> None:
    trajectory = episode(
        FIRST, STALE_TOWN, "Not right. | Search: country Bongor", Read(TOWN), SECOND, STALE_CHAD, WRONG
    )
    readings = read_faults(trajectory)
    assert [(r.turn, r.response) for r in readings] == [(0, DETECTED), (2, ACCEPTED)]
    assert read_faults(episode(FIRST, Read(TOWN), RIGHT)) == ()


def test_the_window_bounds_how_late_a_signal_counts() -> None:
    trajectory = LABELLED["noticed only two turns later"][0]
    assert read_faults(trajectory, window=1)[0].response is ACCEPTED
    assert [later for later, _ in read_faults(trajectory, window=2)[0].signals] == [2, 2]
    with pytest.raises(ValueError, match="window"):
        read_faults(trajectory, window=0)


def test_signals_can_be_read_after_natural_failures_too() -> None:
    failed = Read("No results.", failure=OperatorFailure.EMPTY)
    trajectory = episode(SECOND, failed, "Nothing found. | Search: Republic of Chad capital", Read(CHAD), RIGHT)
    assert read_faults(trajectory) == ()
    assert signals_after(trajectory, 0) == ((1, Signal.DOUBT), (1, Signal.CHANGED_QUERY))


@pytest.mark.parametrize(
    "text",
    [
        "That is wrong.", "The passages do not mention Chad.", "This doesn't answer the question", "No results.",
        "Not found. Find",
        "The search failed", "It timed out", "time-out!", "I doubt that", "the text is cut off",
        "Let me try another search again", "Unlikely.", "Hm, wrong passage.", "The river is missing from the passages.",
        "Chad is not mentioned.", "That seems odd", "It is empty", "The search for Chad returned nothing useful",
        "There is a contradiction", "So this is wrong", "An empty result.", "The two passages disagree",
        "The first passage is about Niger, so it is unrelated", "I am not sure about this",
        "The tool failed to respond",
        "These are unrelated.", "I should verify this.", "This isn’t about Chad; not about it at all",
        "The result is incomplete",
    ],
)  # fmt: skip
def test_words_of_doubt(text: str) -> None:
    assert doubts(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "Find Capital of Chad.", "Capital of Chad is N'Djamena. Done.", "Ask, then check.", "There is no doubt.",
        "Nothing wrong with that.", "Without doubt Paris", "I know.", "Check.", "no contradiction",
        "Oddessa is in Ukraine.",
        "Against all odds", "There is no need to verify it.",
        # about the question's subject matter
        "The river is missing.", "Find the missing river.", "The king was wrong", "The conflict began in 1914.",
        "Find which country was in conflict with Chad", "His mistake cost him the race", "The film failed in 1920.",
        "The team failed to qualify", "Historians disagree about the date", "Wrong Turn is a film",
        "The director of Wrong Turn is Rob Schmidt", "His reign was cut short", "The passage says the king was wrong",
        "I need to find the missing river", "The error rate is 5", "Who contradicted Newton?", "A stale bread",
        "The war was a conflict between two states", "The answer is the Missing Link", "The Empty Quarter is a desert",
    ],
)  # fmt: skip
def test_words_that_are_no_doubt(text: str) -> None:
    assert not doubts(text)


DOUBTFUL = [
    "wrong",
    "missing",
    "empty",
    "incomplete",
    "incorrect",
    "odd",
    "unlikely",
    "unrelated",
    "outdated",
    "mistaken",
]


@given(
    st.sampled_from(["river", "king", "film", "treaty", "capital", "author", "team", "bridge", "war"]),
    st.sampled_from(["is", "was", "seems", "must be"]),
    st.sampled_from(DOUBTFUL),
)
def test_a_word_of_doubt_counts_of_what_was_read_and_of_nothing_else(thing: str, link: str, word: str) -> None:
    assert not doubts(f"The {thing} {link} {word}.")
    assert not doubts(f"Find the {word} {thing} of Chad.")
    assert doubts(f"The {thing} {link} {word} in this passage.")
    for read in ("The passage", "This result", "It", "That", "So the answer"):
        assert doubts(f"{read} {link} {word}.")
    assert doubts(f"{word.capitalize()}. Find the {thing}.")


@pytest.mark.parametrize("text", ["wrong ", "it is ", "results of a b c d ", "again no ", "search a b c "])
def test_reading_doubt_takes_time_in_proportion_to_the_text(text: str) -> None:
    started = time.perf_counter()
    doubts(text * 8000)
    assert time.perf_counter() - started < 10  # minutes where every match looks at everything before it


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Wrong. Revise.", False),
        ("The solution is wrong.", False),
        ("The review is wrong.", True),
        ("I disagree.", True),
        ("I still think it is Paris.", True),
        ("Ignore this feedback", True),
        ("The reviewer must be mistaken", True),
        ("The feedback says the capital is wrong.", False),
    ],
)
def test_doubt_of_a_review_is_not_its_verdict_repeated(text: str, expected: bool) -> None:
    assert doubts(text, of_review=True) == expected


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("Chad capital", "What is the capital of Chad?", True),
        ("Chad capital", "Chad population", False),
        ("Bongor country", "Chad capital", False),
        ("Bongor", "Where is Bongor?", True),
        ("the", "of", False),
        ("", "Chad", False),
        ("<question>capital of Chad</question><solution>x</solution>", "Chad capital", True),
    ],
)
def test_same_need(a: str, b: str, same: bool) -> None:
    assert same_need(a, b) == same_need(b, a) == same


def searches(*queries: str) -> Trajectory:
    items: list[str | Read] = []
    for query in queries:
        items += [f"Go. | Search: {query}", Read("x")]
    return episode(*items, RIGHT)


@pytest.mark.parametrize(
    ("queries", "expected"),
    [
        ("a b c", []),
        ("a a b", []),
        ("a a a", [Loop(0, 1, 3)]),
        ("a b a b a b", [Loop(0, 2, 3)]),
        ("x a b c a b c a b c y", [Loop(1, 3, 3)]),
        ("a a a a b b b", [Loop(0, 1, 4), Loop(4, 1, 3)]),
        ("a b a b a", []),
    ],
)
def test_loops(queries: str, expected: list[Loop]) -> None:
    assert list(loops(searches(*queries.split()))) == expected


def test_the_same_malformed_turn_again_and_again_is_a_loop() -> None:
    warned = Read("Every turn must be …")
    items: list[str | Read] = []
    for _ in range(3):
        items += ["Hm. | Serch", warned]
    assert [lo.repeats for lo in loops(episode(*items, RIGHT))] == [3]


@given(st.lists(st.sampled_from("abc"), max_size=14))
def test_loops_agree_with_brute_force(queries: list[str]) -> None:
    found = loops(searches(*queries))
    for loop in found:
        block = queries[loop.start : loop.start + loop.period]
        end = loop.start + loop.period * loop.repeats
        assert queries[loop.start : end] == block * loop.repeats
        assert loop.repeats >= 3
        assert queries[end : end + loop.period] != block
    assert all(b.start >= a.start + a.period * a.repeats for a, b in itertools.pairwise(found))
    repeats = any(
        queries[i : i + p] * 3 == queries[i : i + 3 * p]
        for p in (1, 2, 3)
        for i in range(len(queries))
        if len(queries[i : i + 3 * p]) == 3 * p
    )
    assert bool(found) == repeats


def test_content_words_leave_out_tags_and_function_words() -> None:
    assert content_words("<query>What is the capital of Chad?</query>") == {"capital", "chad"}

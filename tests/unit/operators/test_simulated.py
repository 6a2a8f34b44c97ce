"""The simulated LLM: measured rates against configured ones, determinism, plausibility."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

from harness.operators import CallContext, Role
from harness.operators.base import PastCall
from harness.operators.llm.simulated import UNKNOWN, SimulatedRates
from harness.operators.specs.review import CORRECT, WRONG
from harness.types import OperatorResult, Question
from tests.support.small_world import (
    CAPITALS,
    FACTS,
    KNOWLEDGE,
    LANDS,
    ONE_HOP,
    TOWNS,
    TWO_HOP,
    N,
    call,
    call_all,
    toolbox,
)

ALPHA = 1e-6  # two-sided, for each of some 30 checks: a right build fails once in thirty thousand


def consistent(hits: int, trials: int, rate: float) -> bool:
    return bool(binomtest(hits, trials, rate).pvalue > ALPHA)


def ask_all(
    rates: SimulatedRates, questions: list[Question], name: str = "AnswerGenerate", form: str = "{}"
) -> list[str]:
    box = toolbox(rates)
    jobs = [(name, q.text, CallContext(q)) for q in questions]
    return [r.text.split(": ", 1)[1] for r in call_all(box, jobs)]


def test_single_hop_accuracy_falls_with_obscurity_as_configured() -> None:
    rates = SimulatedRates(knows_common=0.9, knows_obscure=0.2)
    answers = ask_all(rates, ONE_HOP)
    right = [a == c for a, c in zip(answers, CAPITALS, strict=True)]
    for low in range(0, N, 400):
        expected = sum(rates.knows(i / (N - 1)) for i in range(low, low + 400)) / 400
        assert consistent(sum(right[low : low + 400]), 400, expected)


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_each_further_hop_succeeds_as_configured(rate: float) -> None:
    rates = SimulatedRates(knows_common=1, knows_obscure=1, hop_success=rate)
    right = sum(a == c for a, c in zip(ask_all(rates, TWO_HOP), CAPITALS, strict=True))
    assert consistent(right, N, rate)


def test_a_wrong_first_hop_is_carried_on_to_that_things_own_value() -> None:
    rates = SimulatedRates(knows_common=0.5, knows_obscure=0.5, hop_success=1, abstains=0)
    box = toolbox(rates)
    for i in range(200):
        (land,) = (call(box, "AnswerGenerate", f"country of {TOWNS[i]}", TWO_HOP[i]).text.removeprefix("Answer: "),)
        believed = call(box, "AnswerGenerate", f"capital of {land}", TWO_HOP[i]).text
        assert call(box, "AnswerGenerate", TWO_HOP[i].text, TWO_HOP[i]).text == believed


def test_mistakes_are_plausible_and_abstention_has_its_rate() -> None:
    rates = SimulatedRates(knows_common=0, knows_obscure=0, abstains=0.3)
    answers = ask_all(rates, ONE_HOP)
    assert consistent(answers.count(UNKNOWN), N, 0.3)
    for fact, answer in zip(FACTS[:N], answers, strict=True):
        assert answer == UNKNOWN or answer in fact.wrong


@pytest.mark.parametrize(("solution", "rate"), [("right", "review_rejects_right"), ("wrong", "review_accepts_wrong")])
def test_review_errs_at_its_two_rates(solution: str, rate: str) -> None:
    rates = SimulatedRates(review_rejects_right=0.25, review_accepts_wrong=0.4)
    box = toolbox(rates)
    given = CAPITALS if solution == "right" else [CAPITALS[(i + 1) % N] for i in range(N)]
    jobs = [
        ("Review", f"<question>{q.text}</question><solution>Answer: {given[i]}</solution>", CallContext(q))
        for i, q in enumerate(TWO_HOP)
    ]
    verdicts = [r.text.removeprefix("Feedback: ") for r in call_all(box, jobs)]
    assert all(v == CORRECT or v.startswith(WRONG) for v in verdicts)
    erring = sum((v == CORRECT) == (solution == "wrong") for v in verdicts)
    assert consistent(erring, N, getattr(rates, rate))


def test_a_negative_review_names_the_first_thing_to_check() -> None:
    box = toolbox(SimulatedRates(review_accepts_wrong=0))
    text = call(box, "Review", f"<question>{TWO_HOP[3].text}</question><solution>x</solution>", TWO_HOP[3]).text
    assert text == "Feedback: The solution is wrong. Check the country of Town3."


def revision(
    i: int, solution: str, feedback: str = "The solution is wrong. Check the capital of {}.", read: str = ""
) -> tuple[str, str, CallContext]:
    """The call that revises `solution` of question i, after a passage that states `read` was found."""
    q = ONE_HOP[i]
    said = feedback.format(q.plan[0].subject)
    text = f"<question>{q.text}</question><solution>{solution}</solution><feedback>{said}</feedback>"
    found = PastCall(Role.RETRIEVES, "x", OperatorResult("Search", f"[1] It: Capital: {read}."))
    return "Revise", text, CallContext(q, earlier=(found,) if read else ())


@pytest.mark.parametrize(("read", "rate"), [(True, 0.55), (False, 0.2)])
def test_revise_mends_more_often_what_a_passage_supports(read: bool, rate: float) -> None:
    box = toolbox(SimulatedRates(revise_fixes=0.55, revise_fixes_blind=0.2))
    jobs = [revision(i, CAPITALS[(i + 1) % N], read=CAPITALS[i] if read else "") for i in range(N)]
    right = sum(r.text == f"Answer: {c}" for r, c in zip(call_all(box, jobs), CAPITALS, strict=True))
    assert consistent(right, N, rate)


def test_revise_keeps_what_the_feedback_does_not_name() -> None:
    box = toolbox(SimulatedRates(revise_fixes=1))
    for feedback in ("The solution is wrong.", "The solution is wrong. Check the capital of Atlantis."):
        assert call_all(box, [revision(3, "Elsewhere", feedback, CAPITALS[3])])[0].text == "Answer: Elsewhere"
    assert call_all(box, [revision(3, "Elsewhere", read=CAPITALS[3])])[0].text == f"Answer: {CAPITALS[3]}"


@pytest.mark.parametrize(("given", "expected_right"), [("right", 0.7), ("wrong", 0.55)])
def test_revise_fixes_and_spoils_at_its_rates(given: str, expected_right: float) -> None:
    box = toolbox(SimulatedRates(revise_fixes=0.55, revise_spoils=0.3))
    shift = given == "wrong"
    jobs = [revision(i, CAPITALS[(i + shift) % N], read=CAPITALS[i]) for i in range(N)]
    answers = [r.text.removeprefix("Answer: ") for r in call_all(box, jobs)]
    right = sum(a == c for a, c in zip(answers, CAPITALS, strict=True))
    assert consistent(right, N, expected_right)
    # What is not right is a change: a rejected solution is never repeated.
    assert all(a == CAPITALS[i] or a != CAPITALS[(i + shift) % N] for i, a in enumerate(answers))


def test_a_fork_of_an_episode_gets_the_verdict_that_was_read_and_draws_only_new_ones() -> None:
    box, q = toolbox(SimulatedRates(review_rejects_right=0.5)), ONE_HOP[5]
    review = f"<question>{q.text}</question><solution>Capital5</solution>"
    (first,) = call_all(box, [("Review", review, CallContext(q, seed=0))])
    past = PastCall(Role.REVIEWS, review, first)
    again = call_all(box, [("Review", review, CallContext(q, seed, 3, (past,))) for seed in range(20)])
    assert {r.text for r in again} == {first.text}
    other = review.replace("Capital5", "the Capital5")
    drawn = call_all(box, [("Review", other, CallContext(q, seed, 3, (past,))) for seed in range(20)])
    assert len({r.text for r in drawn}) == 2


def test_revise_keeps_a_solution_that_was_found_correct() -> None:
    text = f"<question>{ONE_HOP[0].text}</question><solution>Capital9</solution><feedback>{CORRECT}</feedback>"
    assert call(toolbox(), "Revise", text, ONE_HOP[0]).text == "Answer: Capital9"


def test_the_ensemble_picks_a_right_candidate_at_its_rate_and_only_given_ones() -> None:
    box = toolbox(SimulatedRates(ensemble_picks_right=0.7))
    jobs = [
        (
            "ScEnsemble",
            f"<query>{q.text}</query><solution>{CAPITALS[i - 1]}</solution><solution>{CAPITALS[i]}</solution>",
            CallContext(q),
        )
        for i, q in enumerate(ONE_HOP)
    ]
    answers = [r.text.removeprefix("Answer: ") for r in call_all(box, jobs)]
    assert consistent(sum(a == c for a, c in zip(answers, CAPITALS, strict=True)), N, 0.7)
    assert all(a in (CAPITALS[i], CAPITALS[i - 1]) for i, a in enumerate(answers))


def test_without_a_right_candidate_the_commonest_one_is_chosen() -> None:
    text = f"<query>{ONE_HOP[0].text}</query>" + "".join(f"<solution>{s}</solution>" for s in ("a", "b", "b"))
    assert call(toolbox(), "ScEnsemble", text, ONE_HOP[0]).text == "Answer: b"


def test_the_optimizer_gives_the_first_hops_query_at_its_rate() -> None:
    answers = ask_all(SimulatedRates(optimizer_refines=0.6), TWO_HOP, "PromptOptimizer")
    refined = [a == f"country of {t}" for a, t in zip(answers, TOWNS, strict=True)]
    assert consistent(sum(refined), N, 0.6)
    assert all(r or a == q.text for r, a, q in zip(refined, answers, TWO_HOP, strict=True))


def test_samples_hit_and_slip_at_their_rates_and_differ_from_each_other() -> None:
    rates = SimulatedRates(knows_common=1, knows_obscure=0, sample_slip=0.1, sample_luck=0.5, abstains=0)
    box = toolbox(rates)
    jobs = [("MultiAnswerGenerate", q.text, CallContext(q)) for q in ONE_HOP]
    right = different = 0
    expected = 0.0
    for i, result in enumerate(call_all(box, jobs)):
        answers = [part.split("] ")[1].strip() for part in result.text.split("[Answer ")[1:]]
        assert len(answers) == 3
        right += answers.count(CAPITALS[i])
        different += len(set(answers)) > 1
        knows = rates.knows(i / (N - 1))
        expected += (knows * (1 - rates.sample_slip) + (1 - knows) * rates.sample_luck) / N
    # The three samples of a question share what is known: the effective sample is at least the number of questions.
    assert abs(right / (3 * N) - expected) < 5 * (expected * (1 - expected) / N) ** 0.5
    assert different > 0.5 * N


def test_knowledge_is_stable_and_a_verdict_varies_with_the_episode_alone() -> None:
    box = toolbox()
    review = f"<question>{ONE_HOP[5].text}</question><solution>Capital5</solution>"
    contexts = [CallContext(ONE_HOP[5], seed, index) for seed in range(10) for index in range(10)]
    answers = call_all(box, [("AnswerGenerate", ONE_HOP[5].text, c) for c in contexts])
    assert len({a.text for a in answers}) == 1
    verdicts = call_all(box, [("Review", review, c) for c in contexts])
    assert len({v.text for v in verdicts}) == 2
    assert all(len({v.text for v in verdicts[10 * seed : 10 * seed + 10]}) == 1 for seed in range(10))
    assert verdicts == call_all(toolbox(), [("Review", review, c) for c in contexts])


def test_knowledge_seeds_are_different_experts() -> None:
    first, second = (
        [r.text for r in call_all(toolbox(seed=s), [("AnswerGenerate", q.text, CallContext(q)) for q in ONE_HOP])]
        for s in (0, 1)
    )
    assert 0.2 * N < sum(a != b for a, b in zip(first, second, strict=True)) < 0.8 * N


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("capital of Land7", [("Land7", "capital")]),
        ("Land7 seat of government", [("Land7", "capital")]),
        ("what is the CAPITAL of the country where Town7 lies", [("Town7", "country"), ("Land7", "capital")]),
        ("the land of Town12?", [("Town12", "country")]),
        ("capital of Atlantis", []),
        ("Land7", []),
        ("", []),
    ],
)
def test_free_words_are_read(text: str, facts: list[tuple[str, str]]) -> None:
    assert [(f.subject, f.relation) for f in KNOWLEDGE.read(text)] == facts


def test_a_sub_question_is_not_taken_for_the_episodes_question() -> None:
    box = toolbox(SimulatedRates(knows_common=1, knows_obscure=1, hop_success=1))
    other = TWO_HOP[8].text
    assert call(box, "AnswerGenerate", other, TWO_HOP[7]).text == "Answer: Capital8"
    assert call(box, "AnswerGenerate", f"country of {TOWNS[7]}", TWO_HOP[7]).text == f"Answer: {LANDS[7]}"
    assert call(box, "AnswerGenerate", "asdf qwer", TWO_HOP[7]).text == f"Answer: {UNKNOWN}"


def test_questions_without_a_plan_are_known_at_middling_obscurity() -> None:
    questions = [Question(f"r{i}", f"Who wrote book number {i}?", (f"Author {i}",), "real") for i in range(N)]
    answers = ask_all(SimulatedRates(knows_common=0.9, knows_obscure=0.1), questions)
    assert consistent(sum(a == q.answers[0] for a, q in zip(answers, questions, strict=True)), N, 0.5)


@pytest.mark.parametrize("bad", [{"knows_commn": 0.5}, {"abstains": 1.5}, {"hop_success": -0.1}])
def test_bad_rates_are_refused_by_name(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"knows_common|abstains|hop_success"):
        SimulatedRates.from_mapping(bad)

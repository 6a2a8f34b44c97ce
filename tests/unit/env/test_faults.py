"""Injected faults: where each applies, what it does, and the fault-free twin."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from harness.env.fault_injection import FAULTS, FaultInjector, FaultPlan
from harness.operators import CALLABLE, OPERATORS, CallContext
from harness.operators.llm.simulated import SimulatedRates
from harness.types import OperatorFailure, OperatorResult
from tests.support.examples import examples
from tests.support.small_world import CAPITALS, KNOWLEDGE, LANDS, TWO_HOP, N, call_all, run, toolbox

ALL = tuple(FAULTS)
Q = TWO_HOP[7]
EXPERT = SimulatedRates(knows_common=1, knows_obscure=1, hop_success=1, review_rejects_right=0, review_accepts_wrong=0)
INPUT = {
    "AnswerGenerate": Q.text,
    "Custom": f"<task>{Q.text}</task><instruction>Answer in one word.</instruction>",
    "PromptOptimizer": Q.text,
    "Review": f"<question>{Q.text}</question><solution>Capital7</solution>",
    "Revise": f"<question>{Q.text}</question><solution>Capital8</solution><feedback>fine</feedback>",
    "MultiAnswerGenerate": Q.text,
    "ScEnsemble": f"<query>{Q.text}</query><solution>Capital8</solution><solution>Capital7</solution>",
    "Search": "Town7 country",
}


def injector(plan: FaultPlan, style: str = "compact") -> FaultInjector:
    return FaultInjector(toolbox(EXPERT, style=style), plan, KNOWLEDGE, LANDS)


def struck(kind: str, name: str, text: str | None = None, style: str = "compact") -> OperatorResult:
    box = injector(FaultPlan((kind,), 1.0), style)
    return run(box.call(name, text or INPUT[name], CallContext(Q)))


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("name", CALLABLE)
def test_a_fault_strikes_only_operators_it_makes_sense_for(kind: str, name: str) -> None:
    true = run(toolbox(EXPERT).call(name, INPUT[name], CallContext(Q)))
    result = struck(kind, name)
    if name not in FAULTS[kind].operators:
        assert result == true
    elif result.fault is None:
        assert result == true
        assert kind == "truncated_text"  # a short text is not cut
        assert len(true.text) < 24
    else:
        assert result.text != true.text
        assert (result.fault.kind, result.fault.call_index, result.fault.true_text) == (kind, 0, true.text)
        costs = ("prompt_tokens", "completion_tokens", "latency_s", "cost_usd", "retries", "operator")
        assert [getattr(result, c) for c in costs] == [getattr(true, c) for c in costs]


def test_wrong_passages_do_not_hold_the_answer() -> None:
    result = struck("wrong_passage", "Search")
    assert result.text.startswith("[1] ")
    assert "Town7" not in result.text
    assert "Land7." not in result.text
    assert "Capital7." not in result.text


def test_a_decoy_that_leads_to_the_answer_is_not_used() -> None:
    box = FaultInjector(toolbox(EXPERT), FaultPlan(("wrong_passage",), 1.0), KNOWLEDGE, ["Land7", "Town7"])
    assert run(box.call("Search", "Land7 capital", CallContext(Q))).fault is None


@pytest.mark.parametrize("style", ["compact", "full"])
@pytest.mark.parametrize(
    ("query", "subject", "true"), [("Town7", "Town7", "Land7"), ("Land7 capital", "Land7", "Capital7")]
)
def test_a_stale_passage_states_a_plausible_wrong_value_and_changes_nothing_else(
    style: str, query: str, subject: str, true: str
) -> None:
    result = struck("stale_fact", "Search", query, style)
    assert result.fault is not None
    changed = re.search(rf"{subject} is .*?: (\w+)\.", result.text)
    assert changed is not None
    assert changed[1] in {f"{true[:-1]}{i}" for i in (8, 9, 10)}
    assert result.text.replace(f": {changed[1]}.", f": {true}.", 1) == result.fault.true_text


@pytest.mark.parametrize("style", ["compact", "full"])
def test_a_contradiction_comes_before_the_true_passage_and_keeps_the_number_of_hits(style: str) -> None:
    result = struck("contradicting_fact", "Search", "Land7 capital", style)
    hits = re.split(r"\s*\[\d\] ", result.text)[1:]
    assert result.fault is not None
    assert len(hits) == result.fault.true_text.count("[")
    assert "Capital7." not in hits[0]
    assert hits[1] == "Land7: Land7 is a country. Capital: Capital7."
    assert hits[0].startswith("Land7: Land7 is a country. Capital: Capital")


def test_a_search_that_states_no_hop_cannot_be_stale() -> None:
    assert struck("stale_fact", "Search", "Land1999").fault is None


def test_verdicts_are_reversed() -> None:
    wrong_solution = INPUT["Review"].replace("Capital7", "Capital9")
    assert struck("wrong_verdict", "Review").text == "Feedback: The solution is wrong. Check the capital of Land7."
    assert struck("wrong_verdict", "Review", wrong_solution).text == "Feedback: The solution is correct."


@pytest.mark.parametrize("style", ["compact", "full"])
@pytest.mark.parametrize("name", FAULTS["corrupted_answer"].operators)
def test_one_candidate_is_replaced_by_a_plausible_wrong_one(name: str, style: str) -> None:
    result = struck("corrupted_answer", name, style=style)
    assert result.fault is not None
    before, after = result.fault.true_text.split(), result.text.split()
    changed = [(b, a) for b, a in zip(before, after, strict=True) if b != a]
    assert len(changed) == 1
    assert changed[0][1].startswith("Capital")
    assert changed[0][1] != "Capital7"


def test_failure_faults_are_typed() -> None:
    assert struck("timeout", "Search").failure is OperatorFailure.TIMEOUT
    assert struck("empty_result", "Search").failure is OperatorFailure.EMPTY
    assert struck("missing_review", "Review").failure is OperatorFailure.EMPTY
    assert struck("stale_fact", "Search").failure is None


def test_a_call_that_failed_by_itself_is_left_alone() -> None:
    box = injector(FaultPlan(ALL, 1.0))
    for name, text in (("Search", "zzz"), ("Review", "x"), ("Serch", "x")):
        result = run(box.call(name, text, CallContext(Q)))
        assert result.failure is not None
        assert result.fault is None


@pytest.mark.parametrize("rate", [0.0, 0.2, 1.0])
def test_faults_come_at_the_planned_rate(rate: float) -> None:
    box = injector(FaultPlan(("timeout",), rate, seed=3))
    jobs = [("Search", "Town7", CallContext(replace(Q, id=f"q{i}"), 0, i % 5)) for i in range(N)]
    struck_ = sum(r.fault is not None for r in call_all(box, jobs))  # type: ignore[arg-type]
    assert binomtest(struck_, N, rate).pvalue > 1e-6


def test_faults_come_only_at_the_planned_positions() -> None:
    box = injector(FaultPlan(("timeout",), 1.0, positions=(1, 3)))
    results = [run(box.call("Search", "Town7", CallContext(Q, 0, i))) for i in range(5)]
    assert [r.fault.call_index if r.fault else None for r in results] == [None, 1, None, 3, None]


def test_where_a_fault_strikes_does_not_depend_on_the_sampling_seed() -> None:
    box = injector(FaultPlan(("timeout",), 0.5))
    runs = [[run(box.call("Search", "Town7", CallContext(Q, s, i))).fault is None for i in range(20)] for s in (1, 2)]
    assert runs[0] == runs[1]
    other = injector(FaultPlan(("timeout",), 0.5, seed=1))
    assert runs[0] != [run(other.call("Search", "Town7", CallContext(Q, 1, i))).fault is None for i in range(20)]


def test_of_several_planned_kinds_each_occurs_where_it_can() -> None:
    box = injector(FaultPlan(("wrong_verdict", "empty_result", "stale_fact"), 1.0))
    kinds = {
        run(box.call("Search", "Town7 country", CallContext(replace(Q, id=str(i))))).fault.kind  # type: ignore[union-attr]
        for i in range(60)
    }
    assert kinds == {"empty_result", "stale_fact"}
    # One that cannot strike this result gives way to one that can.
    assert run(box.call("Search", "Land1999", CallContext(Q))).fault.kind == "empty_result"  # type: ignore[union-attr]


@settings(max_examples=examples(60), deadline=None)
@given(
    calls=st.lists(st.sampled_from(CALLABLE), min_size=1, max_size=8),
    kinds=st.lists(st.sampled_from(ALL), min_size=1, max_size=4, unique=True),
    rate=st.floats(0, 1),
    seed=st.integers(0, 5),
    fault_seed=st.integers(0, 5),
)
def test_the_twin_is_identical_up_to_the_first_fault_and_faultless_after_it(
    calls: list[str], kinds: list[str], rate: float, seed: int, fault_seed: int
) -> None:
    plan = FaultPlan(tuple(kinds), rate, fault_seed)

    def episode(of: FaultPlan) -> list[OperatorResult]:
        """A reader whose next input depends on what it read, as a policy's does."""
        box, read, results = injector(of), "", []
        for i, name in enumerate(calls):
            text = INPUT[name] if "Capital8" not in read else INPUT[name].replace("Capital7", "Capital8")
            results.append(run(box.call(name, text, CallContext(Q, seed, i))))
            read += results[-1].text
        return results

    faulted, twin = episode(plan), episode(plan.twin())
    first = next((i for i, r in enumerate(faulted) if r.fault), len(calls))
    assert faulted[:first] == twin[:first]
    assert all(r.fault is None for r in twin)
    if first < len(calls):
        assert faulted[first].fault.true_text == twin[first].text  # type: ignore[union-attr]
    assert faulted == episode(plan)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kinds": ("tiemout",), "rate": 0.1}, "did you mean 'timeout'"),
        ({"kinds": (), "rate": 0.1}, "at least one"),
        ({"kinds": ("timeout",), "rate": 1.5}, "rate"),
        ({"kinds": ("timeout",), "rate": 0.5, "positions": ()}, "positions"),
        ({"kinds": ("timeout",), "rate": 0.5, "positions": (-1,)}, "positions"),
    ],
)
def test_bad_plans_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FaultPlan(**arguments)  # type: ignore[arg-type]


def test_wrong_passages_need_something_else_to_find() -> None:
    with pytest.raises(ValueError, match="decoys"):
        FaultInjector(toolbox(), FaultPlan(("wrong_passage",), 0.1))


def test_every_operator_but_none_more_is_named_by_the_faults() -> None:
    assert {name for spec in FAULTS.values() for name in spec.operators} == set(CALLABLE)
    assert all(OPERATORS[name].run for spec in FAULTS.values() for name in spec.operators)
    assert CAPITALS[7] == Q.answers[0]

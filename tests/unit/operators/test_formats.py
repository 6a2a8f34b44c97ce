"""Input formats, corrective messages, pools and warnings."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.env.interfaces import NaturalInterface
from harness.env.prompts.system import system_prompt
from harness.operators import CALLABLE, OPERATORS, POOLS, CallContext, LLMRequest, LLMResponse, Toolbox
from harness.operators.base import Retrieval, elements
from harness.operators.formatting import cut_middle
from harness.operators.operator_settings import SearchSettings
from harness.operators.specs.search import snippet
from harness.types import OperatorFailure
from tests.support.examples import examples
from tests.support.small_world import ONE_HOP, call, retriever, run, toolbox

Q = ONE_HOP[7]
GOOD_INPUT = {
    "AnswerGenerate": Q.text,
    "Custom": f"<task>{Q.text}</task><instruction>Answer in one word.</instruction>",
    "PromptOptimizer": Q.text,
    "Review": f"<question>{Q.text}</question><solution>Capital8</solution>",
    "Revise": f"<question>{Q.text}</question><solution>Capital8</solution><feedback>Wrong.</feedback>",
    "MultiAnswerGenerate": Q.text,
    "ScEnsemble": f"<query>{Q.text}</query><solution>Capital8</solution><solution>Capital7</solution>",
    "Search": "Land7 capital",
}


def test_the_registry_holds_the_nine_operators_and_warningop_cannot_be_called() -> None:
    assert set(OPERATORS) == {*GOOD_INPUT, "WarningOp"}
    assert set(CALLABLE) == set(GOOD_INPUT)
    result = call(toolbox(), "WarningOp", "x", Q)
    assert result.failure is OperatorFailure.UNKNOWN_OPERATOR


@pytest.mark.parametrize("name", CALLABLE)
@pytest.mark.parametrize("style", ["full", "compact"])
def test_every_operator_answers_its_documented_input(name: str, style: str) -> None:
    for text in (GOOD_INPUT[name], OPERATORS[name].example.removeprefix(f"{name}: ")):
        result = call(toolbox(style=style), name, text, Q)
        assert result.operator == name
        assert result.failure is None or (name == "Search" and result.failure is OperatorFailure.EMPTY)
        assert result.text.strip()
        if OPERATORS[name].needs_llm:
            assert result.prompt_tokens > 0
            assert result.completion_tokens > 0


@pytest.mark.parametrize("name", [n for n in CALLABLE if OPERATORS[n].tags])
def test_each_missing_inner_tag_is_named_and_no_other(name: str) -> None:
    for tag, least in OPERATORS[name].tags.items():
        for broken in (f"<{tag}>", f"<{tag}>  </{tag}>", f"</{tag}>", ""):
            others = "".join(f"<{t}>x</{t}>" * n for t, n in OPERATORS[name].tags.items() if t != tag)
            few = f"<{tag}>x</{tag}>" * (least - 1)
            result = call(toolbox(style="full"), name, others + few + broken, Q)
            assert result.failure is OperatorFailure.MISSING_INPUT
            complaint = result.text.split(". Write")[0]
            assert [t for t in OPERATORS[name].tags if f"<{t}>" in complaint] == [tag]
            assert OPERATORS[name].input_format in result.text
            assert result.completion_tokens == 0


@pytest.mark.parametrize("name", [n for n in CALLABLE if not OPERATORS[n].tags])
def test_blank_input_is_corrected(name: str) -> None:
    assert call(toolbox(style="full"), name, " \n", Q).failure is OperatorFailure.MISSING_INPUT


def test_an_ensemble_of_one_is_refused_and_of_five_accepted() -> None:
    query = f"<query>{Q.text}</query>"
    one = call(toolbox(), "ScEnsemble", query + "<solution>Capital7</solution>", Q)
    assert one.failure is OperatorFailure.MISSING_INPUT
    assert "2 needed, 1 given" in one.text
    five = call(toolbox(), "ScEnsemble", query + "".join(f"<solution>Capital{i}</solution>" for i in range(5)), Q)
    assert five.failure is None


def test_observation_formats() -> None:
    full, compact = toolbox(style="full"), toolbox(style="compact")
    assert call(compact, "AnswerGenerate", Q.text, Q).text.startswith("Answer: ")
    thought, answer = call(full, "AnswerGenerate", Q.text, Q).text.split("\n")
    assert thought.startswith("Thought: ")
    assert answer.startswith("Answer: ")
    for box in (full, compact):
        text = call(box, "MultiAnswerGenerate", Q.text, Q).text
        assert [f"[Answer {i}]" in text for i in range(1, 5)] == [True, True, True, False]
    assert call(compact, "Review", GOOD_INPUT["Review"], Q).text.startswith("Feedback: ")
    assert call(compact, "PromptOptimizer", Q.text, Q).text == "Query: capital of Land7"
    hits = call(compact, "Search", "Land7 capital", Q).text
    assert hits.startswith("[1] Land7: Land7 is a country. Capital: Capital7. [2] ")
    assert "\n" not in hits
    assert call(full, "Search", "Land7 capital", Q).text.count("\n") == 4


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("style", ["full", "compact"])
def test_documented_operators_are_the_callable_ones(pool: str, style: str) -> None:
    prompt = system_prompt(pool, style, NaturalInterface())  # type: ignore[arg-type]
    if style == "full":
        documented = re.findall(r"^- (\w+): ", prompt, re.MULTILINE)
    else:
        documented = prompt.removeprefix("Operators: ").split(", ")
    box = toolbox(pool=pool)
    callable_ = [
        n for n in OPERATORS if call(box, n, GOOD_INPUT.get(n, "x"), Q).failure is not OperatorFailure.UNKNOWN_OPERATOR
    ]
    assert sorted(documented) == sorted(callable_) == sorted(box.pool)


def test_full_description_shows_formats_and_examples_and_compact_is_short() -> None:
    full = system_prompt("full", "full", NaturalInterface())
    for name in CALLABLE:
        assert OPERATORS[name].input_format in full
        assert f"<tool>{OPERATORS[name].example}</tool>" in full
    assert system_prompt("minimal", "compact", NaturalInterface()) == "Operators: AnswerGenerate, Search"


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        (["Serch"], "did you mean 'Search'"),
        (["answergenerate"], "did you mean 'AnswerGenerate'"),
        ([], "empty"),
        ("minimall", "did you mean 'minimal'"),
        (["WarningOp"], "environment"),
        (["Search", "Search"], "twice"),
    ],
)
def test_a_bad_pool_is_refused_at_construction(pool: str | list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Toolbox(pool, None, retriever())


def test_a_pool_whose_service_is_missing_is_refused() -> None:
    with pytest.raises(ValueError, match="AnswerGenerate needs an LLM"):
        Toolbox("minimal", None, retriever())
    with pytest.raises(ValueError, match="Search needs a retriever"):
        Toolbox("search_only")


def test_an_operator_outside_the_pool_gets_a_visible_hint() -> None:
    result = call(toolbox(pool="search_only"), "Serch", "x", Q)
    assert result.failure is OperatorFailure.UNKNOWN_OPERATOR
    assert "did you mean 'Search'" in result.text
    assert "AnswerGenerate" not in result.text


class _Broken:
    """Services that break their promise never to raise, or report a failure."""

    def __init__(self, failure: OperatorFailure | None) -> None:
        self.failure = failure

    async def complete(self, request: LLMRequest) -> LLMResponse:
        if self.failure is None:
            raise RuntimeError("secret detail")
        return LLMResponse("", self.failure, latency_s=2.0, retries=3)

    async def retrieve(self, queries: object, top_k: int) -> list[Retrieval]:
        if self.failure is None:
            raise RuntimeError("secret detail")
        return [Retrieval((), self.failure, 2.0, 3)]


@pytest.mark.parametrize("failure", [None, OperatorFailure.TIMEOUT, OperatorFailure.RATE_LIMITED])
@pytest.mark.parametrize("name", CALLABLE)
def test_a_failing_service_becomes_a_typed_visible_observation(name: str, failure: OperatorFailure | None) -> None:
    broken = _Broken(failure)
    result = call(Toolbox("full", broken, broken), name, GOOD_INPUT[name], Q)
    assert result.failure is (failure or OperatorFailure.SERVER_ERROR)
    assert result.text.startswith(name)
    assert "secret" not in result.text
    assert result.retries == (0 if failure is None else 9 if name == "MultiAnswerGenerate" else 3)
    assert result.latency_s == (0.0 if failure is None else 2.0)


class _Forgetful:
    """An LLM that leaves out the required tags `n` times a conversation, then complies."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.requests: list[LLMRequest] = []

    async def complete(self, request: LLMRequest) -> LLMResponse:
        self.requests.append(request)
        if (len(request.messages) - 2) // 2 < self.n:
            return LLMResponse("Sure! <answer></answer>", prompt_tokens=10, completion_tokens=5, latency_s=1.0)
        text = "".join(f"<{tag}>fine</{tag}>" for tag in request.required_tags)
        return LLMResponse(text, prompt_tokens=10, completion_tokens=5, latency_s=1.0)


@pytest.mark.parametrize("times", [0, 1, 3])
def test_missing_output_tags_are_asked_for_again_and_every_attempt_is_paid(times: int) -> None:
    llm = _Forgetful(times)
    result = call(Toolbox(["AnswerGenerate"], llm), "AnswerGenerate", Q.text, Q)
    assert (result.failure, result.retries) == (None, times)
    assert (result.prompt_tokens, result.completion_tokens) == (10 * (times + 1), 5 * (times + 1))
    assert result.latency_s == times + 1.0
    if times:
        hint = llm.requests[-1].messages[-1]["content"]
        assert "<thought>" in hint
        assert "<answer>" in hint


def test_after_three_hints_the_call_fails_visibly() -> None:
    llm = _Forgetful(4)
    result = call(Toolbox(["Review"], llm), "Review", GOOD_INPUT["Review"], Q)
    assert result.failure is OperatorFailure.MISSING_OUTPUT_TAG
    assert result.retries == 3
    assert len(llm.requests) == 4


def test_only_samples_carry_a_seed_and_a_temperature() -> None:
    llm = _Forgetful(0)
    box = Toolbox(["AnswerGenerate", "MultiAnswerGenerate"], llm)
    call(box, "AnswerGenerate", Q.text, Q)
    call(box, "MultiAnswerGenerate", Q.text, Q)
    single, *samples = llm.requests
    assert (single.temperature, single.seed) == (0.0, None)
    assert all(s.temperature > 0 for s in samples)
    assert len({s.seed for s in samples}) == 3


def test_prompts_carry_the_input_verbatim_braces_included() -> None:
    llm = _Forgetful(0)
    call(Toolbox(["AnswerGenerate"], llm), "AnswerGenerate", "What is {x} of {0}?", Q)
    assert "What is {x} of {0}?" in llm.requests[0].messages[-1]["content"]


def test_observations_are_cut_in_the_middle() -> None:
    box = Toolbox("search_only", None, retriever(), observation_chars=60)
    text = run(box.call("Search", "Land7 capital", CallContext(Q))).text
    assert len(text) == 60
    assert " … " in text
    assert text.startswith("[1] Land7")


@given(st.text(max_size=300), st.integers(0, 320))
def test_cutting_keeps_the_limit_and_both_ends(text: str, limit: int) -> None:
    cut = cut_middle(text, limit)
    assert len(cut) <= max(limit, 0)
    if len(text) <= limit:
        assert cut == text
    elif limit >= 9:
        assert cut[:3] == text[:3]
        assert cut[-3:] == text[-3:]


@given(st.text(max_size=200), st.integers(2, 100))
def test_snippets_are_one_line_within_the_limit(text: str, limit: int) -> None:
    cut = snippet(text, limit)
    assert len(cut) <= limit
    assert "\n" not in cut


@settings(max_examples=examples(300))
@given(st.lists(st.sampled_from(["<a>", "</a>", "x", "<", "\n", "<a", "a>"]), max_size=30).map("".join))
def test_elements_agree_with_the_lazy_regular_expression(text: str) -> None:
    assert list(elements(text, "a")) == [m.strip() for m in re.findall(r"<a>(.*?)</a>", text, re.DOTALL)]


@pytest.mark.parametrize("name", CALLABLE)
def test_a_megabyte_of_adversarial_input_is_handled_fast(name: str) -> None:
    box = toolbox()
    for text in ("<solution>" * 100_000, "<query>a</query>" + "<solution>b</solution>" * 50_000, "Land7 " * 170_000):
        start = time.process_time()
        assert call(box, name, text, Q).text
        assert time.process_time() - start < 1.0


@given(st.sampled_from(CALLABLE), st.text(max_size=200))
@settings(max_examples=examples(150), deadline=None)
def test_no_input_raises(name: str, text: str) -> None:
    tags = "".join(f"<{t}>{text}</{t}>" * n for t, n in OPERATORS[name].tags.items())
    for given_text in (text, tags):
        assert call(toolbox(), name, given_text, Q).text


def test_search_settings_decide_how_much_is_shown() -> None:
    box = Toolbox("search_only", None, retriever(), search=SearchSettings(top_k=2, snippet_chars=15), style="full")
    text = run(box.call("Search", "Land7 capital", CallContext(Q))).text
    assert text.splitlines()[0] == "[1] Land7: Land7 is a…"
    assert len(text.splitlines()) == 2

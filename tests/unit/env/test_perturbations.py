"""Perturbed prompts: what each changes, what it leaves, how they compose, what is refused."""

from __future__ import annotations

import re
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.env.interfaces import ActionInterface, CodeInterface, NaturalInterface
from harness.env.prompts.perturbations import PERTURBATIONS, TYPO_RATE, Perturbed, misspell, problem_of, split_of
from harness.env.prompts.system import Prompt, standard_prompt
from harness.operators import CALLABLE, OPERATORS, POOLS, Style
from harness.types import Question

ASKED = Question("q1", "What is the capital of the country where Accra lies?", ("Accra",), "s")
NATURAL = list(PERTURBATIONS)
CODE = [n for n, p in PERTURBATIONS.items() if p.syntax is None]
CASES = [
    (style, interface, name)
    for style in ("compact", "full")
    for interface, names in ((NaturalInterface(), NATURAL), (CodeInterface(), CODE))
    for name in names
]


def prompt(style: Style = "full", interface: ActionInterface | None = None, pool: str = "revise") -> Prompt:
    return standard_prompt(pool, style, interface or NaturalInterface())


def messages(names: tuple[str, ...], base: Prompt, question: Question = ASKED, seed: int = 0) -> tuple[str, str]:
    return Perturbed(base, names, seed).messages(question)


def test_there_are_at_least_eight() -> None:
    assert len(PERTURBATIONS) >= 8


@pytest.mark.parametrize(("style", "interface", "name"), CASES)
def test_each_changes_what_is_read_and_neither_operators_nor_question(
    style: Style, interface: ActionInterface, name: str
) -> None:
    base = prompt(style, interface)
    system, user = messages((name,), base)
    assert (system, user) != base.messages(ASKED.text)
    assert (system, user) == messages((name,), base)
    for spec in base.operators:  # all are still documented, under their exact names
        assert interface.usage(spec) in system
    for word in ("Accra", "What"):
        assert word in user
    if name not in ("distractor", "typos"):
        assert user == ASKED.text


@pytest.mark.parametrize("style", ["compact", "full"])
@pytest.mark.parametrize("syntax", [n for n, p in PERTURBATIONS.items() if p.syntax])
def test_a_change_of_syntax_brings_its_grammar_and_shows_only_that(style: Style, syntax: str) -> None:
    perturbed = Perturbed(prompt(style), (syntax, "few_shot"), 0)
    system, _ = perturbed.messages(ASKED)
    turn = perturbed.interface.turn("so", "Search: Chad")
    assert perturbed.interface.parse(turn, CALLABLE).well_formed
    assert not NaturalInterface().parse(turn, CALLABLE).well_formed
    assert "<think>" not in system
    assert "<tool>" not in system
    read = "[1] The Glass Orchard: The Glass Orchard is a novel by Mira Halvorsen."
    assert perturbed.interface.observation(read) in system[system.index("Example:\nWho wrote") :]


def test_constraints_are_left_out_and_only_they() -> None:
    system, _ = messages(("no_constraints",), prompt())
    for gone in ("exactly one", "nothing else", "as short as possible", "your reasoning"):
        assert gone in prompt().messages("")[0]
        assert gone not in system
    assert "exactly one" not in messages(("loose_wording",), prompt())[0]


def test_reordering_is_another_order_of_the_same_operators_and_differs_by_question() -> None:
    base = prompt("compact", pool="full")
    standard = base.messages("")[0].removeprefix("Operators: ").split(", ")
    orders = set()
    for i in range(20):
        system, _ = messages(("reordered",), base, Question(f"q{i}", "Who?", ("x",), "s"))
        names = system.removeprefix("Operators: ").split(", ")
        assert sorted(names) == sorted(standard)
        assert names != standard
        orders.add(tuple(names))
    assert len(orders) > 10


@given(st.text(max_size=300), st.integers(0, 5))
def test_a_typo_swaps_letters_inside_words_and_touches_no_name_tag_or_number(text: str, seed: int) -> None:
    misspelt = misspell(text, (seed,))
    assert len(misspelt) == len(text)
    pieces = (re.findall(r"\w+|\W", said) for said in (text, misspelt))
    for before, after in zip(*pieces, strict=True):
        if before != after:
            assert sorted(before) == sorted(after)
            assert before not in OPERATORS


def test_typos_come_at_about_their_rate_and_at_least_once() -> None:
    text = "there must be several ordinary words inside this sentence for counting " * 40
    words = text.split()
    changed = sum(a != b for a, b in zip(words, misspell(text, (0,)).split(), strict=True))
    eligible = sum(len(w) >= 4 for w in words)
    assert 0.5 * TYPO_RATE < changed / eligible < 1.5 * TYPO_RATE
    for seed in range(30):
        assert misspell("What is the capital of Chad?", (seed,)) != "What is the capital of Chad?"
        assert "Chad" in misspell("What is the capital of Chad?", (seed,))
        assert misspell("Operators: AnswerGenerate, Search", (seed,)).endswith(": AnswerGenerate, Search")


def test_randomness_depends_on_seed_and_question_alone() -> None:
    base = prompt()
    asides = {messages(("distractor",), base, Question(f"q{i}", "Who?", ("x",), "s"))[1] for i in range(40)}
    assert len(asides) > 4
    assert messages(("typos",), base, seed=1) != messages(("typos",), base, seed=2)


@pytest.mark.parametrize("style", ["compact", "full"])
@pytest.mark.parametrize("interface", [NaturalInterface(), CodeInterface()], ids=lambda i: i.name)
def test_any_two_compose_in_either_order_or_are_refused(style: Style, interface: ActionInterface) -> None:
    base = prompt(style, interface)
    refused = set()
    for pair in combinations(PERTURBATIONS, 2):
        problem = problem_of(pair, base)
        assert (problem is None) == (problem_of(pair[::-1], base) is None)
        if problem is not None:
            refused.add(frozenset(pair))
            continue
        both = messages(pair, base)
        assert both == messages(pair[::-1], base)
        assert both not in (messages(pair[:1], base), messages(pair[1:], base))
    if interface.name == "natural":
        assert refused == {
            frozenset(p)
            for p in (
                ("brackets", "headings"), ("brackets", "json_call"), ("headings", "json_call"),
                ("loose_wording", "paraphrased"), ("loose_wording", "no_constraints"),
                ("paraphrased", "no_constraints"),
                ("brackets", "no_constraints"), ("headings", "no_constraints"), ("json_call", "no_constraints"),
            )
        }  # fmt: skip


@pytest.mark.parametrize(
    ("names", "pool", "interface", "message"),
    [
        (("brakets",), "minimal", NaturalInterface(), "did you mean 'brackets'"),
        (("typos", "typos"), "minimal", NaturalInterface(), "typos is named twice"),
        (("brackets", "json_call"), "minimal", NaturalInterface(), "contradict each other: both set the syntax"),
        (("brackets",), "minimal", CodeInterface(), "the code interface has one syntax"),
        (("reordered",), "search_only", NaturalInterface(), "one operator only"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(
    names: tuple[str, ...], pool: str, interface: ActionInterface, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Perturbed(standard_prompt(pool, "full", interface), names, 0)


def test_the_standard_prompts_are_what_policies_were_trained_on() -> None:
    """Word for word: another wording would be another environment."""
    assert prompt("compact", pool="minimal").messages("Who?") == ("Operators: AnswerGenerate, Search", "Who?")
    assert standard_prompt("search_only", "full", NaturalInterface()).messages("")[0] == (
        "You answer a question by building a workflow, one step a turn. In every turn, first think, then take\n"
        "exactly one action: call one operator, or give the final answer. After a call you read its result and go on.\n"
        "\nOperators:\n- Search: finds passages about a query: titles and snippets, best first. Input: query. Example: "
        "<tool>Search: capital of Chad</tool>\n\nEvery turn has one of these two forms and nothing else:\n"
        "<think>your reasoning</think><tool>OperatorName: input</tool>\n"
        "<think>your reasoning</think><answer>your final answer</answer>\n\n"
        "The final answer is as short as possible: a name, a number, a date, yes or no."
    )


@pytest.mark.parametrize("pool", POOLS)
def test_every_pool_has_a_prompt_in_every_interface(pool: str) -> None:
    for interface in (NaturalInterface(), CodeInterface()):
        compact, full = (standard_prompt(pool, style, interface) for style in ("compact", "full"))
        for base in (compact, full):
            assert all(interface.usage(spec) in base.messages("")[0] for spec in base.operators)


def test_splits_are_named_by_words() -> None:
    assert split_of("brackets + typos") == "brackets_and_typos"

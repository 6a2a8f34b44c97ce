"""Prompt perturbations: the same task in other forms, to measure how much a policy depends on its prompt's form.

Each changes parts of a `Prompt` of its own, so they compose in any order; two that set the same part (the syntax, the
wording) are refused. The operators, what they do and the question's meaning stay. Randomness is a function of
(seed, question): the same question is put in the same words to every policy, and is another draw than its neighbour's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.env.interfaces import ActionInterface, NaturalInterface
from harness.env.prompts.own_perturbations import OwnPerturbation, own_parts, short_name
from harness.env.prompts.system import STANDARD, Prompt, Wordings
from harness.operators import OPERATORS, OperatorSpec, Role, spelling_hint
from harness.operators.base import pick, uniform
from harness.protocol import GRAMMARS
from harness.types import Question

Draw = tuple[object, ...]
"""Keys of a perturbation's randomness."""

AND = "+"
"""Between the names of perturbations that are applied together: `brackets+typos`."""


@dataclass(frozen=True, slots=True)
class Perturbation:
    """`change` gives the perturbed prompt. `sets` names the part that only one perturbation may set; `refuses`
    gives the reason why it cannot be applied to a prompt (None: it can); `syntax` is the grammar it introduces."""

    summary: str
    change: Callable[[Prompt, Draw], Prompt]
    sets: str = ""
    refuses: Callable[[Prompt], str | None] = lambda prompt: None
    syntax: str | None = None


_LOOSE: Wordings = {
    "natural": replace(
        STANDARD["natural"],
        manner="It is good to think a little first, and then you might call an operator, or give an answer when you "
        "feel ready. You will usually see what an operator found before you go on.",
        heading="Some operators you could use:",
        rule="A turn would normally look somewhat like one of these:",
        closing="Try to keep the final answer fairly short.",
        compact="You could use: ",
    ),
    "code": replace(
        STANDARD["code"],
        manner="It is good to think a little first, and then you might write some code that calls operators, or gives "
        "an answer when you feel ready. You will usually see what it printed before you go on.",
        heading="Some functions you could use:",
        rule="A turn would normally look somewhat like this:",
        closing="Try to keep the final answer fairly short.",
        compact="You could use: ",
    ),
}

_PARAPHRASED: Wordings = {
    "natural": replace(
        STANDARD["natural"],
        task="Your job is to work out the reply to a question by a chain of moves, a single move per message.",
        manner="Each message starts with your reasoning and ends with a single move: one call to an operator, or "
        "the conclusion. What an operator returns is shown to you before your next message.",
        heading="The operators at your disposal:",
        rule="A message takes one of the following two shapes, and contains nothing besides:",
        closing="State the conclusion in the fewest words: a name, a figure, a date, yes or no.",
        compact="Tools: ",
    ),
    "code": replace(
        STANDARD["code"],
        task="Your job is to work out the reply to a question by a chain of moves, a single move per message.",
        manner="Each message starts with your reasoning and ends with a short script, which calls operators and prints "
        "what you need to see, or states the conclusion. What it prints is shown to you before your next message.",
        heading="The operators at your disposal, each a function:",
        rule="A message takes the following shape, and contains nothing besides:",
        closing="State the conclusion in the fewest words: a name, a figure, a date, yes or no.",
        compact="Available functions: ",
    ),
}

_ASIDES = (
    "The library is closed on the second Monday of every month. ",
    "Somebody left a green umbrella beside the door this morning. ",
    "The lift is out of order, so please take the stairs. ",
    "Lunch is served between noon and two o'clock. ",
    "My neighbour is learning to play the trombone. ",
    "It has been raining here for most of the week. ",
    "The printer on the third floor needs more paper. ",
    "Remember to water the plants before the weekend. ",
)


def _in_words(wordings: Wordings) -> Callable[[Prompt, Draw], Prompt]:
    return lambda prompt, draw: replace(prompt, wordings=wordings)


def _spelt_in(name: str) -> Callable[[Prompt, Draw], Prompt]:
    def change(prompt: Prompt, draw: Draw) -> Prompt:
        assert isinstance(prompt.interface, NaturalInterface)  # `_natural_only` refused the others
        return replace(prompt, interface=replace(prompt.interface, grammar=GRAMMARS[name]))

    return change


def _natural_only(prompt: Prompt) -> str | None:
    return None if prompt.interface.name == "natural" else "the code interface has one syntax"


def _reordered(prompt: Prompt, draw: Draw) -> Prompt:
    """Another order than the standard one."""
    names = sorted(prompt.operators, key=lambda spec: uniform("order", spec.name, *draw))
    if tuple(names) == prompt.operators:
        names = names[1:] + names[:1]
    return replace(prompt, operators=tuple(names))


def _two_operators(prompt: Prompt) -> str | None:
    return None if len(prompt.operators) > 1 else "the pool has one operator only"


def _demonstrated(among: Sequence[OperatorSpec]) -> list[OperatorSpec]:
    """Those with a demonstration, a search first: it leads furthest from the answer."""
    shown = [spec for spec in OPERATORS.values() if spec.demonstration and spec in among]
    return sorted(shown, key=lambda spec: spec.role is not Role.RETRIEVES)


def _with_example(prompt: Prompt, draw: Draw) -> Prompt:
    spec = _demonstrated(prompt.operators)[0]
    assert spec.demonstration is not None
    given, result = spec.demonstration
    # Rendered with the syntax the prompt will have in the end: `perturbed` puts changes of syntax first.
    turn, answer = prompt.interface.turn, prompt.interface.answer
    lines = [
        "Who wrote the novel The Glass Orchard?",
        turn(f"I look for the author with {spec.name}.", spec.call(given)),
        prompt.interface.observation(result),
        answer("The author is Mira Halvorsen.", "Mira Halvorsen"),
    ]
    return replace(prompt, example="\n".join(lines))


def _has_example(prompt: Prompt) -> str | None:
    known = " or ".join(spec.name for spec in _demonstrated([*OPERATORS.values()]))
    return None if _demonstrated(prompt.operators) else f"the example calls {known}, and the pool has neither"


def _distracted(prompt: Prompt, draw: Draw) -> Prompt:
    return replace(prompt, aside=pick(_ASIDES, "aside", *draw))


TYPO_RATE = 0.2
"""Share of the words that can take a typo which get one; a text with such a word gets at least one."""
_NAMES = frozenset(word for name in OPERATORS for word in re.findall(r"[A-Za-z]+", name))
_WORD = re.compile(r"[A-Za-z]{4,}")


def misspell(text: str, draw: Draw) -> str:
    """Two neighbouring inner letters swapped in some words.

    Capitalised words after the first stay: they may be names, and a misspelt name is another question. So do operator
    names.
    """

    def swaps(word: str) -> list[int]:
        return [i for i in range(1, len(word) - 2) if word[i] != word[i + 1]]

    words = [
        match
        for match in _WORD.finditer(text)
        if (match.start() == 0 or match[0].islower()) and match[0] not in _NAMES and swaps(match[0])
    ]
    if not words:
        return text
    chances = [uniform("typo", i, match[0], *draw) for i, match in enumerate(words)]
    limit = max(TYPO_RATE, min(chances))
    pieces, at = [], 0
    for match, chance in zip(words, chances, strict=True):
        if chance <= limit:
            word = match[0]
            i = pick(swaps(word), "letters", match.start(), *draw)
            pieces += [text[at : match.start()], word[:i], word[i + 1], word[i], word[i + 2 :]]
            at = match.end()
    return "".join([*pieces, text[at:]])


def _with_typos(prompt: Prompt, draw: Draw) -> Prompt:
    return replace(prompt, spell=lambda text: misspell(text, draw))


PERTURBATIONS: Mapping[str, Perturbation] = {
    "brackets": Perturbation("square brackets", _spelt_in("brackets"), "syntax", _natural_only, "brackets"),
    "headings": Perturbation("Markdown headings", _spelt_in("markdown"), "syntax", _natural_only, "markdown"),
    "json_call": Perturbation("one JSON object a turn", _spelt_in("json"), "syntax", _natural_only, "json"),
    "loose_wording": Perturbation("constraints as mere advice", _in_words(_LOOSE), "wording"),
    "paraphrased": Perturbation("the same in other words", _in_words(_PARAPHRASED), "wording"),
    "no_constraints": Perturbation(
        "constraints left out", lambda prompt, draw: replace(prompt, constraints=False), "wording"
    ),
    "reordered": Perturbation("operators in another order", _reordered, refuses=_two_operators),
    "few_shot": Perturbation("a worked example added", _with_example, refuses=_has_example),
    "distractor": Perturbation("an irrelevant sentence before the question", _distracted),
    "typos": Perturbation("misspelt prose", _with_typos),
}
"""By name, changes of syntax first: examples are written in it."""


def parts_of(name: str) -> list[str]:
    """The perturbations that `brackets+typos` names."""
    return [part.strip() for part in name.split(AND)]


def split_of(name: str) -> str:
    """Name of the split that holds an evaluation under `name`: letters, digits, underscores."""
    return "_and_".join(map(short_name, parts_of(name)))


def problem_of(names: Sequence[str], prompt: Prompt) -> str | None:
    """The reason why these perturbations cannot be applied together to `prompt`, or None."""
    own = own_parts(names)
    for name in names:
        if name not in PERTURBATIONS and name not in own:
            return f"unknown perturbation {name!r}{spelling_hint(name, list(PERTURBATIONS))}"
        if names.count(name) > 1:
            return f"{name} is named twice"
        if name in own and short_name(name) in PERTURBATIONS:
            return f"{name} has the name of a registered perturbation; give the function another"
        if name in own and (fault := OwnPerturbation(name).fault(prompt)) is not None:
            return fault
    names = [name for name in names if name not in own]
    for name in names:
        reason = PERTURBATIONS[name].refuses(prompt)
        if reason is not None:
            return f"{name} cannot be applied: {reason}"
        sets = PERTURBATIONS[name].sets
        rival = next((n for n in names if n != name and sets and PERTURBATIONS[n].sets == sets), None)
        if rival is not None:
            return f"{name} and {rival} contradict each other: both set the {sets}"
    syntax = next((name for name in names if PERTURBATIONS[name].syntax), None)
    if syntax and "no_constraints" in names:
        return (
            f"no_constraints and {syntax} contradict each other: the forms that {syntax} introduces would be left out"
        )
    return None


@dataclass(frozen=True)
class Perturbed:
    """A prompt under perturbations, ready for questions. Raises ValueError where they cannot be applied."""

    prompt: Prompt
    names: tuple[str, ...]
    seed: int

    def __post_init__(self) -> None:
        problem = problem_of(self.names, self.prompt)
        if problem is not None:
            raise ValueError(problem)

    @property
    def interface(self) -> ActionInterface:
        """The interface, with the grammar that the perturbations introduce."""
        return self.applied(()).interface

    def applied(self, draw: Draw) -> Prompt:
        prompt = self.prompt
        for name, perturbation in PERTURBATIONS.items():
            if name in self.names:
                prompt = perturbation.change(prompt, (self.seed, *draw))
        for name in own_parts(self.names):
            prompt = OwnPerturbation(name).change(prompt, (self.seed, *draw))
        return prompt

    def messages(self, question: Question) -> tuple[str, str]:
        """The system and the user message that open the question's episodes."""
        return self.applied((question.id,)).messages(question.text)

"""Asking one question: what is shown, when it is shown, and what is never shown."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from rich.console import Console

from harness.ask import main
from harness.env.environment_settings import Budgets
from harness.env.interfaces import NaturalInterface
from harness.env.rollout import Environment, rollout
from harness.evaluation import single_question as module
from harness.evaluation.episode_console import EpisodeConsole
from harness.evaluation.evaluate_command import load_evaluation
from harness.evaluation.single_question import PLACEHOLDER_QUESTION, DisplayingEngine, ValueRequest, ask_question
from harness.operators import Toolbox
from harness.operators.base import CallContext
from harness.operators.operator_services import world_retriever
from harness.policy.load import shipped_chat
from harness.protocol import PUBLISHED_REWARD, parse_turn
from harness.tasks.world import load_world
from harness.training.warm_start.scripted_agents import ScriptedEngine, turn
from harness.types import OperatorResult, Question
from tests.support.episodes import question as any_question
from tests.support.trained_trial import Trained

KNOWN = next(q for q in load_world().split("test", "world_single") if q.hops == 1)
FREE = "Please tell me: which city is the capital of Chad?"


def shown(
    text: str,
    *words: str,
    gold: tuple[str, ...] = (),
    seed: int | None = None,
    under: str | None = None,
    terminal: bool = False,
    values: ValueRequest | None = None,
) -> str:
    settings, (target,) = load_evaluation([*([] if "=" not in words[0] else ["tiny"]), *words] if words else ["tiny"])
    console = Console(file=io.StringIO(), width=100, force_terminal=terminal)
    assert ask_question(text, gold, settings, target, seed, under, console, values) == 0
    printed: str = console.file.getvalue()  # type: ignore[attr-defined]
    return printed


def test_a_question_of_the_world_is_scored_by_its_known_answer() -> None:
    printed = shown(KNOWN.text, "method=one_shot")
    assert [line[:20].strip() for line in printed.splitlines() if line] == [
        "question", "answered by", "operators",
        "turn 1", "think", "AnswerGenerate", "observation", "parse",
        "turn 2", "think", "Review", "observation", "parse",
        "turn 3", "think", "Revise", "observation", "parse",
        "turn 4", "think", "answer", "parse",
        "answer", "reward", "gold", "cost",
    ]  # fmt: skip
    assert re.search(r"^reward +[+-]\d\.\d\d = outcome [+-]\d\.\d\d, format [+-]\d\.\d\d; EM [01], F1", printed, re.M)
    assert f"{'gold':<20}{' | '.join(KNOWN.answers)}" in printed
    assert "4 turns, 3 calls" in printed


def test_a_free_question_is_answered_without_reward_and_without_its_answer_in_sight() -> None:
    everything_known = "environment.backend={kind: simulated, knows_common: 1.0, knows_obscure: 1.0}"
    printed = shown(FREE, "method=cot", everything_known)
    assert re.search(r"^answer +N'Djamena$", printed, re.MULTILINE)  # read in the question's own words
    assert re.search(r"^reward +none.*--gold", printed, re.MULTILINE)
    assert not {"gold", "EM"} & {line.split(" ")[0] for line in printed.splitlines()}
    assert PLACEHOLDER_QUESTION.answers[0] not in printed
    nonsense = shown("Who sang at the opening of the new pub?", "method=cot", everything_known)
    assert re.search(r"^answer +unknown$", nonsense, re.MULTILINE)


@pytest.mark.parametrize(("gold", "sign"), [(("Niamey", "n'djamena!"), "+1.00"), (("Niamey",), "+0.00")])
def test_an_answer_given_with_the_question_is_what_it_is_scored_by(gold: tuple[str, ...], sign: str) -> None:
    expert = ("environment.backend.knows_common=1.0", "environment.backend.knows_obscure=1.0")
    printed = shown(FREE, "method=cot", *expert, gold=gold)
    assert f"{sign} = outcome" in printed
    knows_nothing = ("environment.backend={kind: simulated, knows_common: 0.0, knows_obscure: 0.0, abstains: 1.0}",)
    assert re.search(r"^answer +unknown$", shown(FREE, "method=cot", *knows_nothing, gold=gold), re.MULTILINE)


def test_the_trained_policy_answers_greedily_or_by_its_seed(trained: Trained) -> None:
    greedy = shown(KNOWN.text, str(trained.trial))
    assert "gsspo_seed3, step 2" in greedy
    assert turns(shown(KNOWN.text, str(trained.trial))) == turns(greedy)
    hot = ("rollout.temperature=2.0",)
    sampled = [turns(shown(KNOWN.text, str(trained.trial), *hot, seed=seed)) for seed in (1, 1, 2)]
    assert sampled[0] == sampled[1] != sampled[2]


def test_the_value_after_every_turn_is_printed_and_drawn(tmp_path: Path) -> None:
    page, short = tmp_path / "staircase.html", ("environment.max_turns=3", "environment.max_turn_tokens=100")
    printed = shown(KNOWN.text, *short, seed=1, values=ValueRequest(8, page))
    found = re.findall(r"^turn (\d) +(\S+) ± \S+ → (\S+) ± (\S+), credit (\S+) ±", printed, re.MULTILINE)
    assert len(found) == len(re.findall(r"^turn \d+$", printed, re.MULTILINE)) > 0
    (reward,) = re.findall(r"^reward +(\S+) =", printed, re.MULTILINE)
    assert found[-1][2:4] == (reward, "0.00")
    assert sum(float(credit) for *_, credit in found) == pytest.approx(float(reward) - float(found[0][1]), abs=0.02)
    assert "8 forks a state of the policy at temperature 1" in printed
    assert page.read_text().count('class="unit"') == len(found)
    free = shown(FREE, *short, seed=1, values=ValueRequest(8))
    assert re.search(r"^values +none: no gold answer", free, re.MULTILINE)


FAULT = "environment.faults={kinds: [timeout], positions: [1], train_rate: 0.0, eval_rate: 1.0}"


def test_an_injected_fault_is_shown_with_what_was_truly_returned() -> None:
    printed = shown(KNOWN.text, "method=one_shot", FAULT, under="fault")
    assert re.search(r"^condition +fault$", printed, re.MULTILINE)
    assert re.search(r"^observation +Review did not answer in time", printed, re.MULTILINE)
    assert len(re.findall(r"^fault +timeout; true result: Feedback: ", printed, re.MULTILINE)) == 1
    assert "did not answer" not in shown(KNOWN.text, "method=one_shot", FAULT)


def turns(printed: str) -> str:
    """What the policy did, without how long it took."""
    return printed[printed.index("turn 1") : printed.rindex("cost")]


def test_a_terminal_gets_colours_and_a_file_gets_none() -> None:
    assert "\x1b[" in shown(KNOWN.text, "method=direct", terminal=True)
    assert "\x1b" not in shown(KNOWN.text, "method=direct")


def test_text_from_outside_cannot_steer_the_terminal() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    EpisodeConsole(console).policy_turn(parse_turn("<think>[bold]x[/bold] \x1b[31m</think><answer>[/red]</answer>", ()))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[bold]x[/bold]" in printed
    assert "[/red]" in printed
    assert "\x1b[31m" not in printed


def test_a_malformed_turn_is_shown_as_written_and_with_what_is_wrong() -> None:
    console = Console(file=io.StringIO(), width=200)
    show = EpisodeConsole(console)
    made = played(["<answer>N'Djamena", turn("Done.", answer="x")], show)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert made.turns[0].parsed.failures
    for failure in made.turns[0].parsed.failures:
        assert f"{failure.value}: " in printed
    assert re.search(r"^wrote +<answer>N'Djamena$", printed, re.MULTILINE)
    assert printed.count("well formed") == 1


@dataclass
class Curious:
    """Operators that look at the console when they are called."""

    inner: Toolbox
    console: Console
    seen: str = ""

    @property
    def pool(self) -> tuple[str, ...]:
        return self.inner.pool

    async def call(self, name: str, text: str, context: CallContext) -> OperatorResult:
        self.seen = self.console.file.getvalue()  # type: ignore[attr-defined]
        return await self.inner.call(name, text, context)


def played(texts: list[str], show: EpisodeConsole, curious: bool = False):  # type: ignore[no-untyped-def]
    chat = shipped_chat()
    tools = Toolbox("search_only", None, world_retriever(), style="compact")
    caller = Curious(tools, show.console) if curious else tools
    environment = Environment(
        "s", chat, caller, Budgets(9, 9, 500, 5000), PUBLISHED_REWARD, NaturalInterface(compact=True)
    )
    engine = DisplayingEngine(ScriptedEngine(chat, [(text for text in texts)]), environment, show)
    (episode,) = rollout(
        engine, environment, [any_question()], [0], 0.0, watch=lambda _, ended: show.environment_turn(ended)
    )
    return (episode, caller) if curious else episode


def test_a_call_is_shown_before_it_is_made() -> None:
    show = EpisodeConsole(Console(file=io.StringIO(), width=200))
    _, caller = played([turn("Look.", tool="Search: capital of Chad"), turn("Done.", answer="x")], show, curious=True)
    assert re.search(r"^think +Look.\nSearch +capital of Chad$", caller.seen, re.MULTILINE)
    assert "observation" not in caller.seen


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["What is", "the capital?"], "is the question in quotes"),
        ([" "], "the question is empty"),
        (["Where?", "--policy", "tinny"], "did you mean 'tiny'?"),
        (["Where?", "data.eval_suits=[x]"], "unknown key 'data.eval_suits'"),
        (["Where?", "method=[cot, direct]"], "give one method"),
        (["Where?", "method=one_shot", "plan=written"], "cannot write a plan"),
        (["Where?", "method=cot", "--values"], "a baseline has none"),
        (["Where?", "--values", "10"], "a multiple of 4 from 8 to"),
        (["Where?", "--page", "x.html"], "give --values too"),
        (["Where?", "method=cot", "--under", "fault"], "no condition 'fault': the configuration has none"),
    ],
)
def test_bad_usage_exits_with_2_and_no_traceback(words: list[str], said: str, capsys: pytest.CaptureFixture) -> None:
    try:
        status = main(words)
    except SystemExit as stopped:
        status = stopped.code  # type: ignore[assignment]
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_a_question_with_an_equals_sign_is_a_question(capsys: pytest.CaptureFixture) -> None:
    assert main(["If a=b, what is b?", "method=cot"]) == 0
    assert "If a=b, what is b?" in capsys.readouterr().out


def test_the_question_that_is_played_keeps_its_plan_unless_it_is_free() -> None:
    known = module.question_to_play(KNOWN.text, (), KNOWN)
    assert known is KNOWN
    assert module.question_to_play(KNOWN.text, ("x",), KNOWN) == replace(KNOWN, answers=("x",))
    assert module.question_to_play("Why?", ("x",), None) == Question("asked", "Why?", ("x",), "asked")

"""A new operator is its specification and a place in the registry: everything else reads it from there."""

from __future__ import annotations

import pytest

from analysis.transitions import CORRECTORS
from harness.env.environment_settings import Budgets
from harness.env.fault_detection import Response, Signal, read_faults
from harness.env.fault_injection import FAULTS, FaultInjector, FaultPlan
from harness.env.interfaces import ActionInterface, CodeInterface, NaturalInterface
from harness.env.prompts.perturbations import Perturbed
from harness.env.prompts.system import standard_prompt, system_prompt
from harness.env.rollout import Environment, rollout
from harness.operators import OPERATORS, POOLS, LLMRequest, OperatorSpec, Role
from harness.operators.completions import one_completion
from harness.operators.llm.simulated import SimulatedLLM, SimulatedRates, states
from harness.operators.spec import Completion
from harness.protocol import PUBLISHED_REWARD
from harness.training.warm_start.scripted_agents import Script, ScriptedEngine, spoken, turn
from harness.types import OperatorFailure, Trajectory
from tests.support.episodes import chat
from tests.support.small_world import KNOWLEDGE, LANDS, ONE_HOP, call, toolbox

Q = ONE_HOP[7]
INTERFACES = [NaturalInterface(), CodeInterface()]


def _simulate(llm: SimulatedLLM, request: LLMRequest) -> str:
    asked = llm.understand(request.inputs["question"][0], request.context.question)
    assert asked is not None
    right = states(request.inputs["solution"][0], asked.right)
    return f"<verdict>The solution is {'correct' if right else 'wrong'}.</verdict>"


AUDIT = OperatorSpec(
    name="AuditSolution",
    role=Role.REVIEWS,
    summary="audits a solution",
    input_format="<question>question</question><solution>solution</solution>",
    example="AuditSolution: <question>What is the capital of Chad?</question><solution>Niamey</solution>",
    run=one_completion(lambda tags, style: f"Feedback: {tags['verdict']}"),
    tags={"question": 1, "solution": 1},
    completion=Completion("Audit this.\n{question}\n{solution}\nWrite <verdict>…</verdict>.", ("verdict",), _simulate),
    demonstration=("<question>Who?</question><solution>Mira</solution>", "Feedback: The solution is correct."),
)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPERATORS, AUDIT.name, AUDIT)
    monkeypatch.setitem(POOLS, "audited", ("AnswerGenerate", AUDIT.name))


def script() -> Script:
    """Asks, has the answer audited, and audits again where the audit rejects it."""
    seen = yield turn("Ask.", tool=OPERATORS["AnswerGenerate"].call(Q.text))
    answer = seen.split("Answer: ")[1].split("<")[0]
    audit = AUDIT.call(question=Q.text, solution=answer)
    if "wrong" in (yield turn("Audit it.", tool=audit)):
        yield turn("Once more.", tool=audit)
    yield turn("Done.", answer=answer)


def play(interface: ActionInterface, *kinds: str) -> Trajectory:
    box = toolbox(SimulatedRates(knows_common=1, knows_obscure=1), pool="audited")
    tools = FaultInjector(box, FaultPlan(kinds, 1.0, positions=(1,)), KNOWLEDGE, LANDS) if kinds else box
    environment = Environment(
        system_prompt("audited", "full", interface),
        chat(),
        tools,
        Budgets(5, 6, 600, 9000),
        PUBLISHED_REWARD,
        interface,
    )
    engine = ScriptedEngine(chat(), [spoken(script(), interface)])
    return rollout(engine, environment, [Q], [0], 0.0)[0]


def results_of(episode: Trajectory) -> list[str]:
    return [result.text.strip() for result in episode.calls]


@pytest.mark.parametrize("interface", INTERFACES, ids=lambda i: i.name)
def test_instructions_name_it_and_show_how_to_call_it(interface: ActionInterface) -> None:
    assert interface.describe(AUDIT) in system_prompt("audited", "full", interface)
    assert interface.usage(AUDIT) in system_prompt("audited", "compact", interface)
    assert "audits a solution" in interface.describe(AUDIT)


def test_a_worked_example_can_call_it() -> None:
    prompt = standard_prompt([AUDIT.name], "full", NaturalInterface())
    assert (
        f"<tool>{AUDIT.call('<question>Who?</question><solution>Mira</solution>')}</tool>"
        in (Perturbed(prompt, ("few_shot",), 0).messages(Q)[0])
    )


@pytest.mark.parametrize("interface", INTERFACES, ids=lambda i: i.name)
def test_its_call_is_executed_and_answered_by_its_simulated_behaviour(interface: ActionInterface) -> None:
    episode = play(interface)
    assert results_of(episode) == ["Answer: Capital7", "Feedback: The solution is correct."]
    assert (episode.reward.em, episode.failures) == (1, ())


def test_an_incomplete_call_of_it_is_corrected() -> None:
    result = call(toolbox(pool="audited"), AUDIT.name, "<question>x</question>", Q)
    assert result.failure is OperatorFailure.MISSING_INPUT
    assert AUDIT.input_format in result.text


@pytest.mark.parametrize("interface", INTERFACES, ids=lambda i: i.name)
def test_faults_of_its_role_strike_it_and_their_detection_reads_it(interface: ActionInterface) -> None:
    assert {kind for kind, spec in FAULTS.items() if AUDIT.name in spec.operators} == {
        kind for kind, spec in FAULTS.items() if "Review" in spec.operators
    }
    episode = play(interface, "wrong_verdict")
    rejected = "Feedback: The solution is wrong. Check the capital of Land7."
    assert results_of(episode) == ["Answer: Capital7", rejected, "Feedback: The solution is correct."]
    (reading,) = read_faults(episode)
    assert (reading.kind, reading.turn, reading.response) == ("wrong_verdict", 1, Response.DETECTED)
    assert reading.signals == ((1, Signal.RETRY),)


def test_a_missing_review_of_it_bears_its_name() -> None:
    episode = play(NaturalInterface(), "missing_review")
    result = episode.turns[1].result
    assert result is not None
    assert (result.text, result.failure) == ("AuditSolution gave no feedback.", OperatorFailure.EMPTY)
    assert read_faults(episode)[0].response is Response.ACCEPTED


def test_the_analysis_knows_operators_by_role() -> None:
    assert {OPERATORS[name].role for name in CORRECTORS} == {Role.REVIEWS, Role.REVISES, Role.CHOOSES}

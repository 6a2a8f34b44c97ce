"""Episodes as traces: content of spans, which episodes are shown, and that writing them again changes nothing."""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.tracing.client import TracingClient
from mlflow.tracking import MlflowClient

from harness.runs.episode_store import EpisodePath, read_episodes, write_episodes
from harness.runs.trace_sampling import REPEAT_STEPS, TraceSampler, trace_failures, window_start
from harness.tracking import traces
from harness.tracking.client import delete_run
from harness.types import (
    Action,
    ActionKind,
    Fault,
    OperatorFailure,
    OperatorResult,
    ParsedTurn,
    ParseFailure,
    Question,
    Reward,
    Span,
    StopReason,
    Trajectory,
    Turn,
)

TS = 1_700_000_000_000


def called(result: OperatorResult, generate_s: float = 0.0, operate_s: float = 0.0) -> Turn:
    said = f"<think>so</think><tool>{result.operator}: x</tool>"
    action = Action(ActionKind.TOOL, "x", Span(17, len(said)), result.operator)
    return Turn((1, 2, 3), (-0.5,) * 3, ParsedTurn(said, Span(0, 17), action), 1, (4, 5), result, generate_s, operate_s)


def malformed() -> Turn:
    parsed = ParsedTurn("<think>so", Span(0, 9), None, (ParseFailure.UNCLOSED_TAG,))
    return Turn((1, 2), (-0.5,) * 2, parsed, 2, (4,), OperatorResult("WarningOp", "close it"))


def answered(text: str = "Accra") -> Turn:
    said = f"<think>so</think><answer>{text}</answer>"
    return Turn((7, 8), (-0.1,) * 2, ParsedTurn(said, None, Action(ActionKind.ANSWER, text, Span(17, 40)), (), text), 1)


def episode(turns: Sequence[Turn], right: bool = True, number: int = 0) -> Trajectory:
    found = [f for t in turns for f in t.parsed.failures]
    answer = turns[-1].parsed.answer_text
    reward = Reward(1.0 if right else 0.0, float(right), 0.0, float(right), float(right), float(right), answer)
    stop = StopReason.ANSWERED if answer else StopReason.TURN_BUDGET
    asked = Question(f"q{number}", "Capital of Ghana?", ("Accra",), "world_single")
    return Trajectory(asked, (9, 9, 9), tuple(turns), stop, reward, tuple(found))


FAULTED = episode(
    [
        called(OperatorResult("Search", "[1] Niamey", fault=Fault("wrong_entity", 0, "[1] Accra")), 0.25, 0.5),
        malformed(),
        called(OperatorResult("Review", "", OperatorFailure.TIMEOUT, 11, 5, 0.2, 0.001), 0.5, 0.25),
        answered(),
    ]
)


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def place(empty_store, tmp_path) -> tuple[str, MlflowClient, traces.TraceOrigin]:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = MlflowClient(uri)
    experiment = client.create_experiment("demo", tmp_path.as_uri())
    run = client.create_run(experiment).info.run_id
    return uri, client, traces.TraceOrigin(experiment, run, "k" * 64, TS, "gsspo_seed3", "gsspo", 3)


def write_traces(uri: str, origin: traces.TraceOrigin, rows: list[dict], ts: int) -> None:
    traces.send_traces(uri, origin.experiment, [traces.build_trace(origin, row, ts) for row in rows])


def rows_of(folder: Path, *episodes: Trajectory) -> list[dict]:
    return read_episodes(write_episodes(folder, 4, "train", episodes))


def test_a_trace_shows_the_episode_turn_by_turn(place, tmp_path):
    uri, client, origin = place
    write_traces(uri, origin, rows_of(tmp_path, FAULTED), TS)
    [trace] = client.search_traces(locations=[origin.experiment])
    agent, *parts = trace.data.spans
    assert (agent.name, agent.parent_id) == ("agent", None)
    assert {part.parent_id for part in parts} == {agent.span_id}
    assert [part.name for part in parts] == [
        "generate", "parse", "Search", "generate", "parse", "WarningOp", "generate", "parse", "Review", "generate",
        "parse",
    ]  # fmt: skip
    generates = [part for part in parts if part.name == "generate"]
    usages = [part.attributes["mlflow.chat.tokenUsage"] for part in generates]
    assert [usage["output_tokens"] for usage in usages] == [3, 2, 3, 2]
    assert [usage["input_tokens"] for usage in usages] == [3, 3 + 5, 8 + 3, 11 + 5]  # the prompt and all that followed
    assert generates[0].inputs["messages"][0]["content"] == "Capital of Ghana?"
    assert generates[1].inputs["messages"][0]["content"] == "[1] Niamey"
    assert generates[3].outputs["messages"][0]["content"] == "<think>so</think><answer>Accra</answer>"
    assert (agent.outputs["answer"], agent.outputs["em"]) == ("Accra", 1.0)


def test_latencies_are_those_measured_and_parts_follow_each_other(place, tmp_path):
    _, spans = traces.build_trace(place[2], rows_of(tmp_path, FAULTED)[0], TS)
    seconds = [(span.name, (span.end_time_ns - span.start_time_ns) / 1e9) for span in spans]
    assert [s for name, s in seconds if name == "generate"] == [0.25, 0.0, 0.5, 0.0]
    assert dict(seconds)["Search"] == 0.5
    assert seconds[0] == ("agent", 1.5)
    assert spans[0].end_time_ns == TS * 1_000_000
    for before, after in itertools.pairwise(spans[1:]):
        assert before.end_time_ns == after.start_time_ns
    assert spans[-1].end_time_ns == spans[0].end_time_ns


def test_faults_failures_and_costs_stand_on_their_spans(place, tmp_path):
    _, spans = traces.build_trace(place[2], rows_of(tmp_path, FAULTED)[0], TS)
    search, review = (next(s for s in spans if s.name == name) for name in ("Search", "Review"))
    assert search.attributes["fault.kind"] == "wrong_entity"
    assert [e.name for e in search.events] == ["fault injected"]
    assert search.events[0].attributes["true_result"] == "[1] Accra"
    assert (review.status.status_code.value, review.status.description) == ("ERROR", "timeout")
    assert review.attributes["mlflow.llm.cost"] == {"total_cost": 0.001}
    assert review.attributes["mlflow.chat.tokenUsage"]["total_tokens"] == 16
    broken = [s for s in spans if s.name == "parse" and s.status.description]
    assert [s.status.description for s in broken] == ["unclosed_tag"]


def test_verdicts_are_feedback_and_gold_is_an_expectation(place, tmp_path):
    uri, client, origin = place
    wrong = episode([called(OperatorResult("Search", "x", OperatorFailure.EMPTY)), answered("Lomé")], right=False)
    write_traces(uri, origin, rows_of(tmp_path, FAULTED, wrong, episode([answered()])), TS)
    said = {}
    for trace in client.search_traces(locations=[origin.experiment]):
        found = {a.name: (a.feedback or a.expectation).value for a in trace.info.assessments}
        said[trace.info.response_preview, len(trace.data.spans)] = found
    assert said == {
        ("Accra", 12): {"gold": ["Accra"], "em": True, "format": False, "recovered": True},
        ("Lomé", 6): {"gold": ["Accra"], "em": False, "format": True, "recovered": False},
        ("Accra", 3): {"gold": ["Accra"], "em": True, "format": True},  # nothing to recover from
    }


@pytest.mark.parametrize(
    ("query", "hits"),
    [
        ("tag.suite = 'world_single'", 3),
        ("tag.question_id = 'q1'", 1),
        ("tag.arm = 'gsspo'", 3),
        ("tag.arm = 'grpo'", 0),
        ("tag.failures LIKE '%unclosed_tag%'", 1),
        ("tag.failures LIKE '%operator:timeout%'", 1),
        ("tag.failures LIKE '%fault:wrong_entity%'", 1),
        ("tag.failures = 'none'", 2),
        ("feedback.em = 'false'", 1),
        ("feedback.recovered = 'true'", 1),
        ("span.name = 'Review'", 1),
        ("trace.text LIKE '%Lomé%'", 1),
    ],
)
def test_traces_are_found_by_question_suite_failure_arm_and_verdict(searchable, query, hits):
    client, experiment = searchable
    assert len(client.search_traces(locations=[experiment], filter_string=query)) == hits


@pytest.fixture(scope="module")
def searchable(empty_store, tmp_path_factory) -> tuple[MlflowClient, str]:
    home = tmp_path_factory.mktemp("searchable")
    shutil.copy(empty_store, home / "mlflow.db")
    uri = f"sqlite:///{home / 'mlflow.db'}"
    client = MlflowClient(uri)
    experiment = client.create_experiment("demo", home.as_uri())
    origin = traces.TraceOrigin(
        experiment, client.create_run(experiment).info.run_id, "k", TS, "gsspo_seed3", "gsspo", 3
    )
    wrong = episode([answered("Lomé")], right=False, number=1)
    write_traces(uri, origin, rows_of(home, FAULTED, wrong, episode([answered()], number=2)), TS)
    return client, experiment


def everything(client: MlflowClient, experiment: str) -> list[dict]:
    found = client.search_traces(locations=[experiment], max_results=100)
    for trace in found:
        trace.info.assessments.sort(key=lambda a: a.name)
    return sorted((trace.to_dict() for trace in found), key=lambda t: t["info"]["trace_id"])


def test_a_writer_killed_between_its_two_requests_is_made_good_by_the_next(place, tmp_path, monkeypatch):
    uri, client, origin = place
    rows = rows_of(tmp_path, FAULTED, episode([answered()], number=1))

    def killed(self, location, spans):
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(TracingClient, "log_spans", killed)
        with pytest.raises(ConnectionError):
            write_traces(uri, origin, rows, TS)
    write_traces(uri, origin, rows, TS)
    healed = everything(client, origin.experiment)
    assert [len(trace["data"]["spans"]) for trace in healed] in ([12, 3], [3, 12])
    write_traces(uri, origin, rows, TS)
    assert everything(client, origin.experiment) == healed


def test_the_traces_of_a_deleted_run_go_with_it(place, tmp_path):
    uri, client, origin = place
    other = client.create_run(origin.experiment).info.run_id
    write_traces(uri, origin, rows_of(tmp_path, FAULTED), TS)
    kept = traces.TraceOrigin(origin.experiment, other, "j" * 64, TS, "grpo_seed3", "grpo", 3)
    write_traces(uri, kept, rows_of(tmp_path, FAULTED), TS)
    delete_run(client, origin.experiment, origin.run)
    [left] = client.search_traces(locations=[origin.experiment])
    assert left.info.trace_metadata["mlflow.sourceRun"] == other


EPISODES = st.lists(st.lists(st.sampled_from("abcde"), max_size=3), max_size=20)
FILES = st.dictionaries(st.sampled_from(["eval", "eval_sampled", "train"]), EPISODES)


def kinds_of(files: dict[str, list[list[str]]], chosen: dict[str, list[int]]) -> set[str]:
    return {kind for split, of in chosen.items() for i in of for kind in files[split][i]}


@given(files=FILES, others=st.integers(0, 6))
def test_the_sample_shows_every_kind_and_no_more_than_it_must(files, others):
    chosen = TraceSampler(others).choose(0, files)
    everything = {split: list(range(len(episodes))) for split, episodes in files.items()}
    every = kinds_of(files, everything)
    assert kinds_of(files, chosen) == every
    assert all(of == sorted(set(of)) and set(of) <= set(everything[split]) for split, of in chosen.items())
    n = sum(map(len, chosen.values()))
    assert min(sum(map(len, files.values())), others) <= n <= len(every) + others


@given(steps=st.dictionaries(st.integers(0, 3 * REPEAT_STEPS), FILES, max_size=12), others=st.integers(0, 2))
def test_a_kind_is_shown_once_a_window_and_a_sampler_started_there_chooses_alike(steps, others):
    ordered = sorted(steps.items())
    sampler, shown, chosen = TraceSampler(others), {}, []
    for step, files in ordered:
        chosen.append(sampler.choose(step, files))
        found = kinds_of(files, chosen[-1])
        for kind in {kind for episodes in files.values() for some in episodes for kind in some}:
            assert kind in found or window_start(shown[kind]) == window_start(step)
        shown |= dict.fromkeys(found, step)
        assert min(sum(map(len, files.values())), others) <= sum(map(len, chosen[-1].values()))
    for first, (step, _) in enumerate(ordered):
        if not first or window_start(ordered[first - 1][0]) < window_start(step):
            late = TraceSampler(others)
            assert [late.choose(*files) for files in ordered[first:]] == chosen[first:]


def test_the_splits_of_a_step_take_turns():
    """One episode a step: evaluations are not crowded out by training, nor one kind of them by the other."""
    sampler, shown = TraceSampler(1), Counter()
    for step in range(0, 41):
        evaluated = {"eval": [[]] * 9, "eval_sampled": [[]] * 9} if step % 5 == 0 else {}
        [split] = [s for s, of in sampler.choose(step, evaluated | ({"train": [[]] * 9} if step else {})).items() if of]
        shown[split] += 1
    assert shown == {"train": 32, "eval": 5, "eval_sampled": 4}


def test_every_kind_of_failure_has_a_name(tmp_path):
    spent = episode([called(OperatorResult("Search", "x"))], right=False)
    rows = rows_of(tmp_path, FAULTED, spent, episode([answered()]))
    assert [trace_failures(row) for row in rows] == [
        ["unclosed_tag", "fault:wrong_entity", "operator:timeout"],
        ["turn_budget"],
        [],
    ]


def test_a_sample_reads_only_what_it_shows(tmp_path):
    path = write_episodes(tmp_path, 1, "eval", [episode([answered()], number=i) for i in range(10)] + [FAULTED])
    assert [row["question_id"] for row in traces.sample_rows([EpisodePath(1, "eval", path)], 1, TraceSampler(2))] == [
        "q0",
        "q5",
        "q0",
    ]


def test_a_sample_leaves_out_what_cannot_be_read(tmp_path):
    whole = write_episodes(tmp_path, 1, "eval", [episode([answered()], number=1)])
    broken = write_episodes(tmp_path, 1, "train", [episode([answered()], number=2)])
    broken.write_bytes(broken.read_bytes()[:-20])
    named = {"eval": whole, "train": broken, "other": tmp_path / "gone.parquet"}
    files = [EpisodePath(1, split, path) for split, path in named.items()]
    assert [row["question_id"] for row in traces.sample_rows(files, 1, TraceSampler(3))] == ["q1"]

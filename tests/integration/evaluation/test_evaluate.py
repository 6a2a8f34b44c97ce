"""The evaluation door: what it scores, prints, keeps and logs, and that it scores what training scored."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from analysis.load import load_frames
from harness.env.prompts.perturbations import PERTURBATIONS, split_of
from harness.evaluate import main
from harness.evaluation.evaluate_command import load_evaluation
from harness.evaluation.run import name_answerers
from harness.policy.load import TINY_ASSETS
from harness.runs.run import TrialRun
from harness.tracking.__main__ import main as replay
from tests.support.trained_trial import Trained


@pytest.fixture(scope="module")
def evaluated(trained: Trained) -> str:
    """What one evaluation of the trained trial printed: two methods, greedy and sampled."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main([str(trained.trial), "method=[agent,one_shot]", "data.eval_samples=2"]) == 0
    return printed.getvalue()


def kept(trained: Trained) -> Path:
    (folder,) = [p for p in (trained.home / "evaluations").glob("gsspo_seed3-*") if len(list(p.glob("trials/*"))) == 2]
    return folder


def rows(path: Path, **wanted: str) -> list[dict[str, Any]]:
    """The rows of a CSV file whose columns have these values."""
    with path.open() as handle:
        return [r for r in csv.DictReader(handle) if all(r[name] == value for name, value in wanted.items())]


def test_a_kept_policy_scores_what_its_trial_scored_at_that_step(trained: Trained, evaluated: str) -> None:
    by_training = TrialRun(trained.trial).result()
    assert by_training is not None
    found = {r["name"]: float(r["em"]) for r in rows(kept(trained) / "scores.csv", answerer="agent", mode="greedy")}
    for suite in ("world_single", "world_chain"):
        assert found[suite] == by_training["final"][f"eval/em/{suite}"]
    assert found["all suites"] == pytest.approx(by_training["final"]["eval/em"])


def test_the_tables_show_suites_hops_and_the_difference_with_intervals(evaluated: str) -> None:
    interval = r"[+-]?\d\.\d{3} \[[+-]?\d\.\d{3}, [+-]?\d\.\d{3}\]"
    for name in ("agent", "agent, 2 samples", "one_shot", "world_single", "world_chain", "1 hop", "2 hops"):
        assert re.search(rf"^{name} +\d+ .*{interval}", evaluated, re.MULTILINE), name
    assert re.search(rf"^agent − one_shot +{interval}", evaluated, re.MULTILINE)
    assert "one_shot calls Review, Revise, " in evaluated


def test_what_is_kept_reads_like_a_sweep_whose_arms_are_the_methods(trained: Trained, evaluated: str) -> None:
    frames = load_frames(kept(trained))
    assert list(frames.trials["included"]) == [True, True]
    assert {arm.settings["method"] for arm in frames.arms.values()} == {"agent", "one_shot"}
    kinds = dict.fromkeys((r["answerer"], r["mode"]) for r in rows(kept(trained) / "episodes.csv"))
    by_kind = {k: rows(kept(trained) / "episodes.csv", answerer=k[0], mode=k[1]) for k in kinds}
    assert {kind: len(part) for kind, part in by_kind.items()} == {
        ("agent", "greedy"): 8, ("agent", "sampled"): 16, ("one_shot", "greedy"): 8, ("one_shot", "sampled"): 16,
    }  # fmt: skip
    asked = [[e["question_id"] for e in part] for (_, mode), part in by_kind.items() if mode == "greedy"]
    assert asked[0] == asked[1]
    assert len(list(kept(trained).glob("trials/*/episodes/*.parquet"))) == 4


def test_the_run_in_mlflow_is_its_own_and_linked_to_the_training_run(trained: Trained, evaluated: str) -> None:
    client = MlflowClient(trained.uri)
    experiment = client.get_experiment_by_name("demo").experiment_id
    runs = client.search_runs([experiment])
    (training,) = [r for r in runs if "trial_key" in r.data.tags]
    (agent,) = [r for r in runs if r.data.tags.get("method") == "agent"]
    assert agent.data.tags["training_run"] == agent.data.tags["mlflow.parentRunId"] == training.info.run_id
    assert agent.data.tags["evaluated_trial_key"] == training.data.tags["trial_key"]
    assert agent.info.run_id in training.data.tags["evaluations"].split()
    assert agent.info.status == "FINISHED"
    (scores,) = rows(kept(trained) / "scores.csv", answerer="agent", mode="greedy", scope="all")
    assert agent.data.metrics["eval/em"] == float(scores["em"])
    assert agent.data.metrics["eval/em_high"] == float(scores["em_high"])
    assert {"eval/f1/world_chain", "eval_hops/lenient/2", "eval/em_sampled/world_single"} <= set(agent.data.metrics)
    assert (agent.data.params["method"], agent.data.params["evaluated_step"]) == ("agent", "2")
    assert {"scores.csv", "episodes"} <= {f.path for f in client.list_artifacts(agent.info.run_id)}


def test_replay_rebuilds_the_runs_of_an_evaluation_from_its_folder(trained: Trained, evaluated: str, capsys) -> None:
    folder = kept(trained)
    elsewhere = f"sqlite:///{trained.home / 'again.db'}"
    assert replay(["replay", str(folder), "--uri", elsewhere]) == 0
    out = capsys.readouterr().out
    assert len(re.findall(r"http://127\.0\.0\.1:5000/#/experiments/\d+/runs/\w{32}", out)) == 2

    def shown(uri: str) -> list[tuple[object, ...]]:
        client = MlflowClient(uri)
        ids = [e.experiment_id for e in client.search_experiments()]
        runs = [r for r in client.search_runs(ids) if "evaluation_key" in r.data.tags]
        kept = ("evaluation_key", "method", "evaluated", "evaluated_trial_key", "mlflow.runName", "sweep_id")
        return sorted(
            (*(r.data.tags[name] for name in kept), *sorted(r.data.metrics.items()), *sorted(r.data.params.items()))
            for r in runs
        )

    assert shown(elsewhere) == shown(trained.uri)
    journal = next(folder.glob("trials/*/metrics.jsonl"))
    journal.write_bytes(journal.read_bytes().replace(b"eval/em", b"eval/me", 1))
    assert replay(["replay", str(folder), "--uri", elsewhere]) == 1
    assert f"damaged journal: {folder}/trials/{journal.parent.name}/metrics.jsonl:1" in capsys.readouterr().err


def test_the_same_evaluation_again_takes_the_place_of_the_first(trained: Trained, capsys) -> None:
    words = [str(trained.trial), "method=cot", "step=1"]
    assert main(words) == main(words) == 0
    capsys.readouterr()
    client = MlflowClient(trained.uri)
    experiment = client.get_experiment_by_name("demo").experiment_id
    assert len(client.search_runs([experiment], "tags.method = 'cot'")) == 1
    folders = [p for p in (trained.home / "evaluations").iterdir() if "cot" in (p / "sweep.yaml").read_text()]
    assert len(folders) == 1


def test_the_same_evaluation_from_another_folder_has_a_run_of_its_own(trained: Trained, tmp_path: Path, capsys) -> None:
    for out in (tmp_path / "mine", tmp_path / "yours"):
        words = [str(trained.trial), "method=direct", "step=1", f"tracking.uri={trained.uri}", "--out", str(out)]
        assert main(words) == 0
    capsys.readouterr()
    client = MlflowClient(trained.uri)
    experiment = client.get_experiment_by_name("demo").experiment_id
    assert len(client.search_runs([experiment], "tags.method = 'direct'")) == 2


def test_a_store_that_cannot_be_written_costs_the_log_and_not_the_result(tmp_path: Path, capsys) -> None:
    words = ["tiny", "method=direct", "tracking.uri=http://127.0.0.1:9", "data.eval_questions=2"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert err.startswith("MLflow could not be written: ")
    (folder,) = (tmp_path / "evaluations").iterdir()
    assert str(folder) in out
    assert len(rows(folder / "episodes.csv")) == 7 * 2 * 2  # greedy, and the profile's one sample
    (trial,) = (folder / "trials").iterdir()
    (line,) = TrialRun(trial).metrics()
    assert line[1]["eval/em"] == float(rows(folder / "scores.csv")[0]["em"])
    assert json.loads((trial / "trial.json").read_text())["axes"]["method"] == "direct"


def test_the_operators_of_the_command_line_reach_every_answerer(tmp_path: Path, capsys) -> None:
    """An expert that knows nothing and never guesses right leaves a baseline nothing to answer with."""
    ignorant = "environment.backend={kind: simulated, knows_common: 0.0, knows_obscure: 0.0, abstains: 1.0}"
    words = ["tiny", "method=[direct,cot]", ignorant, "data.eval_suites=[world_single]", "data.eval_samples=0"]
    assert main([*words, "--out", str(tmp_path), "tracking.uri=http://127.0.0.1:9"]) == 0
    capsys.readouterr()
    (folder,) = (tmp_path / "evaluations").iterdir()
    assert {r["answer"] for r in rows(folder / "episodes.csv")} == {"unknown"}


def test_faults_and_prompts_are_further_evaluations_with_their_own_scores_and_contrasts(tmp_path: Path, capsys) -> None:
    faults = "environment.faults={kinds: [corrupted_answer], positions: null, train_rate: 0.0, eval_rate: 1.0}"
    prompts = f"environment.perturbations.eval=[{next(iter(PERTURBATIONS))}]"
    words = ["tiny", "method=[agent,cot]", faults, prompts, "data.eval_suites=[world_single]", "data.eval_samples=0"]
    assert main([*words, "data.eval_questions=3", "--out", str(tmp_path), "tracking.uri=http://127.0.0.1:9"]) == 0
    out, _ = capsys.readouterr()
    (folder,) = (tmp_path / "evaluations").iterdir()
    prompt = f"eval_prompt_{split_of(next(iter(PERTURBATIONS)))}"
    modes = {(r["answerer"], r["mode"]) for r in rows(folder / "scores.csv", scope="all")}
    assert modes == {(a, m) for a in ("agent", "cot") for m in ("greedy", "eval_fault")} | {("agent", prompt)}
    struck = rows(folder / "episodes.csv", answerer="cot", mode="eval_fault")
    assert [int(r["faults"]) for r in struck] == [1, 1, 1]  # the one call of each episode
    assert {r["em"] for r in struck} == {"0.0"}
    assert {r["faults"] for r in rows(folder / "episodes.csv", answerer="cot", mode="greedy")} == {"0"}
    assert [r["mode"] for r in rows(folder / "contrasts.csv")] == ["greedy", "eval_fault"]
    assert re.search(r"^cot, faults +3 +0\.000", out, re.MULTILINE)
    kept_splits = {p.stem.partition("-eval")[2] for p in folder.glob("trials/agent-*/episodes/*.parquet")}
    assert kept_splits == {"", "_fault", "_twin", prompt.removeprefix("eval")}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tinny"], "did you mean 'tiny'?"),
        (["tiny", "method=one_shot", "plan=written"], "cannot write a plan"),
        (["tiny", "method=one_shot", "plan=search"], "reads no passages"),
        ([str(TINY_ASSETS), "method=agent"], "profile=tiny"),
        (["tiny", "method=cot", "data.source=files", "data.path=tests"], "only the answers"),
    ],
)
def test_what_cannot_be_evaluated_exits_with_2_and_no_traceback(words: list[str], said: str, capsys) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert "Traceback" not in err
    assert out == ""


def test_a_model_without_weights_is_refused_by_the_missing_files_name(tmp_path: Path, capsys) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    assert main([str(tmp_path / "model"), "profile=tiny", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "model.safetensors" in error
    assert "Traceback" not in error


def test_a_model_whose_architecture_no_engine_runs_is_one_line_and_status_1(tmp_path: Path, capsys) -> None:
    model = tmp_path / "model"
    AutoTokenizer.from_pretrained(TINY_ASSETS).save_pretrained(model)
    GPT2LMHeadModel(GPT2Config(vocab_size=2048, n_embd=8, n_layer=1, n_head=1)).save_pretrained(model)
    assert main([str(model), "profile=tiny", "--out", str(tmp_path)]) == 1
    assert re.fullmatch(r"evaluation stopped: the built-in engine runs .*'gpt2'.*\n", capsys.readouterr().err)


def test_a_dead_operator_service_is_reported_and_scores_nothing(tmp_path: Path, capsys) -> None:
    dead = "environment.backend={kind: openai, base_url: 'http://127.0.0.1:9/v1', model: m}"
    words = [
        "tiny",
        "method=cot",
        dead,
        "data.eval_suites=[world_single]",
        "data.eval_questions=1",
        "data.eval_samples=0",
    ]
    assert main([*words, "--out", str(tmp_path), "tracking.uri=http://127.0.0.1:9"]) == 0
    out, _ = capsys.readouterr()
    assert "cot: 1 of 1 operator results were failures" in out
    (folder,) = (tmp_path / "evaluations").iterdir()
    assert [r["em"] for r in rows(folder / "episodes.csv")] == ["0.0"]


def test_answerers_of_several_targets_have_names_of_their_own(trained: Trained) -> None:
    words = [str(trained.trial), str(trained.trial / "policies" / "step-000000"), "tiny", "tiny"]
    settings, targets = load_evaluation([*words, "method=[agent,cot]"])
    labels = [a.label for a in name_answerers(settings, targets)]
    names = ("gsspo_seed3@2", "gsspo_seed3@0", "tiny", "tiny#4")
    assert labels == [f"{method} {name}" for name in names for method in ("agent", "cot")]
    assert [a.label for a in name_answerers(settings, targets[:1])] == ["agent", "cot"]


def test_results_that_cannot_be_written_are_one_line_and_status_1(tmp_path: Path, capsys) -> None:
    (tmp_path / "file").touch()
    words = ["tiny", "method=direct", "data.eval_questions=1", "--out", str(tmp_path / "file")]
    assert main(words) == 1
    assert re.fullmatch(r"results cannot be written: .*file.*\n", capsys.readouterr().err)

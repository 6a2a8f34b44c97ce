"""A reader's way through MLflow's own pages, in a real browser, over a small real sweep."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from mlflow.tracking import MlflowClient

from harness.config import code_version, expand, load_sweep
from harness.runs.sweep_folder import SweepFolder
from harness.sweep.worker import run_one
from harness.tracking import Tracker, replay
from reports.trial_view import write_trial_views
from tests.support.mlflow_pages import Pages, browser, chromium, server, telling_trace

pytestmark = [
    pytest.mark.ui,
    pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.timeout(900),
]
ARTIFACTS = Path(__file__).parents[2] / "artifacts"
SWEEP = """\
name: pages
hypothesis: the pages show what was done
profile: tiny
fixed:
  {steps: 2, eval_every: 1, rollout: {prompts_per_step: 4, group_size: 4}, save: {when: none},
   data: {eval_suites: [world_single, world_chain], eval_questions: 4}}
parameters:
  objective.preset: {values: [gsspo, grpo]}
seeds: [0]
"""


@dataclass
class Shown:
    """A finished sweep in MLflow."""

    tracker: Tracker
    client: MlflowClient
    experiment: str


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> Shown:
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    home = tmp_path_factory.mktemp("pages")
    (home / "pages.yaml").write_text(SWEEP)
    spec = load_sweep(home / "pages.yaml")
    folder = SweepFolder(home / "runs" / "pages")
    folder.write_manifest(spec)
    for trial in expand(spec):
        folder.trial(trial).prepare(trial, code_version(), spec.labels, spec.preregistration)
        run_one(folder.trial(trial), "harness.training.train:run_trial")
    tracker = replay(folder.root, None, write_trial_views)
    client = MlflowClient(tracker.uri)
    return Shown(tracker, client, client.get_experiment_by_name("pages").experiment_id)


def command(process: psutil.Process) -> str:
    """Empty for a process that has just ended, as the browser's do all the time."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.fixture(scope="module")
def pages(shown, tmp_path_factory) -> Iterator[Pages]:
    log = tmp_path_factory.mktemp("server") / "server.log"
    with server(shown.tracker.uri, log) as address, browser() as page:
        started = [p for p in psutil.Process().children(recursive=True) if "mlflow" in command(p)]
        listening = {c.laddr.ip for p in started for c in p.net_connections("inet") if c.status == "LISTEN"}
        assert listening == {"127.0.0.1"}
        yield Pages(page, address, shown.tracker.address)


def test_the_experiment_lists_the_trials_with_their_axes(pages):
    pages.trials(2)
    header = pages.page.locator(".ag-header")
    rows = pages.page.locator(".ag-center-cols-container")
    header.get_by_text("best/em", exact=True).wait_for()  # columns are drawn after the rows have been counted
    rows.get_by_text("grpo", exact=True).first.wait_for()
    assert {"preset", "seed", "final/em", "best/em"} <= set(header.inner_text().split())
    assert {"gsspo", "grpo", "0"} <= set(rows.inner_text().split())
    for arm in ("gsspo", "grpo"):
        assert pages.page.locator(".ag-row", has_text=f"{arm}_seed0").count() >= 1
    pages.picture(ARTIFACTS / "mlflow_trials.png")


def test_a_comparison_chart_draws_every_trial(pages):
    pages.charts()
    pages.picture(ARTIFACTS / "mlflow_charts.png")
    assert {"Learning", "Exact Match by benchmark"} <= set(pages.page.inner_text("body").split("\n"))
    first = pages.page.locator(".js-plotly-plot", has=pages.page.locator(".scatterlayer")).first
    # the start policy and two evaluations; a path of the picture leaves out points between equal values
    assert set(first.evaluate("chart => chart.data.map(line => line.x.length)")) == {3}
    legend = set(pages.page.inner_text("body").split("\n"))
    assert {"gsspo_seed0 (eval/em)", "grpo_seed0 (eval/em)"} <= legend


def test_traces_are_listed_with_their_verdicts(pages):
    pages.traces()
    text = pages.page.inner_text("body")
    assert {"em", "format", "gold", "recovered"} <= set(text.split())
    pages.picture(ARTIFACTS / "mlflow_traces.png")


def test_a_trace_opens_with_its_spans(pages, shown):
    trace_id = telling_trace(shown.client, shown.experiment)
    trace = shown.client.get_trace(trace_id, display=False)
    pages.trace(trace_id)
    text = pages.page.inner_text("body")
    assert trace.info.request_preview in text
    for name in {span.name for span in trace.data.spans}:
        assert pages.page.get_by_text(name, exact=True).count() >= sum(s.name == name for s in trace.data.spans)
    pages.page.get_by_text("generate", exact=True).first.click()
    said = trace.data.spans[1].outputs["messages"][0]["content"]
    words = re.sub(r"<[^>]*>", " ", said).split()
    pages.page.get_by_text(words[0]).first.wait_for()
    pages.picture(ARTIFACTS / "mlflow_trace.png")


def test_a_trial_s_page_has_its_curves_and_episodes(pages, shown):
    [run] = shown.client.search_runs([shown.experiment], "tags.arm = 'gsspo'")
    names = {item.path for item in shown.client.list_artifacts(run.info.run_id, "view")}
    assert names == {"view/learning_curves.svg", "view/episodes.html"}
    pages.page.goto("about:blank")
    pages.page.goto(
        f"{pages.address}/#/experiments/{shown.experiment}/runs/{run.info.run_id}/artifacts/view/episodes.html"
    )
    frame = pages.page.frame_locator("iframe").first
    frame.locator(".card").first.wait_for()
    assert "gsspo_seed0" in frame.locator("h1").inner_text()
    pages.picture(ARTIFACTS / "mlflow_episodes.png")

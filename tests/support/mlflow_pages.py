"""MLflow's pages in a headless Chromium: what a reader of a sweep opens, and pictures of it.

    python -m tests.support.mlflow_pages runs/granularity [--out reports/pictures]

serves the store beside a sweep that has run and takes the two pictures of docs/mlflow.md.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]  # fmt: skip
PATIENCE_MS = 120_000
ALREADY_SEEN = """
for (const [name, value] of [['mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true'],
    ['mlflow.assistant.panelOpen_v1', 'false'], ['mlflow.detectIssues.guidanceShown_v1', 'true']])
  localStorage.setItem(name, value);
"""
"""What MLflow offers on a first visit is declined, as any reader would."""


def chromium() -> str | None:
    """Debian's Chromium, or another by its usual names."""
    return next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )


@contextlib.contextmanager
def server(store: str, log: Path) -> Iterator[str]:
    """The real MLflow server on loopback over a store; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
               "--backend-store-uri", store, "--workers", "1"]  # fmt: skip
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with log.open("w") as out:
        process = subprocess.Popen(
            command, env={**os.environ, **quiet}, stdout=out, stderr=out, cwd=log.parent, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + PATIENCE_MS / 1000
        while True:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).read()
                break
            except OSError:
                assert process.poll() is None, log.read_text()[-2000:]
                assert time.monotonic() < end, "the MLflow server did not start"
                time.sleep(0.3)
        yield address
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        process.wait(20)


@contextlib.contextmanager
def browser(width: int = 1500, height: int = 860) -> Iterator[Any]:
    """A page of a fresh profile. The caller has made sure that there is a Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chrome = play.chromium.launch(executable_path=chromium(), headless=True, args=FLAGS)
        context = chrome.new_context(viewport={"width": width, "height": height})
        context.add_init_script(ALREADY_SEEN)
        context.set_default_timeout(PATIENCE_MS)
        yield context.new_page()
        chrome.close()


@dataclass
class Pages:
    """The way through a sweep's pages. `sweep` is what the driver prints: `/#/experiments/…?viewStateShareKey=…`."""

    page: Any
    address: str
    sweep: str

    def trials(self, count: int) -> None:
        """The table of trials, once it lists `count`."""
        self.page.goto(self.address + self.sweep)
        self.page.get_by_text(f"{count} matching runs").wait_for()

    def charts(self) -> None:
        """The comparison charts, once the first has drawn a line."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.address}{self.sweep}&compareRunsMode=CHART")
        self.page.locator(".js-plotly-plot .scatterlayer .trace path.js-line").first.wait_for(state="attached")
        self.page.wait_for_timeout(1500)  # the last frames of the drawing

    def traces(self) -> None:
        """The table of traces, once it lists some."""
        experiment = self.sweep.partition("/experiments/")[2].partition("/")[0]
        self.page.goto("about:blank")
        self.page.goto(f"{self.address}/#/experiments/{experiment}/traces")
        self.page.locator("text=/^[0-9]+ of [0-9]+$/").first.wait_for()

    def trace(self, trace_id: str) -> None:
        """One trace with its spans, once its tree is there."""
        experiment = self.sweep.partition("/experiments/")[2].partition("/")[0]
        self.page.goto("about:blank")
        self.page.goto(f"{self.address}/#/experiments/{experiment}/traces?traceId={trace_id}")
        self.page.get_by_text("Inputs / Outputs").wait_for()
        self.page.get_by_text("generate", exact=True).first.wait_for()

    def picture(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.mouse.move(5, 5)
        self.page.screenshot(path=path, timeout=PATIENCE_MS)


def telling_trace(client: Any, experiment: str) -> str | None:
    """A short, recent episode that made a slip and was right all the same, else one with a search, else any."""
    for query in ("feedback.recovered = 'true' AND span.type = 'RETRIEVER'", "span.type = 'RETRIEVER'", ""):
        found = client.search_traces(locations=[experiment], filter_string=query or None, max_results=20)
        if found:
            return str(min(found, key=lambda trace: len(trace.data.spans)).info.trace_id)
    return None


def main() -> None:
    """Pictures for docs/mlflow.md."""
    from mlflow.tracking import MlflowClient

    from harness.tracking import replay
    from reports.trial_view import write_trial_views

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--out", type=Path, default=Path("reports/pictures"))
    parser.add_argument("--uri", help="store to write and show (default: the one the sweep was run with)")
    options = parser.parse_args()
    tracker = replay(options.run_dir, options.uri, write_trial_views)
    trials = len(list((options.run_dir / "trials").iterdir()))
    experiment = tracker.address.split("/")[3]
    trace = telling_trace(MlflowClient(tracker.uri), experiment)
    with server(tracker.uri, options.out.parent / ".mlflow-server.log") as address, browser() as page:
        pages = Pages(page, address, tracker.address)
        pages.trials(trials)
        pages.charts()
        pages.picture(options.out / "mlflow_trials.png")
        if trace is not None:
            pages.trace(trace)
            page.get_by_role("button", name="Assess").click()
            page.wait_for_timeout(2000)
            pages.picture(options.out / "mlflow_trace.png")


if __name__ == "__main__":
    main()

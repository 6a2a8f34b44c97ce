"""Trials in parallel by Ray Tune. Ray only starts and restarts them: all results go through the journals on disk."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from harness.config.sweep_file import Resources
from harness.sweep.cluster import Node, ResourceError, concurrency, cpus_here, worker_environment

MAX_FAILURES = 1
"""How often a trial is started again after an error or a killed worker."""

START_ATTEMPTS = 3

PATIENCE_S = 20.0
"""Tune gives its workers five seconds to end, then kills them."""

REAP_S = 5.0
"""How long the end of a killed process of Ray is waited for."""

BUSY_S, LOOK_S = 5.0, 0.4
"""While nothing has begun or ended for so long, Tune waits this much longer between its looks."""

_TUNE = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the older output can be replaced, the newer cannot
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}
"""Read by Tune in this process."""

_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Ray's word for a session that no other machine joins, on every system: otherwise it listens on all interfaces."""

_SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN")
"""Variables that Tune sets for every worker."""

_NOTHING_TO_DO = ("ray/_private/log_monitor.py", "ray/autoscaler/_private/monitor.py")
"""Processes of a local session that serve output we do not ask for and a cluster there is not: 1.1 % of a core."""


class TuneRun:
    """A running set of trials. `start` returns at once; `wait` tells when all have ended, `leave` when Ray has too."""

    def __init__(
        self,
        folders: Sequence[Path],
        function: str,
        resources: Resources,
        scratch: Path,
        nodes: Sequence[Node] | None = None,
    ) -> None:
        """`nodes` of the cluster this process has joined; None: a Ray session of this machine is started."""
        self.folders, self.function, self.resources, self.scratch = list(folders), function, resources, scratch
        self.nodes = nodes
        self.error: BaseException | None = None
        self.reasons: dict[str, str] = {}  # name of a folder -> why Ray gave it up
        self._stopping = False
        self._stop_file = self.scratch.resolve() / "stop"
        self._over = threading.Event()  # no trial is left: what remains is Ray's own end
        self._thread = threading.Thread(target=self._run, name="ray-tune", daemon=True)

    def start(self) -> None:
        """Raises ResourceError, before anything is started."""
        concurrency(self.resources, self.nodes)
        self._stop_file.unlink(missing_ok=True)  # of a driver that was killed while it stopped
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Until all trials have ended, but no longer than `seconds`; whether they have."""
        return self._over.wait(seconds)

    def leave(self) -> None:
        """Until Ray, its processes and its scratch files are gone. `wait` must have told the end."""
        self._thread.join()

    def stop(self) -> None:
        """End all workers. Their trials stay unfinished on disk.

        Tune ends itself: to shut Ray down beneath it makes it start another session, or aborts this process. Only where
        it does not answer, or the user asks once more, is that what happens.
        """
        if self._thread.ident is None:  # stopped before `start`
            return
        self._stopping = True
        self.scratch.mkdir(parents=True, exist_ok=True)
        self._stop_file.touch()
        with contextlib.suppress(KeyboardInterrupt):
            self._thread.join(timeout=PATIENCE_S)
        if self._thread.is_alive():
            import ray

            ray.shutdown()
            self._thread.join(timeout=PATIENCE_S)

    def _run(self) -> None:
        try:
            self._fit()
        except BaseException as error:
            self.error = None if self._stopping else error
        finally:
            self._over.set()

    def _fit(self) -> None:
        own_session = start_ray(self.resources, self._preload())
        os.environ |= _TUNE
        import ray
        from ray import tune
        from ray.tune.execution import class_cache

        # Tune would hand these on in what Ray writes to its logs; workers have this machine's, or their node's, anyway
        class_cache.ENV_VARS_TO_PROPAGATE.difference_update(_SECRETS)
        r, gpus = self.resources, ray.cluster_resources().get("GPU", 0)
        if r.workers * r.gpus + r.engine_gpus > gpus:
            place = "this machine" if self.nodes is None else "the cluster"
            what = "gpus_per_trial is" if r.workers == 1 else f"gpus_per_worker of {r.workers} workers is"
            beside = f" beside engine_gpus {r.engine_gpus}" if r.engine_gpus else ""
            raise ResourceError(f"resources.{what} {r.gpus:g}{beside}, and {place} has {gpus:g}")
        parallel = concurrency(r, self.nodes)
        names = {str(folder.resolve()): folder.name for folder in self.folders}
        trial, engine = {"CPU": r.cpus, "GPU": r.gpus}, {"GPU": r.engine_gpus}
        # what starts a group of workers waits for them and takes nothing itself; Tune wants it to take something
        bundles = [{"memory": 1}] if r.workers > 1 else [trial, *([engine] if r.engine_gpus else [])]
        takes = tune.PlacementGroupFactory(bundles)
        trainable = tune.with_resources(
            tune.with_parameters(_trainable, function=self.function, resources=r.model_dump(exclude_unset=True)), takes
        )
        tuner = tune.Tuner(
            trainable,
            param_space={"folder": tune.grid_search(list(names))},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=parallel,
                reuse_actors=True,
                trial_name_creator=lambda trial: names[trial.config["folder"]],
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(self.scratch.resolve()),
                stop=_until(self._stop_file),
                failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
                callbacks=[_calm()],
                verbose=0,
            ),
        )
        try:
            for result in tuner.fit():
                if result.error is not None and result.config:
                    self.reasons[names[result.config["folder"]]] = " ".join(str(result.error).split())[-500:]
            self._over.set()
        finally:
            if own_session:
                ray.shutdown()
            shutil.rmtree(self.scratch, ignore_errors=True)

    def _preload(self) -> tuple[str, ...]:
        """Modules that Ray's processes import as they start, while this one still prepares, where each gets a trial."""
        slots = concurrency(self.resources, self.nodes)
        each_gets_one = self.resources.workers == 1 and slots == cpus_here() and len(self.folders) >= slots
        return ("ray.tune", "harness.sweep.worker", self.function.partition(":")[0]) if each_gets_one else ()


def _trainable(config: dict[str, Any], function: str, resources: dict[str, Any]) -> None:
    folder, wanted = Path(config["folder"]), Resources(**resources)
    if wanted.workers > 1:
        from harness.sweep.multi_worker import run_over_workers

        return run_over_workers(folder, function, wanted, worker_environment(wanted))
    from harness.sweep.worker import run_one

    run_one(folder, function)


def _until(file: Path) -> Any:
    """Tune's condition to end: that a file exists. It is copied and pickled, so it cannot hold an event."""
    from ray.tune import Stopper

    class Until(Stopper):  # type: ignore[misc]
        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            return file.exists()

    return Until()


def _calm() -> Any:
    """A progress callback that prints nothing, in place of the one that Tune adds, and lets Tune look less often.

    Tune looks ten times a second what has come, which takes 1 % of a core, however long the trials.
    """
    from ray.tune.progress_reporter import TrialProgressCallback

    class Calm(TrialProgressCallback):  # type: ignore[misc]
        news = time.monotonic()

        def on_trial_start(self, *args: Any, **info: Any) -> None:
            self.news = time.monotonic()

        on_trial_result = on_trial_complete = on_trial_error = on_trial_start

        def on_step_end(self, *args: Any, **info: Any) -> None:
            if time.monotonic() > self.news + BUSY_S:
                time.sleep(LOOK_S)

    return Calm()


def start_ray(resources: Resources, preload: Sequence[str] = ()) -> bool:
    """A local, quiet Ray session whose workers use as many threads as CPUs; False if there is one already.

    Ray starts a process a CPU at once; each imports the modules `preload` before there is work for it.

    Its servers listen on loopback alone, provided that nobody imported Ray before (it decides on being imported).
    """
    modules = {"RAY_preload_python_modules": ",".join(preload)} if preload else {}
    with _environment(**worker_environment(resources), **_LOOPBACK, **modules):
        import ray

        if ray.is_initialized():
            return False
        logging.getLogger("ray").setLevel(logging.CRITICAL)  # errors reach the trial's folder and the driver's report
        for attempt in range(START_ATTEMPTS):
            try:
                ray.init(
                    address="local",
                    num_cpus=cpus_here(),
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.CRITICAL,
                    object_store_memory=100 * 2**20,
                )
                break
            except Exception:  # Ray raises a bare Exception when a busy machine makes it wait for half a minute
                ray.shutdown()
                if attempt == START_ATTEMPTS - 1:
                    raise
    _end_helpers()
    return True


def _end_helpers() -> None:
    """End the processes of the session that have nothing to do in it; Ray's own options cannot leave them out.

    Killed, not terminated: the monitor would report that as a failure of the session, on the user's screen.
    """
    ended = []
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if any(word.endswith(_NOTHING_TO_DO) for word in process.cmdline()):
                process.kill()
                ended.append(process)
    psutil.wait_procs(ended, timeout=REAP_S)  # else they stay in the list of processes until Ray shuts down


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Set environment variables for the block; processes started in it keep them."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ |= variables
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

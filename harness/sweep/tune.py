"""Parallel trials with Ray Tune. Ray only starts and restarts them: all results go through the journals on disk."""

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
from harness.runs.run import TrialRun
from harness.sweep.attempts import MAX_FAILURES
from harness.sweep.cluster import ClusterNode, ResourceError, concurrency, cpus_here, worker_environment

START_ATTEMPTS = 3

STOP_WAIT_S = 20.0
"""Tune gives its workers five seconds to end, then kills them."""

REAP_S = 5.0
"""Timeout for the end of a killed process of Ray."""

IDLE_S, IDLE_DELAY_S = 5.0, 0.4
"""After so many seconds without a trial starting or ending, Tune's event loop is slowed by this delay."""

_TUNE = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the older output can be replaced, the newer cannot
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}
"""Read by Tune in this process."""

_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Ray's setting for a session that no other machine joins, on every system: otherwise it listens on all interfaces."""

_SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN")
"""Variables that Tune sets for every worker."""

_UNUSED_HELPERS = ("ray/_private/log_monitor.py", "ray/autoscaler/_private/monitor.py")
"""Processes of a local session for driver logs, which are off, and cluster scaling: together 1.1 % of a core."""


class TuneRun:
    """A set of trials run by Ray. `start` returns at once; `wait` waits for the trials, `join` for Ray's own end."""

    def __init__(
        self,
        trials: Sequence[TrialRun],
        function: str,
        resources: Resources,
        scratch: Path,
        nodes: Sequence[ClusterNode] | None = None,
    ) -> None:
        """`nodes` of the cluster this process has joined; None: a Ray session of this machine is started."""
        self.trials, self.function, self.resources, self.scratch = list(trials), function, resources, scratch
        self.nodes = nodes
        self.error: BaseException | None = None
        self.reasons: dict[str, str] = {}  # folder name -> why Ray gave the trial up
        self._stopping = False
        self._stop_file = self.scratch.resolve() / "stop"
        self._ended = threading.Event()  # all trials have; Ray may not have
        self._thread = threading.Thread(target=self._run, name="ray-tune", daemon=True)

    def start(self) -> None:
        """Start Ray in a background thread. Raises ResourceError, before anything is started."""
        concurrency(self.resources, self.nodes)
        self._stop_file.unlink(missing_ok=True)  # left by a driver that was killed while stopping
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait until all trials have ended, at most `seconds`; whether they have."""
        return self._ended.wait(seconds)

    def join(self) -> None:
        """Wait until Ray, its processes and its scratch files are gone. Call it after `wait` returned True."""
        self._thread.join()

    def stop(self) -> None:
        """Stop all workers. Their trials stay unfinished on disk.

        Tune is asked to stop, through a file: shutting Ray down beneath it would make it start another session, or
        abort this process. Only after a timeout or a second interrupt is Ray shut down.
        """
        if self._thread.ident is None:  # stopped before `start`
            return
        self._stopping = True
        self.scratch.mkdir(parents=True, exist_ok=True)
        self._stop_file.touch()
        with contextlib.suppress(KeyboardInterrupt):
            self._thread.join(timeout=STOP_WAIT_S)
        if self._thread.is_alive():
            import ray

            ray.shutdown()
            self._thread.join(timeout=STOP_WAIT_S)

    def _run(self) -> None:
        try:
            self._fit()
        except BaseException as error:
            self.error = None if self._stopping else error
        finally:
            self._ended.set()

    def _fit(self) -> None:
        own_session = start_ray(self.resources, self._preload())
        os.environ |= _TUNE
        import ray
        from ray import tune
        from ray.tune.execution import class_cache

        # Tune would pass these on through what Ray writes to its logs; workers have their machine's own anyway
        class_cache.ENV_VARS_TO_PROPAGATE.difference_update(_SECRETS)
        r, gpus = self.resources, ray.cluster_resources().get("GPU", 0)
        if r.workers * r.gpus + r.engine_gpus > gpus:
            place = "this machine" if self.nodes is None else "the cluster"
            what = "gpus_per_trial is" if r.workers == 1 else f"gpus_per_worker of {r.workers} workers is"
            beside = f" beside engine_gpus {r.engine_gpus}" if r.engine_gpus else ""
            raise ResourceError(f"resources.{what} {r.gpus:g}{beside}, and {place} has {gpus:g}")
        parallel = concurrency(r, self.nodes)
        names = {str(trial.folder.resolve()): trial.folder.name for trial in self.trials}
        worker, engine = {"CPU": r.cpus, "GPU": r.gpus}, {"GPU": r.engine_gpus}
        # the process that starts a group of workers only waits for them, but Tune requires a non-empty bundle
        bundles = [{"memory": 1}] if r.workers > 1 else [worker, *([engine] if r.engine_gpus else [])]
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
                callbacks=[_quiet_callback()],
                verbose=0,
            ),
        )
        try:
            for result in tuner.fit():
                if result.error is not None and result.config:
                    self.reasons[names[result.config["folder"]]] = " ".join(str(result.error).split())[-500:]
            self._ended.set()
        finally:
            if own_session:
                ray.shutdown()
            shutil.rmtree(self.scratch, ignore_errors=True)

    def _preload(self) -> tuple[str, ...]:
        """Modules that Ray's processes import when they start, if each of them gets a trial."""
        slots = concurrency(self.resources, self.nodes)
        each_gets_one = self.resources.workers == 1 and slots == cpus_here() and len(self.trials) >= slots
        return ("ray.tune", "harness.sweep.worker", self.function.partition(":")[0]) if each_gets_one else ()


def _trainable(config: dict[str, Any], function: str, resources: dict[str, Any]) -> None:
    trial, wanted = TrialRun(Path(config["folder"])), Resources(**resources)
    if wanted.workers > 1:
        from harness.sweep.multi_worker import run_over_workers

        return run_over_workers(trial, function, wanted, worker_environment(wanted))
    from harness.sweep.worker import run_one

    run_one(trial, function)


def _until(file: Path) -> Any:
    """Tune's stop condition: a file exists. It is copied and pickled, so it cannot hold an event."""
    from ray.tune import Stopper

    class Until(Stopper):  # type: ignore[misc]
        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            return file.exists()

    return Until()


def _quiet_callback() -> Any:
    """A silent progress callback in place of Tune's own, which also slows Tune's polling down.

    Tune polls ten times a second, which takes 1 % of a core, however long the trials.
    """
    from ray.tune.progress_reporter import TrialProgressCallback

    class QuietCallback(TrialProgressCallback):  # type: ignore[misc]
        changed = time.monotonic()

        def on_trial_start(self, *args: Any, **info: Any) -> None:
            self.changed = time.monotonic()

        on_trial_result = on_trial_complete = on_trial_error = on_trial_start

        def on_step_end(self, *args: Any, **info: Any) -> None:
            if time.monotonic() > self.changed + IDLE_S:
                time.sleep(IDLE_DELAY_S)

    return QuietCallback()


def start_ray(resources: Resources, preload: Sequence[str] = ()) -> bool:
    """Start a local, quiet Ray session whose workers use as many threads as CPUs; False if there is one already.

    Ray starts one process per CPU at once; each imports the modules `preload` before it gets work.

    Its servers listen on loopback only, provided that Ray was not imported before (it decides at import).
    """
    modules = {"RAY_preload_python_modules": ",".join(preload)} if preload else {}
    with _environment(**worker_environment(resources), **_LOOPBACK, **modules):
        import ray

        if ray.is_initialized():
            return False
        logging.getLogger("ray").setLevel(logging.CRITICAL)  # errors are in the trials' folders
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
            except Exception:  # Ray raises a bare Exception when a busy machine takes half a minute to start
                ray.shutdown()
                if attempt == START_ATTEMPTS - 1:
                    raise
    _kill_unused_helpers()
    return True


def _kill_unused_helpers() -> None:
    """Kill the session's unused helper processes, which Ray has no option to leave out.

    Killed, not terminated: the monitor would report a termination as a failure of the session, on the user's screen.
    """
    killed = []
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if any(word.endswith(_UNUSED_HELPERS) for word in process.cmdline()):
                process.kill()
                killed.append(process)
    psutil.wait_procs(killed, timeout=REAP_S)  # or they stay zombies until Ray shuts down


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

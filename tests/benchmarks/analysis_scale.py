"""How long the analysis of a million episodes takes, and how much memory: `python -m tests.benchmarks.analysis_scale`.

20 trials × 50 steps × 1,000 episodes, written by the harness's own Parquet writer (templates, copied), then read and
analysed: EM by suite and hops, parse rates by arm, hops and step with clustered intervals, kinds of failure,
transitions, Kaplan–Meier curves and seed contrasts. Prints the peak memory; the last line is seconds.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from analysis import exact_match, parse_reliability, transitions
from analysis.compare import compare_arms, group_seed_values
from analysis.episode_frames import load_episodes
from analysis.frames import Frames
from analysis.load import load_frames
from analysis.registered_plan import contrasts, read_analysis_plan
from tests.support.synthetic_episodes import random_episodes, write
from tests.support.synthetic_sweep import made_frames, write_sweep

SUITES = (("one_hop", 1), ("two_hop", 2), ("three_hop", 3), ("four_hop", 4))
TEMPLATES = 8


def make(root: Path, steps: int, questions: int) -> Frames:
    """A sweep of 20 trials (two arms, ten seeds) with `steps` training files of 4 × `questions` episodes each."""
    write_sweep(root, made_frames({"grpo": 0.1, "gsspo": 0.2}, seeds=range(10), steps=(0, steps)))
    frames = load_frames(root)
    first = root / "templates"
    for i in range(TEMPLATES):
        write(first, "t", i, "train", random_episodes(np.random.default_rng(i), questions, SUITES))
    files = sorted((first / "trials" / "t" / "episodes").iterdir())
    for k, trial in enumerate(frames.trials["trial"]):
        folder = root / "trials" / trial / "episodes"
        folder.mkdir(parents=True)
        for step in range(steps):
            shutil.copy(files[(k + step) % TEMPLATES], folder / f"step-{step:06d}-train.parquet")
    return frames


def analyse(frames: Frames) -> int:
    """The whole analysis; returns the number of episodes."""
    data = load_episodes(frames)
    plan = read_analysis_plan(frames.config["analysis"])
    exact_match.by_suite(data)
    exact_match.by_hops(data)
    for by in (["arm"], ["arm", "hops"], ["arm", "step"]):
        parse_reliability.parse_rates(data, by)
    parse_reliability.failure_kinds(data, ["arm"])
    transitions.failure_transitions(data)
    transitions.parse_failure_curves(data)
    compare_arms(parse_reliability.seed_parse_rates(data, "suite"), contrasts(frames, plan), plan)
    compare_arms(group_seed_values(data.episodes, "suite", "em"), contrasts(frames, plan), plan)
    return len(data.episodes)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=50, help="training files a trial")
    parser.add_argument("--questions", type=int, default=250, help="a suite and file; four suites")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        frames = make(Path(folder) / "sweep", options.steps, options.questions)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begun = time.perf_counter()
        n = analyse(frames)
        seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{n:,} episodes, peak memory {peak / 1e6:.2f} GB (before the analysis {before / 1e6:.2f} GB)")
    print(f"{seconds:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

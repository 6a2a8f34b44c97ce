"""Reports from a sweep's directory."""

from __future__ import annotations

from pathlib import Path

from analysis.load import load_sweep
from reports.figures import learning
from reports.style import save


def write_learning_curves(run_dir: str | Path, out_dir: str | Path) -> list[Path]:
    """Learning curves of EM (greedy, and sampled where logged) of a sweep: SVG, PDF, PNG, CSV and caption each."""
    frames = load_sweep(run_dir)
    paths = []
    for metric, label in LEARNING_METRICS.items():
        if frames.metrics["metric"].str.startswith(metric + "/").any() or (frames.metrics["metric"] == metric).any():
            paths += save(learning.draw(frames, metric, label), out_dir)
    return paths


LEARNING_METRICS = {"eval/em": "Exact Match, greedy", "eval/em_sampled": "Exact Match, sampled"}

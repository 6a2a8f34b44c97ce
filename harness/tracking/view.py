"""A view of a sweep's trials for MLflow's pages: axes and results as columns, learning curves as charts.

MLflow keeps shared views as tags of the experiment, in the form its pages use themselves (zlib, base64); the address
`…/runs?viewStateShareKey=KEY` opens one. Without it a reader sees the parent run alone, and no column of interest.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any

TAG = "mlflow.sharedViewState."
CURVES = {
    "Exact Match": "eval/em",
    "Reward in training": "train/reward_mean",
    "Well-formed turns in training": "train/parse_ok_rate",
    "Entropy": "update/entropy",
    "Clipped share": "update/clip_fraction",
}
RESULTS = ("final/em", "best/em", "final/format_ok", "final/f1")
SHOWN = 20
"""Runs drawn in a chart; MLflow's own choice is 10."""


def view(parent: str, axes: Sequence[str], suites: Sequence[str]) -> dict[str, Any]:
    """The pages' state: trials of the run `parent`, best first."""
    learning = [_chart(name, metric, "LINE", "learning") for name, metric in CURVES.items()]
    bars = [_chart("Exact Match at the end", "final/em", "BAR", "learning")]
    benchmarks = [_chart(suite, f"eval/em/{suite}", "LINE", "benchmarks") for suite in suites]
    columns = [f"params.`{name}`" for name in (*axes, "seed")] + [f"metrics.`{name}`" for name in RESULTS]
    return {
        "searchFilter": f"tags.`mlflow.parentRunId` = '{parent}'",
        "orderByKey": "metrics.`final/em`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": [],
        "columnWidths": {},
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsVisibilityMap": {},
        "runsHiddenMode": f"FIRST_{SHOWN}_RUNS",
        "compareRunCharts": [*learning[:1], *bars, *learning[1:], *benchmarks],
        "compareRunSections": [_section("learning", "Learning"), _section("benchmarks", "Exact Match by benchmark")],
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": True,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "autoRefreshEnabled": True,
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }


def encode(state: dict[str, Any]) -> str:
    """A view as the value of its tag."""
    return "deflate;" + base64.b64encode(zlib.compress(json.dumps(state).encode(), 9)).decode()


def _chart(name: str, metric: str, kind: str, section: str) -> dict[str, Any]:
    line = {
        "selectedMetricKeys": [metric],
        "lineSmoothness": 0,
        "useGlobalLineSmoothing": True,
        "scaleType": "linear",
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        "selectedXAxisMetricKey": "",
        "useGlobalXaxisKey": True,
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "range": {},
    }
    return {
        "uuid": f"{section}-{metric}",
        "type": kind,
        "runsCountToCompare": SHOWN,
        "metricSectionId": section,
        "deleted": False,
        "isGenerated": False,
        "displayName": name,
        "metricKey": metric,
        **(line if kind == "LINE" else {}),
    }


def _section(uuid: str, name: str) -> dict[str, Any]:
    return {
        "uuid": uuid,
        "name": name,
        "display": True,
        "isReordered": False,
        "deleted": False,
        "isGenerated": False,
    }

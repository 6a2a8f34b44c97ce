"""Shared view of a sweep's trials in MLflow's pages: axes and results as columns, learning curves as charts.

MLflow keeps shared views as tags of the experiment, in its pages' own encoding (zlib, base64); the address
`…/runs?viewStateShareKey=KEY` opens one. The default view shows the parent run alone and no column of interest.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any

TAG = "mlflow.sharedViewState."
CURVES = ("train/reward_mean", "train/parse_ok_rate", "update/entropy", "update/clip_fraction")
RESULTS = ("final/em", "best/em", "final/format_ok", "final/f1")
SHOWN = 20
"""Runs drawn in a chart; MLflow's own choice is 10."""


def trials_view(parent: str, axes: Sequence[str], suites: Sequence[str]) -> dict[str, Any]:
    """State of the pages: trials of the run `parent`, best first."""
    charts = [
        _chart("eval/em", "LINE", "learning"),
        _chart("final/em", "BAR", "learning"),
        *(_chart(metric, "LINE", "learning") for metric in CURVES),
        *(_chart(f"eval/em/{suite}", "LINE", "benchmarks") for suite in suites),
    ]
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
        "compareRunCharts": charts,
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


def encode_view(state: dict[str, Any]) -> str:
    """Tag value of a view."""
    return "deflate;" + base64.b64encode(zlib.compress(json.dumps(state).encode(), 9)).decode()


def _chart(metric: str, kind: str, section: str) -> dict[str, Any]:
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
        "displayName": metric,
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

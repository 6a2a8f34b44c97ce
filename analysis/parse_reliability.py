"""Reliability of Think-Action boundaries: parse failures by kind, hops, suite, step and arm, and their correlates.

The unit is the turn: a boundary is identified when the turn has no parse failure. Turns of one question are alike, so
intervals use the design effect with questions as clusters; arms are compared on seed means.

Correlations use EM, never the total reward: the reward contains the format score and would correlate with itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.compare import SeedValues, interval_columns, number_or_blank
from analysis.episode_frames import FAILURE_KINDS, Episodes, has_failure
from analysis.frames import Frames
from analysis.stats.lagged_correlation import MIN_LENGTH, LaggedCorrelation, lagged_spearman
from analysis.stats.multiplicity import holm
from analysis.stats.proportions import clustered_wilson, rule_of_three
from analysis.stats.regression import Fit, cluster_ols, gee_logit
from analysis.stats.types import DegenerateInput
from harness.env.diagnostics import RunningSignatures

PARSE_RATE = "train/parse_ok_rate"
TRAIN_EM = "train/em"
MIN_MALFORMED = 30
"""Fewer episodes with a malformed turn are too few for a regression: its clustered errors would be far too small."""
INSTABILITY_TRACES = {"reward spread": "train/reward_std", "gradient norm": "update/grad_norm"}


def parse_rates(data: Episodes, by: Sequence[str] = ("arm",), level: float = 0.95) -> pd.DataFrame:
    """`by`…, turns, questions, seeds, rate, low, high, note: share of turns without a parse failure.

    `by` names columns of the episodes (arm, suite, hops, step, split, seed). Design-effect Wilson interval.
    """
    frame = data.episodes
    keys = [*by, "question"]
    cells = frame.groupby(keys, observed=True)[["n_ok", "n_turns"]].sum()
    seeds = frame.groupby(list(by), observed=True)["seed"].nunique()
    rows = []
    for key, cell in cells.groupby(level=list(range(len(by))), observed=True):
        key = key if isinstance(key, tuple) else (key,)
        estimate = clustered_wilson(cell["n_ok"], cell["n_turns"], level)
        rows.append(
            {
                **dict(zip(by, key, strict=True)),
                "turns": int(cell["n_turns"].sum()),
                "questions": len(cell),
                "seeds": int(seeds.loc[key if len(by) > 1 else key[0]]),
                "rate": number_or_blank(estimate.value),
                **interval_columns(estimate),
                "note": estimate.note,
            }
        )
    return pd.DataFrame(rows, columns=[*by, "turns", "questions", "seeds", "rate", "low", "high", "note"])


def failure_kinds(data: Episodes, by: Sequence[str] = ("arm",), level: float = 0.95) -> pd.DataFrame:
    """`by`…, kind, turns, failures, rate, low, high: frequency of each kind of failure.

    Kinds absent from all arms are dropped. A kind without a case in an arm gets the rule of three with one trial a
    question.
    """
    turns = data.turn_frame(*by, "question")
    rows = []
    sizes = turns.groupby([*by, "question"], observed=True).size()
    for kind in FAILURE_KINDS:
        hit = has_failure(turns["failures"], kind)
        if not hit.any():
            continue
        sums = turns.assign(hit=hit).groupby([*by, "question"], observed=True)["hit"].sum()
        for key, size in sizes.groupby(level=list(range(len(by))), observed=True):
            count = sums.loc[size.index]
            estimate = clustered_wilson(count, size, level)
            bounds = interval_columns(estimate)
            if not count.sum():
                bounds = {"low": 0.0, "high": rule_of_three(len(size), level)}
            rows.append(
                {
                    **dict(zip(by, key if isinstance(key, tuple) else (key,), strict=True)),
                    "kind": kind,
                    "turns": int(size.sum()),
                    "failures": int(count.sum()),
                    "rate": number_or_blank(estimate.value),
                    **bounds,
                    "note": "none seen: rule of three" if not count.sum() else estimate.note,
                }
            )
    return pd.DataFrame(rows, columns=[*by, "kind", "turns", "failures", "rate", "low", "high", "note"])


def seed_parse_rates(data: Episodes, key: str) -> SeedValues:
    """(group, arm) → parse rate of each seed (all its turns together), for `compare_arms`."""
    sums = data.episodes.groupby([key, "arm", "seed"], observed=True)[["n_ok", "n_turns"]].sum()
    share = sums["n_ok"] / sums["n_turns"]
    return {(str(g), str(a)): rows.droplevel([0, 1]) for (g, a), rows in share.groupby(level=[0, 1], observed=True)}


def hops_regressions(data: Episodes, level: float = 0.95) -> tuple[Fit, Fit]:
    """(EM ~ failure rate × hops, by least squares clustered by run; turn failure ~ hops, GEE logit by question).

    The term `failure x hops` of the first tests whether malformed turns cost more on questions of more hops. Episodes
    of unknown hops are dropped. A fit without coefficients gives the reason in its note. Raises DegenerateInput when no
    hops are known or fewer than MIN_MALFORMED episodes have a malformed turn.
    """
    frame = data.episodes[(data.episodes["hops"] >= 0) & (data.episodes["n_turns"] > 0)]
    if frame.empty:
        raise DegenerateInput("the number of hops is unknown for every episode")
    failure = 1 - frame["n_ok"].to_numpy() / frame["n_turns"].to_numpy()
    hops = frame["hops"].to_numpy(dtype=float)
    malformed = int((failure > 0).sum())
    if malformed < MIN_MALFORMED:
        raise DegenerateInput(f"too few episodes have a malformed turn to relate them to hops: {malformed}")
    columns = {"failure": failure, "hops": hops, "failure x hops": failure * hops}
    em_fit = cluster_ols(frame["em"].to_numpy(dtype=float), columns, frame["trial"].cat.codes.to_numpy(), level)
    failed = (failure > 0).astype(float)
    odds = gee_logit(failed, {"hops": hops}, frame["question"].to_numpy(), level)
    return em_fit, odds


def run_traces(frames: Frames, *metrics: str) -> dict[str, pd.DataFrame]:
    """trial → its steps with every one of these metrics finite, columns as given, index step."""
    rows = frames.metrics[frames.metrics["metric"].isin(metrics)]
    out = {}
    for trial, group in rows.groupby("trial"):
        wide = group.pivot(index="step", columns="metric", values="value").reindex(columns=list(metrics)).dropna()
        if len(wide):
            out[str(trial)] = wide
    return out


def link_to_learning(
    frames: Frames, lags: Sequence[int] = (0, 1, 2, 3), difference: bool = True
) -> dict[str, LaggedCorrelation | str]:
    """Lagged correlation of the share of malformed turns with learning, by arm: name → result, or a reason for none.

    Names are "<arm>: EM", "<arm>: reward spread", "<arm>: gradient norm", over the training batches of each run.
    Traces are differenced by default, as both drift with training.
    """
    out: dict[str, LaggedCorrelation | str] = {}
    for arm in (a for a in frames.arms if a not in frames.identical):
        trials = frames.trials[(frames.trials["arm"] == arm) & frames.trials["included"]]["trial"]
        for name, metric in {"EM": TRAIN_EM, **INSTABILITY_TRACES}.items():
            pairs = run_traces(frames, PARSE_RATE, metric)
            chosen = [pairs[t] for t in trials if t in pairs]
            needed = MIN_LENGTH + max(lags) + difference
            long = [p for p in chosen if len(p) >= needed]
            if not long:
                out[f"{arm}: {name}"] = f"no run logged {needed} steps of {PARSE_RATE} and {metric}"
                continue
            runs = [(1 - p[PARSE_RATE], p[metric]) for p in long]
            out[f"{arm}: {name}"] = lagged_spearman(runs, lags, difference)
    return out


def link_table(links: dict[str, LaggedCorrelation | str]) -> pd.DataFrame:
    """arm, trace, runs, lag, rho, p, p_adjusted (Holm over the table), note: the strongest lag of each link."""
    rows: list[dict[str, Any]] = []
    for name, link in links.items():
        arm, _, trace = name.rpartition(": ")
        if isinstance(link, str):
            rows.append({"arm": arm, "trace": trace, "runs": 0, "lag": "", "rho": "", "p": "", "note": link})
            continue
        lag, rho = link.strongest
        rows.append(
            {"arm": arm, "trace": trace, "runs": len(link.per_run), "lag": lag, "rho": rho}
            | {"p": number_or_blank(link.test.p), "note": link.test.note}
        )
    adjusted = holm([None if r["p"] == "" else float(r["p"]) for r in rows])
    rows = [r | {"p_adjusted": number_or_blank(p)} for r, p in zip(rows, adjusted, strict=True)]
    return pd.DataFrame(rows, columns=["arm", "trace", "runs", "lag", "rho", "p", "p_adjusted", "note"])


INSTABILITY_EVENTS = {"reward-variance cliff": "train/reward_variance_cliff", "gradient spike": "update/grad_spike"}
"""Events by the name of the flag that `harness.env.diagnostics` gives them."""


def instability_events(frames: Frames) -> dict[str, pd.DataFrame]:
    """trial → training steps with columns failure (share of malformed turns) and one flag a key of INSTABILITY_EVENTS.

    The flags are those of `harness.env.diagnostics.RunningSignatures`, recomputed from the logged traces, so that
    runs recorded before it existed count too. A gradient norm that is missing is taken as not finite: a spike.
    """
    variance, norm = "train/reward_variance", "update/grad_norm_max"
    names = [PARSE_RATE, variance, norm]
    rows = frames.metrics[frames.metrics["metric"].isin(names)]
    out = {}
    for trial, group in rows.groupby("trial"):
        wide = group.pivot(index="step", columns="metric", values="value").reindex(columns=names)
        wide = wide[np.isfinite(wide[PARSE_RATE]) & np.isfinite(wide[variance])]
        if wide.empty or wide[norm].isna().all():
            continue
        state, flags = RunningSignatures(), []
        for v, g in zip(wide[variance], wide[norm], strict=True):
            state, found = state.observe(float(v), float(g))
            flags.append({event: bool(found[flag]) for event, flag in INSTABILITY_EVENTS.items()})
        out[str(trial)] = pd.DataFrame(flags, index=wide.index).assign(failure=1 - wide[PARSE_RATE])
    return out


def instability_table(frames: Frames, before: int = 3) -> pd.DataFrame:
    """Columns arm, event, runs, events, failure_before, failure_else; see `instability_events`.

    `failure_before` is the mean share of malformed turns in the `before` steps that lead to an event, `failure_else`
    in all other steps; means over runs that had events, empty when none had. Descriptive: the test is in
    `link_to_learning`.
    """
    rows = []
    found = instability_events(frames)
    for arm in frames.arms:
        trials = frames.trials[(frames.trials["arm"] == arm) & frames.trials["included"]]["trial"]
        runs = [found[t] for t in trials if t in found]
        for event in INSTABILITY_EVENTS:
            ahead, elsewhere, count = [], [], 0
            for run in runs:
                at = np.flatnonzero(run[event])
                count += at.size
                lead = np.zeros(len(run), dtype=bool)
                for t in at:
                    lead[max(0, t - before) : t] = True
                if lead.any() and not lead.all():
                    ahead.append(run["failure"][lead].mean())
                    elsewhere.append(run["failure"][~lead].mean())
            rows.append(
                {
                    "arm": arm,
                    "event": event,
                    "runs": len(runs),
                    "events": count,
                    "failure_before": number_or_blank(float(np.mean(ahead)) if ahead else None),
                    "failure_else": number_or_blank(float(np.mean(elsewhere)) if elsewhere else None),
                }
            )
    return pd.DataFrame(rows, columns=["arm", "event", "runs", "events", "failure_before", "failure_else"])

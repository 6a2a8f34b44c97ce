"""A sweep file: one study as data. Layers of a trial: profile, `fixed`, grid cell, command line.

name: granularity
hypothesis: "..."
profile: tiny
fixed: {steps: 30, objective.kl_weight: 0.001}
parameters:
  objective.preset: {values: [gsspo, grpo, gspo]}
seeds: [0, 1, 2, 3, 4]                      # or a number n: 0 … n-1
exclude: [{objective.preset: grpo, ...}]    # cells to leave out; [grpo, gspo]: any of these
branch: {after: 10, arm: {objective.preset: grpo}}   # arms continue from one trunk a seed, trained by this arm
tuning: {budget: 12, seeds: [100, 101], parameters: {update.learning_rate: {low: 5e-5, high: 5e-4, scale: log}}}
labels: {ours: {objective.preset: gsspo}}   # names of arms in tables and figures; else made of the values
resources: {cpus_per_trial: 1}
analysis: {primary: {metric: eval/em, contrast: [gsspo, grpo], axis: objective.preset},
           margin: 0.03, alpha: 0.05, correction: holm, threshold: 0.5}
tracking: {uri: sqlite:///runs/mlflow.db, experiment: granularity}
small: {seeds: 2, steps: 4, data.eval_questions: 4}     # what --small changes
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import (
    AfterValidator,
    Field,
    PlainValidator,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from harness.config.assay import Assay
from harness.config.branch import Branch
from harness.config.requirements import Requirement
from harness.config.schema import Section
from harness.config.tuning import Seed, Tuning
from harness.types import Count, Fraction, NonEmptyText, NonNegative, Positive, SmallCount
from harness.types.redact import is_secret


def _listed_or_named(value: Any) -> tuple[Any, ...] | dict[str, Any]:
    if not isinstance(value, list | dict):
        raise PydanticCustomError("values", "must be a list of values, or a mapping {name: value}")
    if not value:
        raise PydanticCustomError("values", "needs at least one value")
    return value if isinstance(value, dict) else tuple(value)


class Axis(Section):
    """The values of one swept setting, as a list, or named: {short: value}. Names stand in tables and contrasts."""

    values: Annotated[Any, PlainValidator(_listed_or_named)]


class Resources(Section):
    """What a trial takes of the machine or cluster. One of several `workers` takes `…_per_worker`."""

    workers: SmallCount = 1
    """Processes that train a trial together: weights sharded over them (FSDP2), episodes divided among them."""
    cpus_per_trial: Count = 1
    """Also the number of threads of a trial, unless the file sets `threads`. Where there are several workers and no
    `cpus_per_worker`, of each of them."""
    gpus_per_trial: NonNegative = 0.0
    """0 hides the GPUs from a trial; 0.5 lets two share one."""
    engine_gpus: Annotated[int, Field(ge=0, le=1000)] = 0
    """GPUs of a trial's engine where `engine.placement` is dedicated, beside those of the trial."""
    cpus_per_worker: Count | None = None
    gpus_per_worker: NonNegative | None = None

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.workers == 1 and (self.cpus_per_worker is not None or self.gpus_per_worker is not None):
            raise PydanticCustomError("per_worker", "resources: with one worker set cpus_per_trial and gpus_per_trial")
        if self.workers > 1 and self.gpus_per_trial:
            raise PydanticCustomError("per_trial", "resources: with several workers set gpus_per_worker")
        return self

    @property
    def cpus(self) -> int:
        """Of one process."""
        return self.cpus_per_trial if self.workers == 1 else self.cpus_per_worker or self.cpus_per_trial

    @property
    def gpus(self) -> float:
        """Of one process."""
        return self.gpus_per_trial if self.workers == 1 else self.gpus_per_worker or 0.0


class Primary(Section):
    """The one comparison that the study is about: `metric` of contrast[0] against contrast[1] on `axis`."""

    metric: Annotated[str, Field(min_length=1)]
    contrast: Annotated[tuple[Any, ...], Field(min_length=2, max_length=2, strict=False)]
    axis: str
    over: Literal["last", "area"] = "last"
    """Value of the metric at the last evaluation, or the area under its curve (mean height over steps, the start
    included)."""

    @model_serializer(mode="wrap")
    def _without_unused(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _used(self, serialize(self), _ADDED_TO_PRIMARY)


class Analysis(Section):
    """The pre-registered analysis; everything else in a report is exploratory."""

    primary: Primary
    margin: Positive
    """Equivalence margin, in units of the metric."""
    alpha: Annotated[Fraction, Field(gt=0, lt=1)]
    correction: Literal["holm", "none"] = "holm"
    threshold: Positive | None = None
    """Value of the metric that runs are timed to; null: a report chooses one after the fact, marked as such."""
    paired: bool = False
    """Arms are compared seed by seed (sign flips of pairs); seeds that one arm lacks are left out."""
    random: Annotated[tuple[NonEmptyText, ...], Field(strict=False)] = ()
    """Swept settings whose values are a sample of others (start policies, imitation seeds): the first one's levels are
    the units of the contrast, in the place of seeds. One more may be crossed with it, as `seed` (the trials' seed) is:
    the contrast then has the variance of both. Others are nested in the first and averaged."""
    adjusted: bool = False
    """With `branch` and `paired`: differences are adjusted for the metric at the checkpoint that a seed's arms share
    (ANCOVA)."""
    requires: Annotated[tuple[Requirement, ...], Field(strict=False)] = ()
    """Manipulation checks and controls; where one fails the verdict is "design could not tell"."""
    assay: Assay | None = None
    """Planted effects that the design must detect, and a placebo that it must not; their checks are required too."""

    @model_serializer(mode="wrap")
    def _without_unused(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _used(self, serialize(self), _ADDED)


_ADDED: dict[str, Any] = {"requires": (), "paired": False, "random": (), "adjusted": False, "assay": None}
_ADDED_TO_PRIMARY: dict[str, Any] = {"over": "last"}
_ADDED_TO_FILE: dict[str, Any] = {"labels": {}, "branch": None, "tuning": None}
"""Fields of a plan by the default that stands for their absence."""


def _used(section: Section, values: dict[str, Any], added: dict[str, Any]) -> dict[str, Any]:
    """`values` without fields that were added since studies were registered and that a file does not use: its hash is
    that of its text."""
    return {k: v for k, v in values.items() if k not in added or getattr(section, k) != added[k]}


def _without_secrets(value: str) -> str:
    """The message never repeats the value. A server's user may be a token; a database's user is no secret."""
    try:
        parts = urlsplit(value)
        held = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if is_secret(name)]
        secret = parts.password is not None or held or (parts.username and parts.scheme in ("http", "https"))
    except ValueError:
        secret = False
    if secret:
        raise PydanticCustomError(
            "password",
            "must hold no password, token or key: MLflow reads MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD,"
            " or MLFLOW_TRACKING_TOKEN (PGPASSWORD for PostgreSQL) in the environment",
        )
    return value


class Tracking(Section):
    uri: Annotated[str, AfterValidator(_without_secrets)] | None = None
    """MLflow store; null: the one that MLFLOW_TRACKING_URI names, or else SQLite in the output folder. A server's user
    and password come from the environment."""
    experiment: str | None = None
    """null: the sweep's name."""
    traces_per_step: Annotated[int, Field(ge=0, le=1000)] = 1
    """Episodes of each (step, split) shown as traces beside one of every kind of failure; 0: no traces."""
    register_policies: bool = False
    """Register each trial's trained policy as a version of the model `<sweep>-<arm>`."""


class SweepFile(Section):
    """The file as written; `fixed` and `parameters` are checked as parts of the trials they make."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    hypothesis: Annotated[str, Field(min_length=1)]
    profile: NonEmptyText
    """Name of a shipped profile, or path of a YAML file of one's own."""
    fixed: dict[str, Any] = Field(default_factory=dict)
    parameters: dict[str, Axis] = Field(default_factory=dict)
    seeds: Annotated[tuple[Seed, ...], Field(strict=False)]
    exclude: Annotated[tuple[dict[str, Any], ...], Field(strict=False)] = ()
    branch: Branch | None = None
    """Common first steps of all arms; null: every arm starts from the start policy."""
    tuning: Tuning | None = None
    """Equal tuning of all arms before the confirmatory trials: registered here, not carried out by a sweep."""
    labels: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Names of arms in tables and figures: {label: {swept setting: value}}, as many settings as identify the arm."""
    resources: Resources = Resources()
    analysis: Analysis | None = None
    tracking: Tracking = Tracking()
    small: dict[str, Any] = Field(default_factory=dict)
    """Overrides of `--small`, which runs the study in minutes, to see it work, under the name NAME-small."""

    @model_serializer(mode="wrap")
    def _without_unused(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _used(self, serialize(self), _ADDED_TO_FILE)

"""Typed configuration with located errors: profiles, sweep files, trials and what identifies them."""

from harness.config.arm_names import short_names
from harness.config.code_version import code_version
from harness.config.expand import SweepSpec, TrialSpec, expand, load_sweep, load_trial
from harness.config.identity import canonical_json, digest, flatten, trial_key
from harness.config.own_code import own_code
from harness.config.schema import TrialConfig
from harness.config.yaml_source import ConfigError, Problem

__all__ = [
    "ConfigError",
    "Problem",
    "SweepSpec",
    "TrialConfig",
    "TrialSpec",
    "canonical_json",
    "code_version",
    "digest",
    "expand",
    "flatten",
    "load_sweep",
    "load_trial",
    "own_code",
    "short_names",
    "trial_key",
]

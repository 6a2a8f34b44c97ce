"""Typed configuration with located errors: profiles, sweep files, trials and what identifies them."""

from harness.config.identity import canonical_json, code_version, digest, flatten, trial_key
from harness.config.located import ConfigError, Problem
from harness.config.model import PRESETS, TrialConfig
from harness.config.sweep import SweepSpec, TrialSpec, expand, load_sweep, load_trial, short_names

__all__ = [
    "PRESETS",
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
    "short_names",
    "trial_key",
]

"""Colours of arms, in figures and in MLflow alike (Paul Tol, "bright"). Imports nothing."""

COLOURS = ("#4477aa", "#ee6677", "#228833", "#aa3377", "#ccbb44", "#66ccee", "#888888")

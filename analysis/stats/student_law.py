"""Student's t law of an estimate: its interval, its two-sided test and its test of equivalence."""

from __future__ import annotations

from dataclasses import dataclass

from scipy import stats

from analysis.stats.types import DegenerateInput, Interval, Test


@dataclass(frozen=True, slots=True)
class StudentLaw:
    """An estimate `value` with standard error `error` > 0 on `df` degrees of freedom, not necessarily whole."""

    value: float
    error: float
    df: float

    @property
    def p(self) -> float:
        """Two-sided p of no difference."""
        return float(2 * stats.t.sf(abs(self.value) / self.error, self.df))

    def interval(self, level: float, method: str) -> Interval:
        """The t interval at `level`."""
        half = float(stats.t.ppf(0.5 + level / 2, self.df)) * self.error
        return Interval(self.value - half, self.value + half, level, method)

    def equivalence(self, margin: float, alpha: float, method: str) -> Test:
        """Two one-sided t tests: a small p supports |difference| < margin; with the interval at 1 − 2 alpha."""
        if margin <= 0:
            raise DegenerateInput(f"equivalence margin must be positive, got {margin}")
        p = float(stats.t.sf((margin - abs(self.value)) / self.error, self.df))
        return Test(self.value, p, f"TOST on {method}, margin ±{margin:g}", interval=self.interval(1 - 2 * alpha, "t"))

"""The value staircase: one episode as an HTML page, the value after every turn with its interval, the unit beneath.

The page is complete in itself, and all text of the episode is escaped.
"""

from __future__ import annotations

import html
from dataclasses import dataclass

from harness.credit.unit_credit import Z95, UnitCredit
from harness.env.diagnostics import operators_called
from harness.env.fault_detection import think_text
from harness.types import Trajectory, Turn

COLUMN, HEIGHT, MARGIN = 240, 200, 24
"""Pixels: width of a unit's column, height of the drawing, its space above and below."""
_CSS = """
:root { color-scheme: light dark; --ink: #1b1b1f; --grid: #d9d9df; --up: #228833; --down: #cc3355; --paper: #ffffff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6ea; --grid: #44444c; --up: #55bb66; --down: #ff7788; --paper: #1b1b1f; }
}
body { font: 14px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 1.5rem; }
.scroll { overflow-x: auto; }
.units { display: grid; padding: 0 VARpx; }
.unit { padding: .4rem .6rem; border-left: 1px solid var(--grid); overflow-wrap: anywhere; }
.think { font-style: italic; } .read { opacity: .75; } .mark, .down { color: var(--down); } .up { color: var(--up); }
svg text { fill: var(--ink); font-size: 12px; } svg .up { stroke: var(--up); } svg .down { stroke: var(--down); }
""".replace("VAR", str(COLUMN // 4))


@dataclass(frozen=True, slots=True)
class _Scale:
    """Vertical place of values between `low` and `high`, in pixels from above."""

    low: float
    high: float

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(MARGIN + (1 - share) * (HEIGHT - 2 * MARGIN), 1)


def staircase_page(episode: Trajectory, credit: UnitCredit, about: str) -> str:
    """The page of an episode and its credit. `about` is a line on how the values were estimated."""
    question, reward = html.escape(episode.question.text), episode.reward
    answer = "no answer" if reward.answer is None else f"answer: {html.escape(reward.answer)}"
    count, columns = len(episode.turns), f"grid-template-columns: repeat({len(episode.turns)}, {COLUMN}px)"
    units = "".join(_unit(k, turn, credit) for k, turn in enumerate(episode.turns))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{question}</title>'
        f"<style>{_CSS}</style></head><body><h1>{question}</h1>"
        f"<p>{answer} · reward {reward.total:+.2f} · gold: {html.escape(' | '.join(episode.question.answers))}</p>"
        f'<p>{html.escape(about)}</p><div class="scroll">{_drawing(credit, count)}'
        f'<div class="units" style="{columns}">{units}</div></div></body></html>\n'
    )


def _drawing(credit: UnitCredit, count: int) -> str:
    """SVG of the staircase: a tread a state, a riser a unit, a 95 % interval at every state."""
    reach = Z95 * credit.value_errors
    low, high = float((credit.values - reach).min()), float((credit.values + reach).max())
    scale = _Scale(min(low, 0.0), max(high, 1.0))
    left = COLUMN // 4
    width = count * COLUMN + 2 * left
    parts = []
    for value in (0.0, 1.0):
        y = scale.y(value)
        parts.append(f'<line x1="{left}" x2="{width - left}" y1="{y}" y2="{y}" stroke="var(--grid)"/>')
        parts.append(f'<text x="4" y="{y + 4}">{value:.0f}</text>')
    for k, (value, half) in enumerate(zip(credit.values, reach, strict=True)):
        x, y = left + k * COLUMN, scale.y(float(value))
        start, end = max(left, x - COLUMN // 2), min(width - left, x + COLUMN // 2)
        parts.append(
            f'<line class="tread" x1="{start}" x2="{end}" y1="{y}" y2="{y}" stroke="var(--ink)" stroke-width="2"/>'
        )
        if half > 0:
            y1, y2 = scale.y(float(value - half)), scale.y(float(value + half))
            parts.append(f'<line class="interval" x1="{x}" x2="{x}" y1="{y1}" y2="{y2}" stroke="var(--ink)"/>')
        name = "R" if k == count else f"V{k}"
        parts.append(f'<text x="{x}" y="{max(12.0, y - 6)}" text-anchor="middle">{name} {value:.2f}</text>')
    for k, change in enumerate(credit.credit):
        x, y1, y2 = (
            left + k * COLUMN + COLUMN // 2,
            scale.y(float(credit.values[k])),
            scale.y(float(credit.values[k + 1])),
        )
        kind = "up" if change >= 0 else "down"
        parts.append(f'<line class="riser {kind}" x1="{x}" x2="{x}" y1="{y1}" y2="{y2}" stroke-width="4"/>')
    return (
        f'<svg width="{width}" height="{HEIGHT}" role="img" aria-label="value after every turn">{"".join(parts)}</svg>'
    )


def _unit(k: int, turn: Turn, credit: UnitCredit) -> str:
    """A unit's column: its credit, thought, action, what was read, and marks."""
    action = turn.parsed.action
    called = ", ".join(operators_called(turn)) or ("answer" if action is not None else "no action")
    value, half = float(credit.credit[k]), Z95 * float(credit.errors[k])
    kind = "up" if value >= 0 else "down"
    lines = [f'<b>{k + 1}. {html.escape(called)}</b> <span class="{kind}">{value:+.2f} ± {half:.2f}</span>']
    lines.append(f'<div class="think">{html.escape(think_text(turn))}</div>')
    lines.append(f"<div>{html.escape(action.text if action is not None else turn.parsed.text)}</div>")
    if turn.result is not None:
        lines.append(f'<div class="read">{html.escape(turn.result.text)}</div>')
    marks = [f"fault: {fault.kind}" for fault in turn.faults] + [failure.value for failure in turn.parsed.failures]
    lines += [f'<div class="mark">{html.escape(mark.replace("_", " "))}</div>' for mark in marks]
    return f'<div class="unit">{"".join(lines)}</div>'

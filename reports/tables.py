"""Renderers of a table as HTML, booktabs LaTeX and GitHub markdown."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from analysis.compare import format_p, format_share
from reports.markdown import markdown_text


@dataclass(frozen=True)
class Table:
    """`frame` holds display text or numbers; `data` full precision for the CSV. `strong` marks rows set in bold."""

    name: str
    title: str
    frame: pd.DataFrame
    caption: str = ""
    data: pd.DataFrame | None = None
    strong: Sequence[int] = field(default_factory=tuple)
    rules: Sequence[int] = field(default_factory=tuple)  # rows before which a thin rule stands


def display_frame(frame: pd.DataFrame, formats: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Display text of a frame: low/high pairs become one bracketed column, p-values and shares are rounded.

    `formats` overrides a column: "p", "share", "signed", "text", "number" or "drop". Absent numbers show as –.
    """
    formats = dict(formats or {})
    out: dict[str, list[str]] = {}
    for name in frame.columns:
        kind = formats.get(name) or _guess(name, frame)
        if kind == "drop" or name.endswith("high") or (name == "note" and not any(frame[name])):
            continue
        if name.endswith("low"):
            prefix = name.removesuffix("low")
            signed = kind == "signed"
            pairs = zip(frame[name], frame[prefix + "high"], strict=True)
            label = "interval" if not prefix else f"{prefix.rstrip('_').replace('_', ' ')} interval"
            out[label] = ["–" if _absent(a) else f"[{_share(a, signed)}, {_share(b, signed)}]" for a, b in pairs]
            continue
        cells = [_cell(v, kind) for v in frame[name]]
        out[_HEADS.get(name, name.replace("_", " "))] = (
            [c.removeprefix("–") for c in cells] if name == "note" else cells
        )
    return pd.DataFrame(out)


_HEADS = {
    "p_adjusted": "p adj.",
    "smallest_p": "least p",
    "least_p_adjusted": "least p adj.",
    "p_equivalence": "p TOST",
    "p_logrank": "p log-rank",
    "p_mcnemar": "p McNemar",
    "type1": "type-I error",
    "detected_twin": "base rate",
    "needed": "seeds needed",
    "needed_normal": "by the normal law",
}
"""Short headings, so that tables fit a page."""


def _absent(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value) or (isinstance(value, float) and value != value)


def _share(value: float, signed: bool) -> str:
    return format_share(value, signed)


_P = re.compile(r"^p($|_)|_p$|^p ")


def _guess(name: str, frame: pd.DataFrame) -> str:
    if _P.search(name):
        return "p"
    signed = "difference" in frame.columns or "effect" in name
    if name in ("difference", "effect", "rho", "rise") or (name.endswith("low") and signed):
        return "signed"
    if pd.api.types.is_integer_dtype(frame[name]) or pd.api.types.is_bool_dtype(frame[name]):
        return "text"
    numbers = [v for v in frame[name] if not isinstance(v, str) and not _absent(v)]
    return "share" if numbers and all(isinstance(v, float) for v in numbers) else "text"


def _cell(value: object, kind: str) -> str:
    if _absent(value):
        return "–"
    if kind == "p":
        return format_p(value)  # type: ignore[arg-type]
    if kind in ("share", "signed") and not isinstance(value, str):
        return format_share(float(value), kind == "signed")  # type: ignore[arg-type]
    if kind == "number" and not isinstance(value, str):
        return f"{float(value):.3g}"  # type: ignore[arg-type]
    return str(value)


_NUMERIC = re.compile(r"[\[<]?[+\-]?\.?\d[\d., +\-\]e±/]*(?: v \d+)?|–|")


def is_numeric(column: Sequence[str]) -> bool:
    """Whether a display column is set flush right."""
    return any(column) and all(_NUMERIC.fullmatch(v) for v in column)


def html_table(table: Table) -> str:
    """Table under its caption; a wide table scrolls in its own box."""
    frame = table.frame
    right = {c: is_numeric([str(v) for v in frame[c]]) for c in frame.columns}
    head = "".join(f'<th scope="col"{_align(right[c])}>{html.escape(str(c))}</th>' for c in frame.columns)
    body = []
    for i, row in enumerate(frame.itertuples(index=False)):
        marks = [m for m, on in (("strong", i in table.strong), ("ruled", i in table.rules)) if on]
        cells = "".join(
            f"<td{_align(right[c])}>{html.escape(str(v))}</td>" for c, v in zip(frame.columns, row, strict=True)
        )
        kind = f' class="{" ".join(marks)}"' if marks else ""
        body.append(f"<tr{kind}>{cells}</tr>")
    caption = f"<b>{html.escape(table.title)}.</b> {html.escape(table.caption)}"
    return (
        f'<p class="cap" id="c-{table.name}">{caption}</p>'
        f'<div class="scroll"><table id="t-{table.name}" aria-labelledby="c-{table.name}">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _align(right: bool) -> str:
    return ' class="n"' if right else ""


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": "$-$", "–": "--", "≤": r"$\leq$", "≥": r"$\geq$",
    "±": r"$\pm$", "×": r"$\times$", "Δ": r"$\Delta$", "α": r"$\alpha$", "ρ": r"$\rho$", "→": r"$\rightarrow$",
    "τ": r"$\tau$", "…": r"\ldots{}", "·": r"$\cdot$", "’": "'",
    "“": "``", "”": "''", "<": r"$<$", ">": r"$>$", "²": r"$^2$", "χ": r"$\chi$", "|": r"$|$",
}  # fmt: skip


def latex_text(text: str) -> str:
    """Escape for LaTeX with its default encoding; what that cannot set stands as its code, as \\texttt{U+4F4E}."""
    return "".join(_LATEX.get(c) or _latex_character(c) for c in text)


def _latex_character(c: str) -> str:
    latin = "\u00c0" <= c <= "\u017e" and (unicodedata.normalize("NFD", c)[0].isascii() or c in "ßæœøłÆŒØŁ")
    if c.isascii() or latin:
        return c
    return rf"\texttt{{U+{ord(c):04X}}}"


def _latex_row(cells: Sequence[object]) -> list[str]:
    """Cells of a row; the first is in braces where it would be an argument of the line break before it."""
    first, *rest = (latex_text(str(cell)) for cell in cells)
    return [f"{{{first}}}" if first[:1] in ("[", "*") else first, *rest]


def latex_table(table: Table) -> str:
    """A table environment in booktabs style; needs \\usepackage{booktabs}."""
    frame = table.frame
    spec = "".join("r" if is_numeric([str(v) for v in frame[c]]) else "l" for c in frame.columns)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex_text(f'{table.title}. {table.caption}'.strip())}}}",
        rf"\label{{tab:{table.name.replace('_', '-')}}}",
        rf"\begin{{tabular}}{{{spec}}}",
        r"\toprule",
        " & ".join(latex_text(str(c)) for c in frame.columns) + r" \\",
        r"\midrule",
    ]
    for i, row in enumerate(frame.itertuples(index=False)):
        if i in table.rules and i:
            lines.append(r"\midrule")
        cells = _latex_row(row)
        lines.append(" & ".join(rf"\textbf{{{c}}}" if i in table.strong else c for c in cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def markdown_table(frame: pd.DataFrame, links: Collection[str] = ()) -> str:
    """A GitHub table of display text; cells of the columns `links` are Markdown already."""
    columns = [frame[name] if name in links else frame[name].map(lambda c: markdown_text(str(c))) for name in frame]
    head = [markdown_text(str(name)) for name in frame.columns]
    rows = [head, ["---"] * len(head), *([str(cell) for cell in row] for row in zip(*columns, strict=True))]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)

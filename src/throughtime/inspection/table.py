"""A table of runs: mean and deviation over repeated trainings, beside published figures."""

from __future__ import annotations

import html
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from throughtime.inspection.charts import svg_of
from throughtime.tasks.run import written_whole
from throughtime.tasks.task import Figure

__all__ = ["Row", "in_lines", "sources", "write_table"]


@dataclass
class Row:
    """One network of a table and its repeated trainings.

    Args:
        name: the name of the network in the table.
        published: published figures, by name.
        source: where they were published.
        results: the figures of each finished training, by the name of the training.
        minutes: the minutes of each finished training.
        parameters: the number of parameters of the network; None before its first training.
        number: how many trainings there are to be.
        failures: why trainings failed, one sentence each.
        settings: the settings of each finished training that differ from the recipe.
        curves: the curves of the evaluations of the finished trainings, by their title, each with
            the entries of :class:`throughtime.tasks.shown.Curves`.
    """

    name: str
    published: Mapping[str, float]
    source: str = ""
    results: dict[str, dict[str, float]] = field(default_factory=dict)
    minutes: list[float] = field(default_factory=list)
    parameters: int | None = None
    number: int = 0
    failures: list[str] = field(default_factory=list)
    settings: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    curves: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)

    def values(self, figure: str) -> list[float]:
        """The figure of each finished training that has it."""
        return [result[figure] for result in self.results.values() if figure in result]


def _table(rows: Sequence[Row], figures: Mapping[str, Figure]) -> list[list[str]]:
    """The names of the columns, and below them the rows, as texts.

    A figure has further columns for the best of several trainings and for published values, where
    there are any.
    """
    columns = [["network", *(row.name for row in rows)]]
    sizes = [row.parameters for row in rows]
    columns.append(["parameters", *("" if size is None else f"{size:,}" for size in sizes)])
    are_repeated = any(row.number > 1 for row in rows)
    for name, figure in figures.items():
        words = name.replace("_", " ")
        values = [row.values(name) for row in rows]
        title = f"{words}, mean ± deviation" if are_repeated else words
        columns.append([title, *map(_spread, values)])
        if are_repeated:
            columns.append(["best", *(_best(each, figure) for each in values)])
        published = [row.published.get(name) for row in rows]
        if any(value is not None for value in published):
            columns.append(["published", *("" if v is None else _number(v) for v in published)])
    columns.append(["runs", *(f"{len(row.results)} of {row.number}" for row in rows)])
    minutes = (_number(statistics.mean(row.minutes)) if row.minutes else "" for row in rows)
    columns.append(["minutes each", *minutes])
    return [list(line) for line in zip(*columns, strict=True)]


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    mean = _number(statistics.mean(values))
    return mean if len(values) == 1 else f"{mean} ± {_number(statistics.stdev(values))}"


def _best(values: Sequence[float], figure: Figure) -> str:
    if not values:
        return ""
    return _number(max(values) if figure.better == "higher" else min(values))


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else str(value)


def in_lines(rows: Sequence[Row], figures: Mapping[str, Figure]) -> str:
    """The table as columns of text, for a terminal."""
    cells = _table(rows, figures)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def sources(rows: Sequence[Row]) -> list[str]:
    """A sentence for each source of published figures."""
    names: dict[str, list[str]] = {}
    for row in rows:
        if row.source:
            names.setdefault(row.source, []).append(row.name)
    return [f"{'; '.join(group)}: published by {source}." for source, group in names.items()]


def write_table(
    path: Path,
    title: str,
    about: Mapping[str, object],
    rows: Sequence[Row],
    figures: Mapping[str, Figure],
    over: str,
    more: Sequence[str] = (),
) -> None:
    """Writes the table as a self-contained web page with one picture.

    Args:
        path: the file.
        title: the heading.
        about: what the table shows and where it comes from, by name.
        rows: the networks.
        figures: the figures that are shown, by name; the picture shows the first.
        over: the setting that differs between the trainings of a row ("seed").
        more: further HTML elements, below the picture.
    """
    name, figure = next(iter(figures.items()))
    columns, *lines = _table(rows, figures)
    body = [
        f"<h1>{html.escape(title)}</h1>",
        *(f"<p><b>{_text(key)}</b>: {_text(value)}</p>" for key, value in about.items()),
        '<div class="wide"><table><thead><tr>',
        *(f"<th>{_text(column)}</th>" for column in columns),
        "</tr></thead><tbody>",
        *(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in line)}</tr>" for line in lines),
        "</tbody></table></div>",
        *(f"<p>{_text(sentence)}</p>" for sentence in sources(rows)),
        *(f'<p class="failed">{_text(text)}</p>' for row in rows for text in row.failures),
        f"<h2>{_text(name.replace('_', ' '))} of each training</h2>",
        _picture(rows, name, figure),
        *more,
        f"<h2>Each training</h2><p>One column for each {_text(over)}.</p>",
        *(_each(rows, name) for name in figures),
    ]
    page = _PAGE.format(title=html.escape(title), body="\n".join(body))
    written_whole(path, lambda partial: partial.write_text(page, encoding="utf-8"))


def _text(value: object) -> str:
    return html.escape(str(value))


def _each(rows: Sequence[Row], figure: str) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row.results))
    head = "".join(f"<th>{_text(name)}</th>" for name in names)
    lines = []
    for row in rows:
        values = (row.results.get(name, {}).get(figure) for name in names)
        cells = "".join(f"<td>{'' if v is None else _number(v)}</td>" for v in values)
        lines.append(f"<tr><td>{_text(row.name)}</td>{cells}</tr>")
    caption = _text(figure.replace("_", " "))
    return (
        f'<div class="wide"><table><caption>{caption}</caption><thead><tr><th></th>{head}</tr>'
        f"</thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _picture(rows: Sequence[Row], name: str, figure: Figure) -> str:
    """A dot for each training, a bar at the mean, and a diamond at the published figure."""
    values = [row.values(name) for row in rows]
    published = [row.published.get(name) for row in rows]
    shown = [v for group in values for v in group] + [v for v in published if v is not None]
    if not any(values):
        return "<p>No training is finished.</p>"

    def draw(axes: Any) -> None:
        for place, (group, other) in enumerate(zip(values, published, strict=True)):
            axes.plot(group, [place] * len(group), "o", color="#0072b2", alpha=0.6)
            if group:
                axes.plot([statistics.mean(group)], [place], "|", color="black", ms=18, mew=2)
            if other is not None:
                axes.plot([other], [place], "D", color="#d55e00", mfc="none")
        axes.set_yticks(range(len(rows)), [row.name for row in rows], parse_math=False)
        axes.invert_yaxis()
        axes.margins(y=0.5 / len(rows))
        if min(shown) > 0 and max(shown) > 100 * min(shown):
            axes.set_xscale("log")
        words = name.replace("_", " ")
        axes.set_xlabel(f"{words} ({figure.unit})" if figure.unit else words, parse_math=False)

    svg = svg_of(draw, height=1.2 + 0.4 * len(rows), width=8)
    return (
        f"<figure>{svg}<figcaption>Dots: trainings. Bars: their means. "
        "Diamonds: published figures.</figcaption></figure>"
    )


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff;
         max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
  h1 {{ font-size: 1.5rem }} h2 {{ font-size: 1.15rem; margin-top: 2.2rem }}
  svg {{ width: 100%; height: auto }} figure {{ margin: 0 }} figcaption {{ font-size: .9rem }}
  .wide {{ overflow-x: auto }} .failed {{ color: #a00 }}
  table {{ border-collapse: collapse; font-size: .9rem }} caption {{ text-align: left }}
  th, td {{ padding: .2rem .9rem .2rem 0; text-align: left; white-space: nowrap }}
  th {{ border-bottom: 1px solid #999 }}
</style>
<body>
{body}
</body></html>
"""

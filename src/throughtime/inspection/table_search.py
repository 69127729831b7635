"""What a random search shows: boxes, tests against the first network, which settings matter."""

from __future__ import annotations

import html
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from throughtime.data import MissingLibraryError
from throughtime.inspection.charts import svg_of
from throughtime.inspection.table import Row
from throughtime.tasks.task import Figure

__all__ = ["Welch", "best_values", "explained", "search_html", "welch"]

_BEST_SHARE, _LEAST_BEST = 0.1, 5


@dataclass(frozen=True)
class Welch:
    """Welch's test of whether two groups have the same mean.

    Args:
        t: the difference of the means in standard errors; negative if the first is smaller.
        freedom: the degrees of freedom.
        p: the probability of such a difference, or a larger one, if the means are equal.
    """

    t: float
    freedom: float
    p: float


def welch(a: Sequence[float], b: Sequence[float]) -> Welch | None:
    """Welch's test, which assumes no equal variances.

    None for groups that allow none: one of a single value, two without a variance, and one with a
    value that is not finite.

    Raises:
        MissingLibraryError: if scipy, which has the distribution of t, is not installed.

    Source: Welch, "The generalization of Student's problem when several different population
        variances are involved" (1947).
    """
    if min(len(a), len(b)) < 2:
        return None
    first, second = statistics.variance(a) / len(a), statistics.variance(b) / len(b)
    if first + second == 0 or not math.isfinite(first + second):
        return None
    try:
        from scipy.special import stdtr
    except ImportError as error:
        raise MissingLibraryError(
            "Welch's test needs scipy, which is not installed. Install it with "
            "`pip install throughtime[music]`."
        ) from error
    t = (statistics.mean(a) - statistics.mean(b)) / math.sqrt(first + second)
    freedom = (first + second) ** 2 / (first**2 / (len(a) - 1) + second**2 / (len(b) - 1))
    return Welch(t, freedom, float(2 * stdtr(freedom, -abs(t))))


def _rank(value: float, figure: Figure) -> tuple[bool, float]:
    """A key that sorts values from the best to the worst; NaN, of a divergence, is the worst."""
    return math.isnan(value), value if figure.better == "lower" else -value


def best_values(values: Sequence[float], figure: Figure) -> list[float]:
    """The best tenth of the trials, but at least five, the best first."""
    number = max(_LEAST_BEST, round(_BEST_SHARE * len(values)))
    return sorted(values, key=lambda value: _rank(value, figure))[:number]


def explained(
    rows: Sequence[Row], name: str, figure: Figure, ranges: Mapping[str, Any]
) -> dict[str, float]:
    """The share of the variance of a figure that each setting explains alone, from 0 to 1.

    The trials of each network are ranked by the figure, so that a training that diverged counts as
    the worst and no more. A polynomial of degree 2 in the setting, on its own scale, is fitted to
    the ranks of all networks together. Empty for fewer than four trials, and if no network has two.

    Args:
        rows: the networks, with the settings of their trials.
        name: the figure.
        figure: its direction.
        ranges: the ranges of the settings, by name.
    """
    ranks: list[float] = []
    trials: list[Mapping[str, Any]] = []
    for row in rows:
        own = [trial for trial, result in row.results.items() if name in result]
        own.sort(key=lambda trial: _rank(row.results[trial][name], figure))
        ranks += [place / len(own) for place in range(len(own))]
        trials += [row.settings[trial] for trial in own]
    if len(ranks) < 4 or not any(ranks):
        return {}
    y = np.array(ranks) - np.mean(ranks)
    shares = {}
    for setting, entry in ranges.items():
        x = np.array([float(trial[setting]) for trial in trials])
        x = np.log(x) if entry.get("log") else x
        x = (x - x.mean()) / (x.std() or 1.0)
        design = np.stack([np.ones_like(x), x, x**2], 1)
        fit = design @ np.linalg.lstsq(design, y, rcond=None)[0]
        shares[setting] = float(1 - ((y - fit) ** 2).sum() / (y**2).sum())
    return shares


def search_html(
    rows: Sequence[Row], name: str, figure: Figure, ranges: Mapping[str, Any]
) -> list[str]:
    """The sections of the page of a table that are for a random search.

    Args:
        rows: the networks; the others are compared with the first.
        name: the figure that is compared.
        figure: its unit and direction.
        ranges: the ranges of the settings, by name.
    """
    lines = []
    base = best_values(rows[0].values(name), figure)
    for row in rows:
        best = best_values(row.values(name), figure)
        test = welch(best, base) if row is not rows[0] else None
        mean = f"{statistics.mean(best):.4g}" if best else ""
        verdict = "" if test is None else "different" if test.p < 0.05 else "not different"
        cells = ["", "", ""]
        if test is not None:
            cells = [f"{test.t:.2f}", f"{test.p:.3g}", verdict]
        lines.append([row.name, str(len(best)), mean, *cells])
    head = ["network", "best trials", "their mean", "t", "p", f"from {rows[0].name}, p < 0.05"]
    shares = sorted(explained(rows, name, figure, ranges).items(), key=lambda item: -item[1])
    return [
        "<h2>The best trials</h2>",
        "<p>The best tenth of the trials of each network, but at least five, beside those of the "
        "first network: Welch's test, without a correction for the number of tests.</p>",
        _table(head, lines),
        _boxes(rows, name, figure),
        "<h2>Which settings matter</h2>",
        "<p>The share of the variance of the ranks of all trials that a polynomial of degree 2 in "
        "the setting alone explains.</p>",
        _table(["setting", "share"], [[setting, f"{share:.2f}"] for setting, share in shares]),
    ]


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join(
        f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in line)}</tr>" for line in lines
    )
    table = f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide">{table}</div>'


def _boxes(rows: Sequence[Row], name: str, figure: Figure) -> str:
    """A box for each network: the quartiles of its trials, and their median."""
    values = [row.values(name) for row in rows]
    if not any(values):
        return ""

    def draw(axes: Any) -> None:
        axes.boxplot(values, orientation="horizontal", positions=range(len(rows)))
        axes.set_yticks(range(len(rows)), [row.name for row in rows], parse_math=False)
        axes.invert_yaxis()
        words = name.replace("_", " ")
        axes.set_xlabel(f"{words} ({figure.unit})" if figure.unit else words, parse_math=False)

    return f"<figure>{svg_of(draw, height=1.2 + 0.4 * len(rows), width=8)}</figure>"

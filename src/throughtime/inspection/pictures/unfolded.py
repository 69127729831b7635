"""The picture of a network that is unfolded through time, with its values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from throughtime.inspection.pictures.drawing import diverging, drawing, new_figure
from throughtime.inspection.recording import Name, Recording
from throughtime.inspection.token_labels import token_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["unfolded"]

_BOX, _GAP = 0.62, 0.5
"""The width and height of a box in the units of the axes, in which a step is 1 wide."""
_MOST_SQUARES = 16


def unfolded(recording: Recording, first: int = 0, num_steps: int = 8) -> Figure:
    """The network unfolded through time: a column for each step, a row for each layer.

    A box shows the state of a layer after the step, a square for each unit (the first 256), blue
    for negative and orange for positive values. Below stands what the step reads, above the
    likeliest output with its probability, if the model has such.

    Args:
        recording: what the model computed. The layers of its last part are drawn.
        first: the first step.
        num_steps: the number of steps.
    """
    part = list(recording.steps)[-1]
    steps = recording.steps[part][first : first + num_steps]
    rows = _rows(recording, part)
    if not steps or not rows:
        raise ValueError(
            f"unfolded: expected a step from {first} on and a recurrent layer, got "
            f"{len(recording.steps[part])} steps and {len(rows)} layers."
        )
    with drawing():
        figure = new_figure(0.9 + 0.95 * len(steps), 1.3 + 1.15 * len(rows))
        axes = figure.add_subplot()
        for i, (name, values) in enumerate(rows):
            y = i * (1 + 0.2)
            axes.text(-0.75, y, _title(name), ha="right", va="center", fontsize=8)
            largest = float(values.abs().max()) or 1.0
            for j in range(len(steps)):
                _box(axes, j, y, values[first + j], largest)
                _arrow(axes, (j, y - 0.2 - _BOX), (j, y - _BOX / 2))
                before, after = (j - 1 + _BOX / 2, y), (j - _BOX / 2, y)
                ends = (after, before) if name.is_reverse else (before, after)
                if j > 0:
                    _arrow(axes, *ends)
        top = (len(rows) - 1) * 1.2
        outputs = _outputs(recording, part)
        for j, step in enumerate(steps):
            axes.text(j, -0.95, token_label(step), ha="center", va="center", parse_math=False)
            if first + j in outputs:
                _arrow(axes, (j, top + _BOX / 2), (j, top + _BOX / 2 + 0.2))
                axes.text(
                    j,
                    top + _BOX / 2 + 0.4,
                    outputs[first + j],
                    ha="center",
                    va="center",
                    fontsize=7.5,
                    parse_math=False,
                )
        axes.text(-0.75, -0.95, "reads", ha="right", va="center", fontsize=8)
        if outputs:
            axes.text(-0.75, top + _BOX / 2 + 0.4, "expects", ha="right", va="center", fontsize=8)
        axes.set(xlim=(-1.5, len(steps) - 0.4), ylim=(-1.2, top + 1.0), aspect="equal")
        axes.set_axis_off()
    return figure


def _rows(recording: Recording, part: str) -> list[tuple[Name, Tensor]]:
    """The state of each layer and direction; of several states the one that is the output."""
    rows: dict[Name, Tensor] = {}
    for text in recording.values:
        name = Name.of(text)
        if text in recording.states and recording.part(text) == part:
            # The step of a cell returns its output first among the states.
            rows.setdefault(name._replace(value=""), recording.values[text])
    return list(rows.items())


def _title(name: Name) -> str:
    return f"layer {name.layer}" + (" reverse" if name.is_reverse else "")


def _outputs(recording: Recording, part: str) -> dict[int, str]:
    """The likeliest output of each step in words."""
    if recording.probabilities is None:
        return {}
    missing = len(recording.steps[part]) - len(recording.probabilities)
    best = recording.probabilities.max(-1)
    names = [recording.outputs[int(i)] for i in best.indices]
    pairs = zip(names, best.values.tolist(), strict=True)
    return {missing + t: f"{token_label(name)} {p:.0%}" for t, (name, p) in enumerate(pairs)}


def _box(axes: Any, x: float, y: float, values: Tensor, largest: float) -> None:
    units = values[: _MOST_SQUARES**2].double()
    side = min(_MOST_SQUARES, max(1, int(len(units) ** 0.5 + 0.999)))
    grid = torch.full((side * side,), torch.nan, dtype=torch.float64)
    grid[: len(units)] = units
    axes.imshow(
        grid.view(side, side).numpy(),
        cmap=diverging(),
        vmin=-largest,
        vmax=largest,
        extent=(x - _BOX / 2, x + _BOX / 2, y - _BOX / 2, y + _BOX / 2),
        interpolation="nearest",
    )
    left, low = x - _BOX / 2, y - _BOX / 2
    axes.plot(
        [left, left + _BOX, left + _BOX, left, left],
        [low, low, low + _BOX, low + _BOX, low],
        color="#444",
        lw=0.8,
    )


def _arrow(axes: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>", "color": "#444", "lw": 0.9, "shrinkA": 1, "shrinkB": 1}
    axes.annotate("", xy=end, xytext=start, arrowprops=style)

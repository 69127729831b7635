"""Pictures of a text and what units and gates do while it is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from throughtime.inspection.pictures.drawing import diverging, drawing, new_figure
from throughtime.inspection.recording import Name, Recording
from throughtime.inspection.token_labels import token_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["coloured_text", "gate_map"]

_MOST_STEPS = 100
_LETTER, _LINE = 0.085, 0.19
"""Inches: the width of a letter, and the height of a line."""


def coloured_text(
    steps: Sequence[str], values: Tensor, title: str = "", num_columns: int = 84
) -> Figure:
    """The text of the steps, each coloured by the value of a unit after it.

    Args:
        steps: T texts.
        values: (T), the values of the unit.
        title: a line above the text.
        num_columns: the width of a line in letters.

    Blue is negative and orange positive; the largest absolute value has the full colour.
    """
    if len(steps) != len(values):
        raise ValueError(
            f"coloured_text: expected one value for each of {len(steps)} steps, got {len(values)}."
        )
    letters = _placed(steps, num_columns)
    num_lines = 1 + max((line for line, *_ in letters), default=0)
    grid = np.full((num_lines, num_columns), np.nan)
    numbers = values.double().tolist()
    for line, column, step, _ in letters:
        grid[line, column] = numbers[step]
    largest = max((abs(number) for number in numbers), default=0.0) or 1.0
    with drawing():
        figure = new_figure(num_columns * _LETTER + 0.2, num_lines * _LINE + 0.8)
        axes = figure.add_subplot()
        image = axes.imshow(
            grid, cmap=diverging(), vmin=-largest, vmax=largest, aspect="auto", origin="upper"
        )
        for line, column, step, letter in letters:
            is_dark = abs(numbers[step]) > 0.75 * largest
            axes.text(
                column,
                line,
                letter,
                ha="center",
                va="center",
                family="monospace",
                fontsize=9,
                color="white" if is_dark else "black",
                parse_math=False,
            )
        axes.set_axis_off()
        axes.set_title(title, loc="left", parse_math=False)
        bar = figure.colorbar(
            image, ax=axes, orientation="horizontal", shrink=0.3, aspect=30, anchor=(0.0, 0.5)
        )
        bar.ax.tick_params(labelsize=7)
    return figure


def _placed(steps: Sequence[str], num_columns: int) -> list[tuple[int, int, int, str]]:
    """Line, column, step and letter of each letter; a line end is shown and ends its line."""
    letters: list[tuple[int, int, int, str]] = []
    line = column = 0
    # Steps of several letters are words, which are set apart.
    gap = int(any(len(step) > 1 for step in steps))
    for number, step in enumerate(steps):
        if column and column + len(step) > num_columns:
            line, column = line + 1, 0
        for character in step or "∅":
            if column == num_columns:
                line, column = line + 1, 0
            sign = character if character == " " else token_label(character)[:1]
            letters.append((line, column, number, sign))
            column += 1
            if character == "\n":
                line, column = line + 1, 0
        column += gap if column else 0
    return letters


def gate_map(recording: Recording, layer: Name) -> Figure:
    """A heat map of each gate and state of a layer over the steps: a row for each unit.

    Args:
        recording: what the model computed.
        layer: the layer and direction; its ``value`` does not matter.

    Gates are drawn from 0 (white) to 1 (dark), other values by their sign. At most the first 100
    steps are drawn.

    Raises:
        ValueError: if the recording has no such layer.
    """
    names = [
        n for n in recording.values if Name.of(n)._replace(value="") == layer._replace(value="")
    ]
    if not names:
        raise ValueError(f"gate_map: the recording has no values of the layer {layer}.")
    steps = recording.tokens(names[0])[:_MOST_STEPS]
    with drawing():
        figure = new_figure(max(4.0, 0.6 + 0.11 * len(steps)), 0.4 + 1.05 * len(names))
        rows = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
        for axes, name in zip(rows, names, strict=True):
            _heat_map(figure, axes, recording.values[name][: len(steps)], Name.of(name).value)
        # Every step-th label, so that they do not touch.
        labels = [token_label(step) for step in steps]
        is_short = all(len(label) == 1 for label in labels)
        rows[-1].set_xticks(
            range(len(labels)),
            labels,
            fontsize=7,
            rotation=0 if is_short else 90,
            parse_math=False,
        )
        rows[-1].tick_params(length=0)
    return figure


def _heat_map(figure: Figure, axes: Any, values: Tensor, title: str) -> None:
    numbers = values.double().T.numpy()
    is_gate = bool(((numbers >= 0) & (numbers <= 1)).all())
    largest = float(np.abs(numbers).max()) or 1.0
    scale: dict[str, Any] = (
        {"cmap": "Blues", "vmin": 0, "vmax": 1}
        if is_gate
        else {"cmap": diverging(), "vmin": -largest, "vmax": largest}
    )
    image = axes.imshow(numbers, aspect="auto", interpolation="nearest", **scale)
    axes.set_yticks([])
    axes.set_ylabel(title, rotation=0, ha="right", va="center", parse_math=False)
    bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=12)
    bar.ax.tick_params(labelsize=6, length=2)

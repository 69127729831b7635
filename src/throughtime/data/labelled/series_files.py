"""Files of labelled series: the .ts format of the UEA archive, CSV, and MNIST's idx."""

from __future__ import annotations

import math
import struct

import numpy as np

from throughtime.data.csv_rows import csv_rows
from throughtime.data.labelled.example import Example

__all__ = ["NotSeries", "csv_series", "idx_images", "missing_place", "ts_series"]


class NotSeries(ValueError):
    """A line of a file is not a series."""


def missing_place(series: np.ndarray) -> str:
    """Where the first missing value of a series is ("step 3, feature 2"); empty if none is."""
    missing = np.argwhere(np.isnan(series))
    return f"step {missing[0][0] + 1}, feature {missing[0][1] + 1}" if len(missing) else ""


def ts_series(text: str, where: str) -> list[Example]:
    """The series of a .ts file: one on each line after ``@data``.

    The features are separated by colons, the steps of a feature by commas, and the label follows
    after the last colon. A missing value is a question mark or NaN; features that are shorter than
    the longest of a series are missing at its end.

    Args:
        text: the content of the file.
        where: the name of the file, for messages.

    Raises:
        NotSeries: for a malformed line, with its number, what was expected and what was found.
    """
    examples: list[Example] = []
    has_data, num_features, labels = False, 0, set[str]()
    for number, line in enumerate(text.split("\n"), 1):
        line, place = line.strip(), f"{where}, line {number}"
        if not line or line.startswith(("#", "%")):
            continue
        if not has_data:
            keyword, _, value = line.partition(" ")
            keyword, words = keyword.lower(), value.split()
            if keyword == "@timestamps" and words[:1] == ["true"]:
                raise NotSeries(f"{place}: expected series without time stamps, got @timeStamps.")
            if keyword == "@classlabel":
                labels = set(words[1:])
            has_data = keyword == "@data"
            if not line.startswith("@"):
                raise NotSeries(
                    f"{place}: expected the line @data before the series, got {line[:40]!r}."
                )
            continue
        *features, label = line.split(":")
        if not features:
            raise NotSeries(f"{place}: expected features and a label after a colon, got no colon.")
        num_features = num_features or len(features)
        if len(features) != num_features:
            raise NotSeries(
                f"{place}: expected {num_features} features as in the first series, got "
                f"{len(features)}."
            )
        if labels and label not in labels:
            raise NotSeries(
                f"{place}: expected a label of @classLabel ({', '.join(sorted(labels)[:9])}), got "
                f"{label!r}."
            )
        columns = [
            [_number(cell, f"{place}, feature {i}") for cell in feature.split(",")]
            for i, feature in enumerate(features, 1)
        ]
        series = np.full((max(map(len, columns)), len(columns)), np.nan, np.float32)
        for i, column in enumerate(columns):
            series[: len(column), i] = column
        examples.append(Example(label, series))
    if not examples:
        raise NotSeries(f"{where}: expected series after a line @data, got none.")
    return examples


def csv_series(text: str, where: str) -> list[Example]:
    """The series of a CSV file with a header: one step on each row.

    The column ``series`` names the series to which a step belongs, and the column ``label`` its
    label; all other columns are features. The steps of a series follow each other. An empty cell is
    a missing value.

    Raises:
        NotSeries: for a malformed row, with its line, what was expected and what was found.
    """
    rows = csv_rows(text, where)
    _, header = next(rows, ("", []))
    if not {"series", "label"} < set(header):
        raise NotSeries(
            f"{where}, line 1: expected a header with the columns series and label and a column "
            f"for each feature, got {', '.join(header)[:80]!r}."
        )
    features = [i for i, name in enumerate(header) if name not in ("series", "label")]
    at_series, at_label = header.index("series"), header.index("label")
    steps: dict[str, list[list[float]]] = {}
    labels: dict[str, str] = {}
    last = None
    for place, row in rows:
        if len(row) != len(header):
            raise NotSeries(f"{place}: expected {len(header)} columns, got {len(row)}.")
        name, label = row[at_series], row[at_label]
        if name in steps and name != last:
            raise NotSeries(
                f"{place}: expected the steps of a series to follow each other, got series "
                f"{name!r} again."
            )
        if labels.setdefault(name, label) != label:
            raise NotSeries(
                f"{place}: expected the label {labels[name]!r} of series {name!r}, got {label!r}."
            )
        cells = [_number(row[i], f"{place}, column {header[i]!r}") for i in features]
        steps.setdefault(name, []).append(cells)
        last = name
    if not steps:
        raise NotSeries(f"{where}: expected the steps of series, got none.")
    return [Example(labels[name], np.array(rows, np.float32)) for name, rows in steps.items()]


def idx_images(images: bytes, labels: bytes, order: np.ndarray | None = None) -> list[Example]:
    """Images of MNIST as series of pixels, row by row from the top left, from 0 to 1.

    Args:
        images, labels: the content of the two idx files.
        order: a permutation of the pixels; None keeps their order.
    """
    kind, number, height, width = struct.unpack(">IIII", images[:16])
    assert kind == 2051
    pixels = np.frombuffer(images, np.uint8, offset=16).reshape(number, height * width)
    if order is not None:
        pixels = pixels[:, order]
    classes = np.frombuffer(labels, np.uint8, offset=8)
    # Views of bytes: as float32 the 60,000 images would take 188 MB.
    return [Example(str(c), row[:, None]) for c, row in zip(classes, pixels, strict=True)]


def _number(cell: str, place: str) -> float:
    cell = cell.strip()
    if cell in ("", "?"):
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        raise NotSeries(f"{place}: expected a number, got {cell[:40]!r}.") from None
    if math.isinf(value):
        raise NotSeries(f"{place}: expected a finite number, got {cell!r}.")
    return value

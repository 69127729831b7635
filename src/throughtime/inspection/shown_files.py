"""The files of a run folder with the items that a task displayed.

The folder ``shown/`` contains a file for each picture, drawing, sound and score, named by its step
and number, and ``index.jsonl``, a line of JSON for each item with its kind, its title and the
content of a table or of curves. Texts are in samples.txt. The file ``evaluated.json`` contains the
curves of an evaluation.
"""

from __future__ import annotations

import base64
import html
import json
import re
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from throughtime.inspection.charts import svg_of
from throughtime.reading import (
    Each,
    Entries,
    ReadError,
    Whole,
    json_of,
    json_value,
    shown,
    text_of,
    typed,
)
from throughtime.tasks.run import Run, written_whole
from throughtime.tasks.shown import Curves, Drawing, Picture, Score, Shown, Sound, Table, Text
from throughtime.tasks.task import Evaluation

__all__ = [
    "curves_svg",
    "drop_shown",
    "evaluated_html",
    "shown_html",
    "write_evaluated",
    "write_shown",
]


def write_shown(run: Run, step: int, number: int, item: Shown) -> None:
    """Writes an item into the run folder; a text is ignored.

    Args:
        run: the run folder.
        step: the step of the training at which the item was displayed.
        number: the index of the item among those of its step.
        item: the item.
    """
    if isinstance(item, Text):
        return
    run.shown_folder.mkdir(exist_ok=True)
    entry: dict[str, Any] = {"step": step, "kind": type(item).__name__, "title": item.title}
    stem = f"{step:08d}-{number}"
    if isinstance(item, Table):
        entry |= {
            "columns": list(map(str, item.columns)),
            "rows": [list(map(str, r)) for r in item.rows],
        }
    elif isinstance(item, Curves):
        entry |= _points(item)
    elif isinstance(item, Picture):
        # Imported here because the import takes long, and most processes never draw.
        from matplotlib.image import imsave

        entry["file"] = f"{stem}.png"
        pixels = item.pixels.detach().float().clamp(0, 1).cpu().numpy()
        imsave(run.shown_folder / entry["file"], pixels, cmap="gray", vmin=0.0, vmax=1.0)
    elif isinstance(item, Drawing):
        entry["file"] = f"{stem}.svg"
        (run.shown_folder / entry["file"]).write_text(item.svg, encoding="utf-8")
    elif isinstance(item, Sound):
        entry["file"] = f"{stem}.wav"
        samples = item.samples.detach().float().clamp(-1, 1).cpu().numpy()
        with wave.open(str(run.shown_folder / entry["file"]), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(item.rate)
            file.writeframes((samples * 32767).astype(np.int16).tobytes())
    else:
        assert isinstance(item, Score)
        entry["file"] = f"{stem}.{item.suffix}"
        (run.shown_folder / entry["file"]).write_bytes(item.content)
    with _index(run).open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def drop_shown(run: Run, step: int) -> None:
    """Deletes the items after a step, which a resumed training displays again; 0 deletes all."""
    if not run.shown_folder.is_dir():
        return
    entries = _entries(run)
    remaining = [entry for entry in entries if step > 0 and entry["step"] <= step]
    for entry in entries:
        if entry not in remaining and "file" in entry:
            (run.shown_folder / entry["file"]).unlink(missing_ok=True)
    text = "".join(json.dumps(entry) + "\n" for entry in remaining)
    written_whole(_index(run), lambda partial: partial.write_text(text, encoding="utf-8"))


def shown_html(run: Run) -> list[str]:
    """The items of the last step that displayed any, as HTML elements."""
    entries = _entries(run)
    if not entries:
        return []
    last = max(entry["step"] for entry in entries)
    parts = [f"<h2>Shown at step {html.escape(str(last))}</h2>"]
    for entry in entries:
        if entry["step"] == last:
            caption = f"<figcaption>{html.escape(str(entry['title']))}</figcaption>"
            parts.append(f"<figure>{caption}{_element(run, entry)}</figure>")
    return parts


def write_evaluated(run: Run, evaluation: Evaluation) -> None:
    """Writes the curves of an evaluation into the run folder, instead of earlier ones."""
    curves = [{"title": item.title, **_points(item)} for item in evaluation.curves]
    about = {name: str(value) for name, value in evaluation.about.items()}
    text = json.dumps({"about": about, "curves": curves}) + "\n"
    written_whole(run.evaluated_file, lambda path: path.write_text(text, encoding="utf-8"))


def evaluated_html(run: Run) -> list[str]:
    """The curves of :func:`write_evaluated` as HTML elements."""
    if not run.evaluated_file.is_file():
        return []
    where = str(run.evaluated_file)
    content = typed(where, json_of(run.evaluated_file), _EVALUATED)
    about = ", ".join(
        f"{name.replace('_', ' ')}: {value}" for name, value in content["about"].items()
    )
    parts = ["<h2>Evaluated</h2>", f"<p>{html.escape(about)}</p>"]
    for number, entry in enumerate(content["curves"]):
        _check_points(f"{where}: curves[{number}]", entry)
        caption = f"<figcaption>{html.escape(entry['title'])}</figcaption>"
        parts.append(f"<figure>{caption}{curves_svg(entry)}</figure>")
    return parts


def _points(curves: Curves) -> dict[str, Any]:
    """Curves without their title, as a JSON object."""
    return {
        **{"x": list(curves.x), "y": {name: list(y) for name, y in curves.y.items()}},
        **{"x_name": curves.x_name, "y_name": curves.y_name},
    }


def _element(run: Run, entry: dict[str, Any]) -> str:
    """The HTML element of an item, with the content of its file embedded."""
    if entry["kind"] == "Table":
        rows = [entry["columns"], *entry["rows"]]
        cells = ("".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) for row in rows)
        return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"
    if entry["kind"] == "Curves":
        return curves_svg(entry)
    file = run.shown_folder / entry["file"]
    if not file.is_file():
        return "<p>The file is missing.</p>"
    data = base64.b64encode(file.read_bytes()).decode()
    if entry["kind"] == "Picture":
        return f'<img alt="" style="max-width:100%" src="data:image/png;base64,{data}">'
    if entry["kind"] == "Drawing":
        # An image cannot run a script, and has no colour of the page: its lines are black.
        style = "max-width:100%;background:#fff"
        return f'<img alt="" style="{style}" src="data:image/svg+xml;base64,{data}">'
    if entry["kind"] == "Sound":
        return f'<audio controls src="data:audio/wav;base64,{data}"></audio>'
    name = html.escape(file.name)
    return f'<a download="{name}" href="data:application/octet-stream;base64,{data}">{name}</a>'


def curves_svg(entry: Mapping[str, Any]) -> str:
    """Curves as SVG; points that are words are spread evenly along the axis.

    Args:
        entry: the entries of :class:`throughtime.tasks.shown.Curves` without the title.
    """
    x, are_words = entry["x"], any(isinstance(point, str) for point in entry["x"])
    places = range(len(x)) if are_words else x

    def draw(axes: Any) -> None:
        for name, y in entry["y"].items():
            axes.plot(places, y, label=name, linewidth=1.4, marker="o", ms=3)
        if are_words:
            axes.set_xticks(places, x, rotation=90, parse_math=False)
        axes.set_xlabel(entry["x_name"], parse_math=False)
        axes.set_ylabel(entry["y_name"], parse_math=False)

    return svg_of(draw, height=3.2 if are_words else 2.9, width=8.0 if are_words else 4.4)


def _index(run: Run) -> Path:
    return run.shown_folder / "index.jsonl"


def _entries(run: Run) -> list[dict[str, Any]]:
    """The entries of the index, without an incomplete last line that a killed process left.

    Raises:
        ReadError: if a line is not a valid entry.
    """
    if not _index(run).is_file():
        return []
    lines = text_of(_index(run)).split("\n")[:-1]
    entries = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{_index(run)}, line {number}"
        value = json_value(where, line)
        kind = typed(where, value, Entries({"kind": _kind}, others=Any))["kind"]
        entry = typed(where, value, _KINDS[kind])
        if kind == "Curves":
            _check_points(where, entry)
        entries.append(entry)
    return entries


def _check_points(where: str, entry: Mapping[str, Any]) -> None:
    """Raises a ReadError for a curve that has not one value for each point."""
    for name, y in entry["y"].items():
        if len(y) != len(entry["x"]):
            raise ReadError(
                where,
                f"expected {len(entry['x'])} values in the curve {shown(name)}, one for each "
                f"point, got {len(y)}.",
            )


def _kind(value: object) -> str:
    """Checks the name of a kind of item."""
    if not isinstance(value, str) or value not in _KINDS:
        raise ValueError(f"expected one of {', '.join(_KINDS)}, got {shown(value)}.")
    return value


def _file_name(value: object) -> str:
    """Checks that the name of a file is one that :func:`write_shown` creates, without a path."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]+-[0-9]+\.\w+", value):
        raise ValueError(f"expected the name of a file in the folder, got {shown(value)}.")
    return value


_PLACE = {"step": Whole(0), "kind": str, "title": str}
_POINTS = {
    **{"x": list[float | str], "y": dict[str, list[float]]},
    **{"x_name": str, "y_name": str},
}
_EVALUATED = Entries({"about": dict[str, str], "curves": Each(Entries({"title": str, **_POINTS}))})
_FILE = Entries({**_PLACE, "file": _file_name})
_KINDS = {
    "Table": Entries({**_PLACE, "columns": list[str], "rows": list[list[str]]}),
    "Curves": Entries({**_PLACE, **_POINTS}),
    "Picture": _FILE,
    "Drawing": _FILE,
    "Sound": _FILE,
    "Score": _FILE,
}

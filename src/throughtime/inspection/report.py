"""report.html: the curves and samples of a run, on a self-contained web page."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from throughtime.inspection.alignments import recorded_alignments
from throughtime.inspection.attention_map import ATTENTION_STYLE, HOW_TO_READ, attention_figure
from throughtime.inspection.charts import Points, chart
from throughtime.inspection.metrics import PLACE, read_metrics
from throughtime.inspection.shown_files import evaluated_html, shown_html
from throughtime.reading import text_of
from throughtime.tasks.run import Run, written_whole
from throughtime.tasks.task import Figure

__all__ = ["write_report"]


def write_report(run: Run) -> Path:
    """Writes the report page of a run folder, and returns its path.

    The page shows the loss curve, the figures of the validation, the norm of the gradient before
    clipping, the learning rate, the samples of the training, the curves of an evaluation, attention
    maps, and the configuration.
    """
    config = run.config()
    monitor, figures = config.get("monitor", "loss"), _figures(config)
    _, rows = read_metrics(run.metrics_file)
    settings = {"cell": "", **config["settings"]}
    title = f"{config['task']} · {config['assets'].get('data', run.folder.name)}"
    body = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{html.escape(_summary(rows, monitor, figures, config.get('parameters')))}</p>",
        '<div class="charts">',
        *_while_learning(rows, monitor, figures),
        *(
            chart("Validation", unit, curves)
            for unit, curves in _of_the_validation(rows, monitor, figures)
        ),
        *_of_the_learner(rows, config),
        "</div>",
        "<h2>Samples along the way</h2>",
        *_samples(run.samples_file),
        *shown_html(run),
        *evaluated_html(run),
        *_attention(run),
        "<h2>Configuration</h2>",
        _table({**settings, **config["training"], **config["versions"]}),
    ]
    page = _PAGE.format(title=html.escape(title), style=ATTENTION_STYLE, body="\n".join(body))
    # The JSON files may contain lone surrogates, which UTF-8 cannot encode.
    written_whole(
        run.report_file,
        lambda path: path.write_text(page, encoding="utf-8", errors="backslashreplace"),
    )
    return run.report_file


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
  :root {{ --soft: light-dark(#555, #a5abb3) }}
  body {{ font: 16px/1.5 system-ui, sans-serif; color: light-dark(#222, #e6e4df);
         background: light-dark(#fff, #121212);
         max-width: 62rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere }}
  h1 {{ font-size: 1.5rem }} h2 {{ font-size: 1.15rem; margin-top: 2.2rem }}
  .charts {{ display: grid; gap: 0 2rem;
            grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)) }}
  .chart {{ min-width: 0; max-width: 32rem }} .chart h2 {{ margin-bottom: .4rem }}
  .chart p {{ font-size: .85rem; color: var(--soft); margin: .2rem 0 }}
  svg {{ width: 100%; height: auto }} img, audio {{ max-width: 100% }}
  pre {{ background: light-dark(#f6f6f4, #1e2125); padding: .8rem 1rem; font-size: .85rem;
        white-space: pre-wrap }}
  /* A line that is too long goes on below, further to the right than a line of its own. */
  pre span {{ display: block; padding-left: 2ch; text-indent: -2ch; min-height: 1.5em }}
  figure {{ margin: 1.2rem 0 2rem }} figcaption {{ font-size: .9rem }}
  summary {{ cursor: pointer; color: var(--soft) }}
  td {{ padding: .1rem 1.5rem .1rem 0; font-size: .9rem; vertical-align: top }}
  td:last-child {{ padding-right: 0 }} td:first-child {{ color: var(--soft) }}
{style}</style>
<body>
{body}
</body></html>
"""


def _points(rows: list[dict[str, str]], split: str, column: str) -> Points:
    return [
        (float(row["step"]), float(row[column]))
        for row in rows
        if row["split"] == split and row.get(column)
    ]


def _columns(rows: list[dict[str, str]], split: str) -> list[str]:
    """The names of the figures that rows of a split have, without speeds."""
    names = dict.fromkeys(name for row in rows if row["split"] == split for name in row)
    return [
        name
        for name in names
        if name not in PLACE and not name.endswith("_per_second") and _points(rows, split, name)
    ]


def _figures(config: dict[str, Any]) -> dict[str, Figure]:
    """Units and directions of the figures; a run of an older version has those of its loss only."""
    entries = config.get("figures", {"loss": {"unit": "nats", "better": "lower"}})
    return {name: Figure(**entry) for name, entry in entries.items()}


def _while_learning(
    rows: list[dict[str, str]], monitor: str, figures: Mapping[str, Figure]
) -> list[str]:
    """Charts of the loss and of the monitored figure, with curves of training and validation."""
    charts = []
    for name in dict.fromkeys(("loss", monitor)):
        curves = {"training": _points(rows, "train", name)}
        curves |= {"validation": _points(rows, "valid", name)}
        if any(curves.values()) or not rows:
            unit = figures[name].unit if name in figures else ""
            charts.append(chart(_in_words(name), unit, curves))
    return charts


def _of_the_validation(
    rows: list[dict[str, str]], monitor: str, figures: Mapping[str, Figure]
) -> list[tuple[str, dict[str, Points]]]:
    """The curves of figures that only a validation computes, one group for each unit."""
    in_training = {*_columns(rows, "train"), "loss", monitor}
    by_unit: dict[str, dict[str, Points]] = {}
    for name in _columns(rows, "valid"):
        if name not in in_training:
            unit = figures[name].unit if name in figures else ""
            by_unit.setdefault(unit, {})[_in_words(name).lower()] = _points(rows, "valid", name)
    return list(by_unit.items())


def _of_the_learner(rows: list[dict[str, str]], config: dict[str, Any]) -> list[str]:
    """Charts of figures of the learner: the norm of the gradient, the learning rate, a fitness."""
    in_validation = {*_columns(rows, "valid"), "loss"}
    names = _columns(rows, "train")
    if not rows and config.get("learner", "gradient") == "gradient":
        names = ["gradient_norm", "learning_rate"]
    charts = []
    for name in names:
        if name in in_validation:
            continue
        curve = _points(rows, "train", name)
        points = {_in_words(name).lower(): curve}
        if name == "gradient_norm":
            clip_norm = config["training"].get("clip_norm")
            levels = {}
            if isinstance(clip_norm, int | float):
                levels = {f"clipped at {clip_norm:g}": clip_norm}
            what = "Norm of the gradient before clipping"
            charts.append(chart(what, "norm", points, levels=levels, is_log=True))
        elif name == "learning_rate":
            marks, note = _explained_rate(curve, config["training"])
            charts.append(chart(_in_words(name), "", points, marks=marks, note=note))
        else:
            charts.append(chart(_in_words(name), "", points))
    return charts


_DECAYS = {"cosine": "along half a cosine", "linear": "along a straight line"}


def _explained_rate(curve: Points, training: Mapping[str, Any]) -> tuple[dict[str, float], str]:
    """The marks of the chart of the learning rate, and a note that explains its kinks.

    Args:
        curve: the learning rate by step.
        training: the settings of the training.
    """
    if not curve:
        return {}, ""
    marks: dict[str, float] = {}
    factors, sentences = ["learning_rate"], []
    first, last = curve[0][0], curve[-1][0]
    warmup = training.get("warmup_steps")
    if not isinstance(warmup, int | float):
        # Without the setting the warm-up ends where the curve is highest.
        peak, _ = max(curve, key=lambda point: point[1])
        warmup = peak if peak > first else 0
    if warmup > 0:
        factors.append(f"a warm-up from 0 to 1 over {warmup:g} steps (warmup_steps)")
        if warmup <= last:
            marks["end of the warm-up"] = warmup
        else:
            sentences.append("The warm-up is longer than the training so far.")
    decay = training.get("decay")
    if decay in _DECAYS:
        factors.append(f"a decay from 1 to 0 {_DECAYS[decay]} over the whole training (decay)")
        if training.get("max_time") is not None:
            sentences.append(
                "The decay follows the steps or the time (max_time), whichever is further: a "
                "validation that takes longer than all before it leaves less time, so the curve "
                "steps down there."
            )
    if len(factors) > 1:
        sentences.insert(0, f"It is the product of {', '.join(factors[:-1])} and {factors[-1]}.")
    else:
        sentences.insert(0, "It is learning_rate at all steps.")
    sentences.append("A run that is resumed with other settings changes to another curve.")
    return marks, " ".join(sentences)


def _in_words(name: str) -> str:
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def _summary(
    rows: list[dict[str, str]],
    monitor: str,
    figures: Mapping[str, Figure],
    parameters: int | None,
) -> str:
    valid = [row for row in rows if row["split"] == "valid" and row.get(monitor)]
    if not valid:
        return "No validation yet."
    is_higher = monitor in figures and figures[monitor].better == "higher"
    best = (max if is_higher else min)(valid, key=lambda row: float(row[monitor]))
    minutes = float(rows[-1]["seconds"]) / 60
    shown = ", ".join(
        f"{name.replace('_', ' ')} {float(value):.4f}"
        for name, value in best.items()
        if value and name not in PLACE
    )
    return (
        f"{'' if parameters is None else f'{parameters:,} parameters, '}{rows[-1]['step']} steps, "
        f"{float(rows[-1]['epoch']):.2f} epochs, {minutes:.1f} minutes. "
        f"Best validation at step {best['step']}: {shown}."
    )


def _samples(path: Path, most: int = 12) -> list[str]:
    """The samples as elements that unfold, the last one open; at most ``most``, evenly chosen."""
    text = text_of(path, errors="backslashreplace") if path.is_file() else ""
    samples = re.findall(r"(?ms)^=== (step \d+) ===\n(.*?)(?=^=== step \d+ ===$|\Z)", text)
    if not samples:
        return ["<p>None yet.</p>"]
    step = max(1, math.ceil(len(samples) / most))
    # Counted from the end, so that the last sample is always among them.
    chosen = samples[::-step][::-1]
    return [
        f"<details{' open' if i == len(chosen) - 1 else ''}><summary>{html.escape(title)}</summary>"
        f"<pre>{_lines(sample)}</pre></details>"
        for i, (title, sample) in enumerate(chosen)
    ]


def _lines(text: str) -> str:
    """Each line as an element of its own, so that a long one can be told from several."""
    # Spaces before the first line are part of the text.
    lines = text.rstrip().lstrip("\n").split("\n")
    return "".join(f"<span>{html.escape(line)}</span>" for line in lines)


def _attention(run: Run) -> list[str]:
    step, maps = recorded_alignments(run)
    if not maps:
        return []
    return [
        f"<h2>Attention at step {html.escape(str(step))}</h2>",
        f"<p>Examples of the validation split. {HOW_TO_READ}</p>",
        *(attention_figure(drawn, f"map-{i}") for i, drawn in enumerate(maps)),
    ]


def _table(entries: dict[str, object]) -> str:
    rows = (
        f"<tr><td>{html.escape(str(k))}</td><td>{html.escape(str(v))}</td></tr>"
        for k, v in entries.items()
        if v is not None and v != ""
    )
    return f"<table>{''.join(rows)}</table>"

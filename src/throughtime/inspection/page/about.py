"""What the page must know of a run before it asks: its parts, values, examples and remarks."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from throughtime.inspection.measures.text_properties import PROPERTIES
from throughtime.inspection.page.opened import OpenedRun
from throughtime.inspection.recording import Name, Recording
from throughtime.layers.recurrent import Recurrent
from throughtime.models.writer import Writer
from throughtime.tasks.run import Run, versions
from throughtime.tasks.uses import Searches

__all__ = ["about"]

_LONGEST_TITLE = 60


def about(run: OpenedRun) -> dict[str, Any]:
    """The entry of a run in ``runs``; see :mod:`throughtime.inspection.page`."""
    first = run.first
    is_typed = first is None or first.features is None
    layers = [module for module in run.model.modules() if isinstance(module, Recurrent)]
    return {
        "title": run.folder.resolve().name,
        "folder": str(run.folder),
        "task": run.name,
        "cell": ", ".join(dict.fromkeys(layer.cell.title for layer in layers)),
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "is_language": run.language is not None,
        "is_typed": is_typed,
        "has_beam": isinstance(run.task, Searches) and isinstance(run.model, Writer),
        "parts": [] if first is None else _parts(first),
        "outputs": [] if first is None else list(first.outputs),
        "examples": [_title(run, number) for number in range(len(run.examples))],
        "start": "" if run.language is None else run.language.start,
        "properties": list(PROPERTIES) if is_typed else [],
        "embeddings": list(run.tokens_of_embeddings),
        "most_characters": run.most_characters,
        "notes": _notes(run),
    }


def _notes(run: OpenedRun) -> list[str]:
    notes = []
    if Run(run.folder).is_training():
        saved = time.strftime("%H:%M", time.localtime((run.stamp or 0) / 1e9))
        notes.append(
            f"The training is going on. This is the best model so far, saved at {saved}; load the "
            "page again for a later one."
        )
    version = run.config["versions"].get("throughtime", "of an unknown version")
    present = versions()["throughtime"]
    if version != present:
        notes.append(f"Trained with throughtime {version}; this is {present}.")
    if run.missing_data:
        notes.append(run.missing_data)
    return notes


def _parts(recording: Recording) -> list[dict[str, Any]]:
    parts: dict[str, list[dict[str, Any]]] = {part: [] for part in recording.steps}
    for text, value in recording.values.items():
        name = Name.of(text)
        is_attention = name.layer is None
        parts[recording.part(text)].append(
            {
                "name": text,
                "label": _label(name),
                "width": None if is_attention else value.shape[1],
                "is_state": text in recording.states,
                "is_attention": is_attention,
            }
        )
    for values in parts.values():
        labels = Counter(value["label"] for value in values)
        # Two modules of a part may have values of one name.
        for value in values:
            if labels[value["label"]] > 1:
                value["label"] = value["name"]
    return [{"name": part, "values": values} for part, values in parts.items()]


def _label(name: Name) -> str:
    if name.layer is None:
        return "attention"
    return f"{name.value}, layer {name.layer + 1}{', reverse' if name.is_reverse else ''}"


def _title(run: OpenedRun, number: int) -> str:
    """A name for an example: its text, shortened, or the number of its steps."""
    input, first = run.example(number), run.first
    is_of_tokens = first is not None and first.features is None
    text = run.typed(number) if is_of_tokens else None
    if text is None:
        steps = f"{len(input):,} steps" if len(input) != 1 else "1 step"
        return f"{number + 1}: {steps}"
    text = " ".join(text.split())
    if len(text) > _LONGEST_TITLE:
        text = f"{text[: _LONGEST_TITLE - 1]}…"
    return f"{number + 1}: {text}"

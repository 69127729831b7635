"""The file of attention maps in a run folder, from which the report is written."""

from __future__ import annotations

import json

from torch import nn

from throughtime.tasks.run import Run, written_whole
from throughtime.tasks.task import Task
from throughtime.tasks.uses import AttentionMap, Explains

__all__ = ["record_alignments", "recorded_alignments"]


def record_alignments(run: Run, task: Task, model: nn.Module, step: int) -> None:
    """Writes the attention maps of a few examples of the validation, if the task has any.

    Args:
        run: the run folder; the maps go into its ``attention_file``.
        task: the task of the run.
        model: the model, as trained so far.
        step: the current step of the training.
    """
    if not isinstance(task, Explains) or task.nothing_to_explain:
        return
    maps = [attention._asdict() for attention in task.explanations(model)]
    text = json.dumps({"step": step, "maps": maps}) + "\n"
    written_whole(run.attention_file, lambda path: path.write_text(text, encoding="utf-8"))


def recorded_alignments(run: Run) -> tuple[int, list[AttentionMap]]:
    """The step and the attention maps that were recorded last; 0 and no maps if there are none."""
    if not run.attention_file.is_file():
        return 0, []
    content = json.loads(run.attention_file.read_text(encoding="utf-8"))
    return content["step"], [AttentionMap(**attention) for attention in content["maps"]]

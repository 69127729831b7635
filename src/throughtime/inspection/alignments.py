"""Where a model looked, as its run folder keeps it for the report."""

from __future__ import annotations

import json

from torch import nn

from throughtime.tasks.run import Run, written_whole
from throughtime.tasks.task import Task
from throughtime.tasks.uses import AttentionMap, Explains

__all__ = ["record_alignments", "recorded_alignments"]


def record_alignments(run: Run, task: Task, model: nn.Module, step: int) -> None:
    """Writes where the model looks for some examples of the validation; else does nothing.

    Args:
        run: the folder; see :attr:`throughtime.tasks.run.Run.attention_file`.
        task, model: what is learned, and how far it is.
        step: of the training.
    """
    if not isinstance(task, Explains) or task.nothing_to_explain:
        return
    maps = [drawn._asdict() for drawn in task.explanations(model)]
    text = json.dumps({"step": step, "maps": maps}) + "\n"
    written_whole(run.attention_file, lambda path: path.write_text(text, encoding="utf-8"))


def recorded_alignments(run: Run) -> tuple[int, list[AttentionMap]]:
    """The step of the training, and the maps; none where none were recorded."""
    if not run.attention_file.is_file():
        return 0, []
    content = json.loads(run.attention_file.read_text(encoding="utf-8"))
    return content["step"], [AttentionMap(**drawn) for drawn in content["maps"]]

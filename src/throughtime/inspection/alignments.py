"""The file of attention maps in a run folder, from which the report is written."""

from __future__ import annotations

import json

from torch import nn

from throughtime.data.trees import Tree, TreeError
from throughtime.reading import Each, Entries, ReadError, entry, json_of, typed
from throughtime.tasks.run import Run, written_whole
from throughtime.tasks.task import Task
from throughtime.tasks.uses import AttentionMap, Explains

__all__ = ["record_alignments", "recorded_alignments"]


_MAP = Entries(
    {"source": list[str], "target": list[str], "weights": list[list[float]]},
    {"title": str, "source_parents": list[int], "target_parents": list[int]},
)
_KIND = Entries({"step": int | str, "maps": Each(_MAP)})


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
    """The step and the attention maps that were recorded last; 0 and no maps if there are none.

    Raises:
        ReadError: if the file is damaged.
    """
    if not run.attention_file.is_file():
        return 0, []
    content = typed(str(run.attention_file), json_of(run.attention_file), _KIND)
    for number, drawn in enumerate(content["maps"]):
        num_sources, num_targets = len(drawn["source"]), len(drawn["target"])
        is_empty = not (num_sources and num_targets)
        if is_empty or [len(row) for row in drawn["weights"]] != [num_sources] * num_targets:
            raise ReadError(
                entry(entry(f"{run.attention_file}: maps", number), "weights"),
                f"expected a row for each of the {num_targets} tokens of the target, with a number "
                f"for each of the {num_sources} of the source, at least one of both.",
            )
        for side in ("source", "target"):
            parents = drawn.get(f"{side}_parents", [])
            try:
                _ = parents and Tree(("node",) * len(drawn[side]), tuple(parents))
            except TreeError as error:
                where = entry(entry(f"{run.attention_file}: maps", number), f"{side}_parents")
                raise ReadError(where, f"{error} Leave them out for a sequence.") from error
    return content["step"], [AttentionMap(**drawn) for drawn in content["maps"]]

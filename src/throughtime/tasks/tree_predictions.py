"""What ``throughtime predict`` writes of a tree."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from throughtime.data.trees import Program, ProgramError, Tree, to_lists
from throughtime.models import TreeHypothesis
from throughtime.tasks.tree_writing import text_of
from throughtime.tasks.uses import Prediction

__all__ = ["WrittenTree", "nothing_read", "of_hypothesis", "of_tree"]


class WrittenTree(NamedTuple):
    """What is written of a tree.

    Args:
        lines: the tree on a line, and with inputs a tab and the value of the program.
        record: the same as a JSON object.
        remarks: sentences for the user.
    """

    lines: list[str]
    record: dict[str, Any]
    remarks: list[str]


def nothing_read() -> Prediction:
    """The prediction for an empty line."""
    return Prediction([""], {"text": "", "tree": None})


def of_hypothesis(
    hypothesis: TreeHypothesis,
    tree: Tree | None,
    notation: str,
    values: Mapping[str, Any] | None = None,
) -> WrittenTree:
    """The tree of a hypothesis in a notation, with the value of the program for some inputs.

    Args:
        hypothesis: the hypothesis.
        tree: its tree; None if the search has written no node.
        notation, values: see :func:`of_tree`.
    """
    written = of_tree(tree, notation, values)
    search = {"score": hypothesis.score, "is_finished": hypothesis.is_finished}
    return written._replace(record=written.record | search)


def of_tree(
    tree: Tree | None, notation: str, values: Mapping[str, Any] | None = None
) -> WrittenTree:
    """A tree in a notation, with the value of the program for some inputs.

    Args:
        tree: the tree; None if the model has written none.
        notation: the name of the notation.
        values: the inputs of the program by name; None runs no program.
    """
    text, reason = ("", "") if tree is None else text_of(tree, notation)
    remarks = [f"the tree is written as an s-expression: {reason}"] if reason else []
    record: dict[str, Any] = {"text": text, "tree": None if tree is None else to_lists(tree)}
    if values is None:
        return WrittenTree([text], record, remarks)
    value = None
    try:
        if tree is None:
            raise ProgramError("AlgoLisp", "", "expected a program, got a tree without nodes.")
        value = _for_json(Program(tree, list(values)).run(values))
    except ProgramError as error:
        record["error"] = str(error)
        remarks.append(f"the program has no value: {error}")
    record["value"] = value
    in_json = "" if "error" in record else json.dumps(value, ensure_ascii=False)
    return WrittenTree([f"{text}\t{in_json}"], record, remarks)


def _for_json(value: Any) -> Any:
    """A value for JSON, in which "inf", "-inf" and "nan" are text.

    Raises:
        ProgramError: if the value is a function.
    """
    if isinstance(value, list | tuple):
        return [_for_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if not isinstance(value, str | int | float):
        raise ProgramError("AlgoLisp", "", "expected a value, got a function.")
    return value

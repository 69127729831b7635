"""What ``throughtime predict`` writes of a tree."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from torch import nn

from throughtime.data import num_read
from throughtime.data.trees import Program, ProgramError, Tree, to_lists
from throughtime.models import TreeHypothesis
from throughtime.tasks.tree_settings import WritingOptions
from throughtime.tasks.tree_sources import EncodedSource, Source
from throughtime.tasks.tree_writing import text_of, trees_of
from throughtime.tasks.unknown_tokens import UnknownTokens
from throughtime.tasks.uses import AttentionMap, Prediction

__all__ = [
    "WritesTrees",
    "WrittenTree",
    "nothing_read",
    "of_hypothesis",
    "of_tree",
    "predict_trees",
]


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


class WritesTrees(Protocol):
    """The part of a task that its predictions use.

    A protocol and not the class itself, which imports this module.
    """

    config: Any

    tokeniser: Any
    bounds: Any

    @property
    def assets(self) -> dict[str, Any]: ...

    @property
    def notation(self) -> str: ...

    def source_of_line(self, text: str, where: str) -> Source: ...

    def tree(self, hypothesis: TreeHypothesis) -> Tree | None: ...

    def map(
        self, source: Source, encoded: EncodedSource, hypothesis: TreeHypothesis
    ) -> AttentionMap | None: ...


def predict_trees(
    task: WritesTrees,
    model: nn.Module,
    inputs: Iterable[Sequence[str]],
    options: WritingOptions,
    say: Callable[[str], None],
    explain: bool = False,
) -> Iterator[Prediction]:
    """Yields the prediction of each line; see :meth:`throughtime.tasks.uses.Predicts.predictions`.

    The user is warned of sources that are longer than twice the longest one of the training, of
    unknown tokens, and of trees that their notation cannot hold.
    """
    if options.inputs is not None and not task.assets["has_tests"]:
        raise ValueError(
            "--inputs: the trees of this run are no programs of AlgoLisp, so they have no "
            "values. Leave it out."
        )
    unknown = UnknownTokens(task.tokeniser)
    longest, number = task.assets["longest_source"], 0
    limit = num_read(longest)
    beam_width = options.beam_width or task.config.beam_width
    try:
        for lines in inputs:
            sources = [
                task.source_of_line(line, f"line {i}") if line.strip() else None
                for i, line in enumerate(lines, number + 1)
            ]
            read = [s.encoded(task.tokeniser).first(limit) for s in sources if s is not None]
            hypotheses = trees_of(model, read, task.bounds, beam_width, explain)
            results = iter(zip(read, hypotheses, strict=True))
            for source in sources:
                number += 1
                if source is None:
                    yield nothing_read()
                    continue
                length = sum(unknown.add(part) for part in source.parts)
                if length > 2 * longest:
                    only = f" Only its first {limit:,} are read." if length > limit else ""
                    say(
                        f"line {number}: has {length:,} {task.tokeniser.unit}, the longest of "
                        f"the training {longest:,}.{only} The tree may be poor; write a "
                        "shorter source."
                    )
                encoded, hypothesis = next(results)
                lines_of_tree, record, remarks = of_hypothesis(
                    hypothesis, task.tree(hypothesis), task.notation, options.values
                )
                for remark in remarks:
                    say(f"line {number}: {remark}")
                attention = task.map(source, encoded, hypothesis) if explain else None
                yield Prediction(lines_of_tree, record, attention)
    finally:
        if warning := str(unknown):
            say(warning)


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

"""A beam search as a tree of the hypotheses that it kept."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from throughtime.models.beam import BeamStep
from throughtime.models.writer import Writer
from throughtime.tasks.alignments import tokens_of
from throughtime.tasks.uses import Searches

__all__ = ["beam_tree"]


class _Tree:
    """The nodes of a search, which grow at each step; node 0 is the root."""

    def __init__(self) -> None:
        self.parents, self.tokens, self.logs, self.totals = [-1], [-1], [0.0], [0.0]
        # The node of each rank after the last step. At the first step all extend the root.
        self.nodes: list[int | None] | None = None
        self.children: dict[tuple[int, int], int] = {}

    def add(self, step: BeamStep) -> None:
        columns = (tensor[0].tolist() for tensor in step[1:])
        nodes: list[int | None] = []
        for rank, token, total in zip(*columns, strict=True):
            parent = 0 if self.nodes is None else self.nodes[rank]
            # Ranks that the beam has no more have a score of -inf.
            if parent is None or not math.isfinite(total):
                nodes.append(None)
            else:
                nodes.append(self._child(parent, token, total))
        self.nodes = nodes

    def _child(self, parent: int, token: int, total: float) -> int:
        node = len(self.parents)
        self.parents.append(parent)
        self.tokens.append(token)
        self.logs.append(total - self.totals[parent])
        self.totals.append(total)
        self.children[parent, token] = node
        return node

    def path(self, tokens: list[int]) -> set[int]:
        """The nodes of a hypothesis, the root first."""
        nodes = [0]
        for token in tokens:
            nodes.append(self.children[nodes[-1], token])
        return set(nodes)


def beam_tree(task: Searches, model: nn.Module, text: str, width: int) -> dict[str, Any]:
    """The search for a target of a source; see ``beam`` in :mod:`throughtime.inspection.page`.

    Args:
        task: the task of the model.
        model: a model that writes a target.
        text: the source.
        width: the number of hypotheses in the beam.

    Raises:
        ValueError: if the source is empty.
    """
    assert isinstance(model, Writer)
    source_tokeniser, target_tokeniser = task.tokenisers
    ids = source_tokeniser.encode(text)
    if not ids:
        raise ValueError("expected a source of at least one token, got an empty text.")
    tree = _Tree()
    (best, *_) = task.search(model, [ids], beam_width=width, watch=tree.add)[0]
    eos = [model.eos] if best.is_finished else []
    is_best = tree.path([*best.tokens, *eos])
    texts = ["", *tokens_of(target_tokeniser, tree.tokens[1:])]
    nodes = [
        {
            "parent": parent,
            "token": token,
            "log_probability": log,
            "is_best": node in is_best,
            "is_end": id == model.eos,
        }
        for node, (parent, token, log, id) in enumerate(
            zip(tree.parents, texts, tree.logs, tree.tokens, strict=True)
        )
    ]
    return {
        "nodes": nodes,
        "source": tokens_of(source_tokeniser, ids, source_tokeniser.unknown(text)),
    }

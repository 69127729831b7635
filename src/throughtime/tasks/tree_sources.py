"""What a model that writes trees reads: a text as tokens, or a tree as the labels of its nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from throughtime.data import UNK, Tokeniser, pad_rows, tokeniser_from_json
from throughtime.data.trees import Tree, TreeBatch, TreeError, TreeLabels, pad_trees
from throughtime.models import Trees
from throughtime.tasks.alignments import tokens_of

__all__ = [
    "EncodedSource",
    "Source",
    "check_children",
    "collate_sources",
    "for_model",
    "source_tokeniser",
]


class Source(NamedTuple):
    """The source of an example.

    Args:
        text: the text.
        tree: the tree that is read instead of the text; None if the text is read.
    """

    text: str
    tree: Tree | None = None

    @property
    def parts(self) -> Sequence[str]:
        """The texts that the tokeniser encodes one by one: the labels of a tree, or the text."""
        return [self.text] if self.tree is None else self.tree.labels

    def encoded(self, tokeniser: Tokeniser) -> EncodedSource:
        """The source as numbers; a text without any token is one unknown token."""
        ids = [number for part in self.parts for number in tokeniser.encode(part)] or [UNK]
        return EncodedSource(ids, None if self.tree is None else self.tree.parents)

    def names(self, tokeniser: Tokeniser, ids: Sequence[int]) -> list[str]:
        """The text of each of its ids, also of unknown ones."""
        unknown = [name for part in self.parts for name in tokeniser.unknown(part)]
        return tokens_of(tokeniser, ids, unknown)


@dataclass(frozen=True)
class EncodedSource:
    """A source as numbers.

    Args:
        ids: the ids of the tokens, or of the labels of the nodes in prefix order.
        parents: the index of the parent of each node; None if the source is a text.
    """

    ids: Sequence[int]
    parents: Sequence[int] | None = None

    def __len__(self) -> int:
        """The number of tokens or nodes."""
        return len(self.ids)

    def first(self, most: int) -> EncodedSource:
        """The first tokens or nodes, which are a source as well, as parents come first."""
        parents = None if self.parents is None else self.parents[:most]
        return EncodedSource(self.ids[:most], parents)


def collate_sources(sources: Sequence[EncodedSource]) -> tuple[Tensor | TreeBatch, Tensor | None]:
    """Pads sources to a batch.

    Returns:
        The token ids (B, S) with their lengths (B); or the trees, which have sizes, and None.
    """
    ids = [source.ids for source in sources]
    parents = [source.parents for source in sources if source.parents is not None]
    if parents:
        return pad_trees(ids, parents), None
    rows, lengths = pad_rows(ids)
    return rows, lengths


def for_model(source: Tensor | TreeBatch) -> Tensor | Trees:
    """The sources of a batch as a model reads them."""
    return source if isinstance(source, Tensor) else Trees(*source)


def check_children(where: str, source: Source, most: int) -> None:
    """Raises a TreeError if a node of a source tree has more than ``most`` children."""
    assert source.tree is not None
    for node, arity in enumerate(source.tree.arities):
        if arity > most:
            raise TreeError(
                *(where, f"node {node} ({source.tree.labels[node]})"),
                f"expected at most {most} children, the most in the training, got {arity}. Train "
                "on trees with as many, or with --source child-sum, which reads any number.",
            )


def source_tokeniser(value: Any) -> Tokeniser:
    """Restores the tokeniser of the sources, or the labels of source trees, from its JSON form."""
    if isinstance(value, dict) and value.get("kind") == TreeLabels.kind:
        return TreeLabels.from_json(value)
    return tokeniser_from_json(value)

"""Warnings of what a model cannot read or write of texts and trees."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from throughtime.data import Tokeniser
from throughtime.data.trees import Tree, TreeLabels
from throughtime.tasks.unknown_tokens import UnknownTokens

__all__ = ["warn_of_unknown", "warn_of_unwritable"]

_log = logging.getLogger(__name__)


def warn_of_unknown(what: str, tokeniser: Tokeniser, texts: Iterable[str]) -> None:
    """Logs how many tokens of texts are unknown, if any.

    Args:
        what: the beginning of the sentence ("own.tsv: of the texts").
        tokeniser: the tokeniser of the training.
        texts: the texts.
    """
    unknown = UnknownTokens(tokeniser)
    for text in texts:
        unknown.add(text)
    if warning := str(unknown):
        _log.warning("%s %s", what, warning)


def warn_of_unwritable(where: str, labels: TreeLabels, trees: Sequence[Tree]) -> None:
    """Logs how many trees have labels that the training lacks, if any."""
    known = set(labels.tokens)
    unseen = [tree for tree in trees if not known.issuperset(tree.labels)]
    if not unseen:
        return
    missing = sorted({label for tree in unseen for label in tree.labels} - known)
    more = ", …" if len(missing) > 5 else ""
    _log.warning(
        "%s: %d of %d trees have labels that the training lacks, so they cannot be written: %s%s.",
        *(where, len(unseen), len(trees), ", ".join(map(repr, missing[:5])), more),
    )

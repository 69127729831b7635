"""Batches of sentences with labels, and with the letters of each different word once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.data.ragged_batches import pad_rows

__all__ = ["CodedSentence", "TaggedBatch", "collate_tagged"]


class CodedSentence(NamedTuple):
    """A sentence as numbers.

    Args:
        words: the id of each word.
        spellings: the letters of each word.
        labels: the number of the label of each word; empty if they are not known.
        intent: the number of the label of the sentence.
    """

    words: Sequence[int]
    spellings: Sequence[tuple[int, ...]]
    labels: Sequence[int] = ()
    intent: int = 0


class TaggedBatch(NamedTuple):
    """Sentences that are padded with 0 to the longest of them.

    Args:
        words: (B, T) int64, the ids of the words.
        lengths: (B), the words of each sentence.
        letters: (U, N) int64, the letters of the U different words of the batch.
        letter_lengths: (U), the letters of each.
        spelling: (B, T), which of the different words each word is.
        labels: (B, T) int64, the numbers of the labels.
        intents: (B), the numbers of the labels of the sentences.
    """

    words: Tensor
    lengths: Tensor
    letters: Tensor
    letter_lengths: Tensor
    spelling: Tensor
    labels: Tensor
    intents: Tensor


def collate_tagged(sentences: Sequence[CodedSentence]) -> TaggedBatch:
    """The batch of some sentences.

    >>> a, b = (4,), (5, 6)
    >>> batch = collate_tagged([CodedSentence([7, 8, 7], [a, b, a]), CodedSentence([8], [b])])
    >>> batch.letters, batch.spelling
    (tensor([[4, 0],
            [5, 6]]), tensor([[0, 1, 0],
            [1, 0, 0]]))
    """
    words, lengths = pad_rows([sentence.words for sentence in sentences])
    numbers: dict[tuple[int, ...], int] = {}
    index = [
        [numbers.setdefault(letters, len(numbers)) for letters in sentence.spellings]
        for sentence in sentences
    ]
    letters, letter_lengths = pad_rows(list(numbers))
    labels = [sentence.labels or [0] * len(sentence.words) for sentence in sentences]
    return TaggedBatch(
        words,
        lengths,
        letters,
        letter_lengths,
        pad_rows(index).rows,
        pad_rows(labels).rows,
        torch.tensor([sentence.intent for sentence in sentences]),
    )

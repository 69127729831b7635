"""What a trained tagger makes of sentences: labels, spans, and their probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from throughtime.data import RaggedBatches
from throughtime.data.label_schemes import label_parts, spans_of
from throughtime.data.tagged_batches import CodedSentence, TaggedBatch, collate_tagged
from throughtime.layers.evaluation import evaluating
from throughtime.models.tagger import LabelScores, Spelling, Tagger
from throughtime.tasks.labels import UNSEEN
from throughtime.tasks.tag_coding import TagCoding

__all__ = ["Labelled", "judged", "labelled", "losses_of", "scores_of", "span_windows"]

_TOKENS = 4096
"""The words of a batch, padding included."""


class Labelled(NamedTuple):
    """What the model makes of a sentence.

    Args:
        labels: the likeliest label sequence, in the scheme of the training.
        chances: the probability of each span, or of each label if labels mark no spans; empty if
            they were not asked for.
        intent: the likeliest label of the sentence, and its probability; None if it has none.
    """

    labels: list[str]
    chances: list[float]
    intent: tuple[str, float] | None


def scores_of(model: Tagger, batch: TaggedBatch, words: Tensor | None = None) -> LabelScores:
    """The scores of a batch; ``words`` are the ids of the words to read instead of its own."""
    spelling = Spelling(batch.letters, batch.letter_lengths, batch.spelling)
    return model(batch.words if words is None else words, batch.lengths, spelling)


def losses_of(model: Tagger, batch: TaggedBatch, scores: LabelScores) -> Tensor:
    """The negative log-likelihood of the labels of each sentence in nats, (B)."""
    losses = -model.labels.log_likelihood(scores.words, batch.labels, batch.lengths)
    if scores.sentences is not None:
        losses = losses + F.cross_entropy(scores.sentences, batch.intents, reduction="none")
    return losses


def judged(
    model: Tagger, coding: TagCoding, rows: Sequence[CodedSentence]
) -> tuple[float, list[Labelled]]:
    """The loss per word, and the likeliest labels of each sentence.

    The loss is that of the sentences of which the training split has all labels; the others have
    no likelihood. It is NaN if there are none.
    """
    total, count, results = 0.0, 0, {}
    for indices, batch, scores in _scored(model, rows):
        has_loss = (batch.labels != UNSEEN).all(1) & (batch.intents != UNSEEN)
        labels, intents = batch.labels.clamp_min(0), batch.intents.clamp_min(0)
        if bool(has_loss.any()):
            chosen = _rows(batch._replace(labels=labels, intents=intents), has_loss)
            sentences = None if scores.sentences is None else scores.sentences[has_loss]
            with torch.no_grad():
                losses = losses_of(model, chosen, LabelScores(scores.words[has_loss], sentences))
            total += float(losses.sum())
            count += int(chosen.lengths.sum())
        results |= dict(zip(indices, _likeliest(model, coding, batch, scores), strict=True))
    return total / count if count else math.nan, [results[i] for i in range(len(rows))]


def labelled(model: Tagger, coding: TagCoding, rows: Sequence[CodedSentence]) -> list[Labelled]:
    """The likeliest labels of each sentence, none of which may be empty, with probabilities."""
    results: dict[int, Labelled] = {}
    if rows:
        for indices, batch, scores in _scored(model, rows):
            answers = _likeliest(model, coding, batch, scores, with_chances=True)
            results |= dict(zip(indices, answers, strict=True))
    return [results[i] for i in range(len(rows))]


def span_windows(labels: Sequence[str], known: Sequence[str]) -> list[tuple[int, Tensor]]:
    """For each span the labels with which it is exactly this span, for ``window_chances``.

    The words of the span have their labels; the word after it has none that would go on with it;
    and if the span begins without a mark B or S, the word before it has none that it would go on
    with.

    Args:
        labels: the labels of a row of words.
        known: all labels, in the order of their numbers.

    >>> span_windows(["O", "B-X"], ["B-X", "I-X", "O"])
    [(1, tensor([[ True, False, False]]))]
    """
    parts = [label_parts(name) for name in known]
    windows = []
    for begin, end, kind in spans_of(labels):
        rows = [[name == labels[t] for name in known] for t in range(begin, end)]
        if end < len(labels):
            rows.append([part not in (("I", kind), ("E", kind)) for part in parts])
        if begin > 0 and labels[begin][0] not in "BS":
            rows.insert(0, [part not in (("B", kind), ("I", kind)) for part in parts])
            windows.append((begin - 1, torch.tensor(rows)))
        else:
            windows.append((begin, torch.tensor(rows)))
    return windows


def _scored(
    model: Tagger, rows: Sequence[CodedSentence]
) -> Iterator[tuple[list[int], TaggedBatch, LabelScores]]:
    """The scores of sentences in batches, with the indices of the sentences of each."""
    device = next(model.parameters()).device
    lengths = [len(row.words) for row in rows]
    for indices in RaggedBatches(lengths, list, _TOKENS, by="tokens", is_shuffled=False):
        batch = collate_tagged([rows[i] for i in indices])
        batch = TaggedBatch(*(tensor.to(device) for tensor in batch))
        with evaluating(model):
            scores = scores_of(model, batch)
        yield indices, batch, scores


def _likeliest(
    model: Tagger,
    coding: TagCoding,
    batch: TaggedBatch,
    scores: LabelScores,
    with_chances: bool = False,
) -> list[Labelled]:
    known = coding.labels.names
    best, _ = model.labels.viterbi(scores.words, batch.lengths)
    intents: list[tuple[str, float] | None] = [None] * len(best)
    if coding.intents is not None and scores.sentences is not None:
        chances, numbers = scores.sentences.softmax(1).max(1)
        names = [coding.intents.names[n] for n in numbers.tolist()]
        intents = list(zip(names, chances.tolist(), strict=True))
    results = []
    for k, length in enumerate(batch.lengths.tolist()):
        labels = [known[n] for n in best[k, :length].tolist()]
        shares: list[float] = []
        if with_chances:
            windows = (
                span_windows(labels, known)
                if coding.has_spans
                else [(t, torch.tensor([[k == y for k in known]])) for t, y in enumerate(labels)]
            )
            shares = model.labels.window_chances(scores.words[k, :length], windows)
        results.append(Labelled(labels, shares, intents[k]))
    return results


def _rows(batch: TaggedBatch, is_chosen: Tensor) -> TaggedBatch:
    """Some sentences of a batch, whose letters stay those of all."""
    return batch._replace(
        **{
            name: getattr(batch, name)[is_chosen]
            for name in ("words", "lengths", "spelling", "labels", "intents")
        }
    )

"""Attention as people read it: tokens as text, and the weights between them."""

from __future__ import annotations

from collections.abc import Sequence

from throughtime.data import UNK, Tokeniser
from throughtime.models import Hypothesis
from throughtime.tasks.uses import AttentionMap

__all__ = ["align", "shortened", "tokens_of"]

_MOST_DRAWN = 500


def align(
    tokenisers: tuple[Tokeniser, Tokeniser], source: str, hypothesis: Hypothesis, shown: str
) -> AttentionMap | None:
    """The map of one hypothesis; None if it is empty, or the model has no attention.

    Args:
        tokenisers: of source and target.
        source: as the model read it.
        shown: the source as people read it.
    """
    if hypothesis.attention is None or not hypothesis.tokens:
        return None
    reads, writes = tokenisers
    ids, texts = reads.encode(source), [shown, writes.decode(hypothesis.tokens)]
    # The search has cut a long source, and nobody could read a map of more tokens than these.
    weights = hypothesis.attention[:_MOST_DRAWN, :_MOST_DRAWN]
    T, S = weights.shape
    num = len(hypothesis.tokens)
    if (T, S) != (num, len(ids)):
        texts = [text if len(text) < 200 else f"{text[:199]}…" for text in texts]
        texts[1] += f" (of {len(ids):,} tokens the first {S}, of {num:,} the first {T})"
    return AttentionMap(
        tokens_of(reads, ids[:S], reads.unknown(source)),
        tokens_of(writes, hypothesis.tokens[:T]),
        [[round(w, 4) for w in row] for row in weights.tolist()],
        " → ".join(texts),
    )


def tokens_of(tokeniser: Tokeniser, ids: Sequence[int], unknown: Sequence[str] = ()) -> list[str]:
    """Each id as text; the unknown ones as they were written, where that is known."""
    left = iter(unknown)
    return [
        next(left, tokeniser.decode([i])) if i == UNK else tokeniser.decode([i]) or "·" for i in ids
    ]


def shortened(attention: AttentionMap, most: int) -> AttentionMap:
    """The map of the first ``most`` tokens of the target; an untrained model may not stop."""
    return attention._replace(target=attention.target[:most], weights=attention.weights[:most])

"""Attention maps for people: the tokens as text, and the weights between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from throughtime.data import UNK, Pair, Tokeniser
from throughtime.layers.evaluation import evaluating
from throughtime.models import Hypothesis, OneNetwork
from throughtime.models.writer import Writer
from throughtime.tasks.uses import AttentionMap, Observation

__all__ = ["MOST_TOKENS", "align", "maps_of_pairs", "observation_of_pair", "tokens_of"]

MOST_TOKENS = 500
"""The largest number of tokens on each side of a map; nobody could read a larger one."""

# A report shows a few pairs, whose sources are short enough to be readable.
_NUM_SHOWN, _MAX_TOKENS_SHOWN = 4, 40


def align(
    tokenisers: tuple[Tokeniser, Tokeniser], source: str, hypothesis: Hypothesis, shown: str
) -> AttentionMap | None:
    """The attention map of one hypothesis; None if it is empty or the model has no attention.

    Args:
        tokenisers: those of source and target.
        source: the source in the form that the model reads.
        hypothesis: an output of a search.
        shown: the source in the form that people read.
    """
    if hypothesis.attention is None or not hypothesis.tokens:
        return None
    source_tokeniser, target_tokeniser = tokenisers
    ids = source_tokeniser.encode(source)
    texts = [shown, target_tokeniser.decode(hypothesis.tokens)]
    weights = hypothesis.attention[:MOST_TOKENS, :MOST_TOKENS]
    T, S = weights.shape
    num = len(hypothesis.tokens)
    # The search may have cut the source, too.
    if (T, S) != (num, len(ids)):
        texts = [text if len(text) < 200 else f"{text[:199]}…" for text in texts]
        texts[1] += f" (of {len(ids):,} tokens the first {S}, of {num:,} the first {T})"
    return AttentionMap(
        tokens_of(source_tokeniser, ids[:S], source_tokeniser.unknown(source)),
        tokens_of(target_tokeniser, hypothesis.tokens[:T]),
        [[round(w, 4) for w in row] for row in weights.tolist()],
        " → ".join(texts),
    )


def tokens_of(tokeniser: Tokeniser, ids: Sequence[int], unknown: Sequence[str] = ()) -> list[str]:
    """Each id as text.

    Args:
        tokeniser: the tokeniser of the ids.
        ids: token ids.
        unknown: the texts of the unknown tokens in their order, if they are known; otherwise such
            a token has the text of the unknown token.
    """
    unknown_texts = iter(unknown)
    return [
        next(unknown_texts, tokeniser.decode([i])) if i == UNK else tokeniser.decode([i]) or "·"
        for i in ids
    ]


def maps_of_pairs(
    tokenisers: tuple[Tokeniser, Tokeniser],
    pairs: Sequence[Pair],
    search: Callable[[list[list[int]]], list[list[Hypothesis]]],
    shown: Callable[[str], str],
) -> list[AttentionMap]:
    """The attention maps of the first pairs with short sources, for a report.

    The title of a map that belongs to a wrong output ends with the right target.

    Args:
        tokenisers: the tokenisers of source and target.
        pairs: the pairs.
        search: returns the best outputs for each source, which it takes as token ids.
        shown: converts a source into the form that people read.
    """
    coded = [(pair, tokenisers[0].encode(pair.source)) for pair in pairs]
    short = [(pair, ids) for pair, ids in coded if 0 < len(ids) <= _MAX_TOKENS_SHOWN][:_NUM_SHOWN]
    maps = []
    results = search([ids for _, ids in short])
    for (pair, _), (hypothesis,) in zip(short, results, strict=True):
        attention = align(tokenisers, pair.source, hypothesis, shown(pair.source))
        if attention is None:
            continue
        is_right = tokenisers[1].decode(hypothesis.tokens) == pair.target
        title = attention.title if is_right else f"{attention.title} ({pair.target})"
        # An untrained model may write many tokens.
        target, weights = (
            attention.target[:_MAX_TOKENS_SHOWN],
            attention.weights[:_MAX_TOKENS_SHOWN],
        )
        maps.append(attention._replace(target=target, weights=weights, title=title))
    return maps


def observation_of_pair(
    tokenisers: tuple[Tokeniser, Tokeniser],
    model: nn.Module,
    text: str,
    search: Callable[[list[list[int]]], list[list[Hypothesis]]],
) -> Observation:
    """A source, and the target that the model writes for it.

    The decoder reads the first target of the search again, in one call.

    Args:
        tokenisers: the tokenisers of source and target.
        model: a model that writes a target.
        text: the source.
        search: returns the best outputs for each source, which it takes as token ids.

    Raises:
        ValueError: if the source is empty.
    """
    assert isinstance(model, Writer)
    ids = tokenisers[0].encode(text)
    if not ids:
        raise ValueError("expected a source of at least one token, got an empty text.")
    device = next(model.parameters()).device
    written = [*search([ids])[0][0].tokens]
    source = torch.tensor([ids], device=device)
    target = torch.tensor([[model.bos, *written]], device=device)

    def run() -> Tensor:
        with evaluating(model):
            scores = model.writable(model(source, None, target)[0])
        return scores.float().softmax(-1).cpu()

    read = tuple(tokens_of(tokenisers[0], ids, tokenisers[0].unknown(text)))
    outputs = [tokenisers[1].decode([i]) or "·" for i in range(len(tokenisers[1]))]
    if isinstance(model, OneNetwork):
        # One network reads the source, and then a mark for each token that it writes.
        return Observation({"recurrent": (*read, *["·"] * (len(written) + 1))}, run, outputs)
    steps = {"encoder": read, "decoder": ("·", *tokens_of(tokenisers[1], written))}
    return Observation(steps, run, outputs)

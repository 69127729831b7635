r"""Greedy search and sampling of targets, and what they share with beam search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from throughtime.checks import whole_number
from throughtime.layers.evaluation import evaluating
from throughtime.models.decoding import Sampling, draw, seeded
from throughtime.models.memory import Memory
from throughtime.models.repetition import Repetition
from throughtime.models.writer import Writer

__all__ = ["Hypothesis", "greedy_search", "sample_search"]

Lengths = Tensor | list[int] | None


@dataclass(frozen=True)
class Hypothesis:
    """A target that a search has written.

    Args:
        tokens: its tokens, without ``bos`` and ``eos``.
        score: the sum of the log-probabilities of its tokens, including ``eos``, in nats.
        is_finished: whether it ends with ``eos``; otherwise it was cut off.
        attention: (len(tokens), S), the attention weights of each token over the S tokens of its
            source; None if the model has no attention or the search did not keep the weights.
    """

    tokens: list[int]
    score: float
    is_finished: bool
    attention: Tensor | None = field(default=None, repr=False, compare=False)


def greedy_search(
    model: Writer,
    source: Tensor,
    source_lengths: Lengths = None,
    *,
    max_length: int | None = None,
    max_repeats: Sequence[int] | None = None,
    keep_attention: bool = True,
) -> list[list[Hypothesis]]:
    """Writes a target for each source, taking the likeliest token at each step.

    Args:
        model, source, source_lengths: see :meth:`throughtime.models.EncoderDecoder.encode`.
        max_length: the largest number of tokens to write, including ``eos``; None is 2 S + 10 for
            a source of S tokens.
        max_repeats: for each period p of 1 to 16, the largest number of consecutive tokens that
            equal the token p steps before them. A hypothesis with more only repeats itself and is
            cut off. None is no limit.
        keep_attention: whether the hypotheses hold their attention weights, which takes memory for
            S weights per token.

    Returns:
        For each source a list of one hypothesis.
    """
    greedy = Sampling(temperature=0)
    options = (greedy, 1, max_length, max_repeats, keep_attention, None)
    return _write(model, source, source_lengths, *options)


def sample_search(
    model: Writer,
    source: Tensor,
    source_lengths: Lengths = None,
    *,
    sampling: Sampling | None = None,
    num: int = 1,
    seed: int | None = None,
    max_length: int | None = None,
    max_repeats: Sequence[int] | None = None,
    keep_attention: bool = True,
) -> list[list[Hypothesis]]:
    """Writes targets for each source, drawing each token at random from its scores.

    Args:
        model, source, source_lengths, max_length, max_repeats, keep_attention: see
            :func:`greedy_search`.
        sampling: how a token is drawn; None is ``Sampling()``.
        num: the number of targets for each source.
        seed: the seed of the random generator; None gives other targets each time.

    Returns:
        For each source ``num`` hypotheses, the likeliest first. Their scores are log-probabilities
        of the model itself, without the temperature and the limits of ``sampling``.
    """
    at_least_one("sample_search", "num", num)
    generator = seeded(seed)
    sampling = Sampling() if sampling is None else sampling
    options = (sampling, num, max_length, max_repeats, keep_attention, generator)
    return _write(model, source, source_lengths, *options)


@dataclass
class _Draft:
    """A hypothesis while it is being written."""

    tokens: list[int] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)
    score: float = 0.0
    is_finished: bool = False
    is_repeating: bool = False

    @property
    def is_done(self) -> bool:
        return self.is_finished or self.is_repeating


def _write(
    model: Writer,
    source: Tensor,
    source_lengths: Lengths,
    sampling: Sampling,
    num: int,
    max_length: int | None,
    max_repeats: Sequence[int] | None,
    keep_attention: bool,
    generator: torch.Generator | None,
) -> list[list[Hypothesis]]:
    """Draws ``num`` targets for each source, token by token.

    The rows of the state are the drafts of all sources that are still active, ``num`` consecutive
    rows for each. A source leaves when all its drafts are done or at its largest length.
    """
    with evaluating(model):
        memory, limits = read(model, source, source_lengths, max_length)
        lengths = memory.lengths.tolist()
        drafts = [[_Draft() for _ in range(num)] for _ in limits]
        sources, step = list(range(len(limits))), 0
        rows = torch.arange(len(limits), device=source.device).repeat_interleave(num)
        state, token = memory.state.rows(rows), torch.full_like(rows, model.bos)
        repetition = None
        if max_repeats is not None:
            repetition = Repetition(max_repeats, len(rows), rows.device)
        while sources:
            scores, state = model.step(token, state, memory)
            logs = log_probabilities(model, scores)
            # Drawn on the CPU, so that a seed gives the same tokens on every device.
            token = draw(logs if generator is None else logs.cpu(), sampling, generator)
            token = token.to(logs.device)
            gains = logs.gather(1, token.unsqueeze(1)).squeeze(1).tolist()
            active_drafts = [draft for s in sources for draft in drafts[s]]
            repeating = [False] * len(active_drafts)
            if repetition is not None:
                repeating = repetition.advance(token).tolist()
            for r, (draft, y) in enumerate(zip(active_drafts, token.tolist(), strict=True)):
                if draft.is_done:
                    continue
                draft.score += gains[r]
                draft.is_finished = y == model.eos
                if not draft.is_finished:
                    draft.is_repeating = repeating[r]
                    draft.tokens.append(y)
                    if keep_attention and state.weights is not None:
                        draft.weights.append(state.weights[r])
            step += 1
            active = [
                i
                for i, s in enumerate(sources)
                if step < limits[s] and not all(d.is_done for d in drafts[s])
            ]
            if len(active) < len(sources):
                index = torch.tensor(active, dtype=torch.int64, device=source.device)
                memory, sources = memory.rows(index), [sources[i] for i in active]
                rows = (index.unsqueeze(1) * num + torch.arange(num, device=index.device)).flatten()
                state, token = state.rows(rows), token.index_select(0, rows)
                if repetition is not None:
                    repetition.keep(rows)
    return [
        sorted(
            (
                Hypothesis(
                    d.tokens,
                    d.score,
                    d.is_finished,
                    attention_of(memory, d.weights, length) if keep_attention else None,
                )
                for d in of_source
            ),
            key=lambda h: h.score,
            reverse=True,
        )
        for of_source, length in zip(drafts, lengths, strict=True)
    ]


def read(
    model: Writer, source: Tensor, lengths: Lengths, max_length: int | None
) -> tuple[Memory, list[int]]:
    """Encodes the sources; returns the memory and the largest length of each target."""
    if max_length is not None:
        at_least_one("search", "max_length", max_length)
    memory = model.encode(source, lengths)
    return memory, [
        2 * S + 10 if max_length is None else max_length for S in memory.lengths.tolist()
    ]


def log_probabilities(model: Writer, scores: Tensor) -> Tensor:
    """The log-probabilities (R, V) in at least float32; -inf for tokens that are never written."""
    wide = torch.promote_types(scores.dtype, torch.float32)
    return model.writable(scores.log_softmax(-1, dtype=wide))


def attention_of(memory: Memory, rows: list[Tensor], length: int) -> Tensor | None:
    """The attention weights (len(rows), length) of a hypothesis, or None without attention.

    Args:
        memory: the memory of the search.
        rows: the weights of each token of the hypothesis.
        length: the length of its source, to which the padding is cut off.
    """
    if memory.attention is None:
        return None
    empty = memory.state.recurrent[0].new_zeros(0, length)
    return torch.stack(rows)[:, :length] if rows else empty


def at_least_one(who: str, name: str, value: int) -> None:
    """Raises a ValueError unless ``value`` is an integer of at least 1."""
    try:
        whole_number(who, name, value)
    except (TypeError, ValueError):
        raise ValueError(
            f"{who}: expected {name} as a whole number of at least 1, got {value!r}."
        ) from None

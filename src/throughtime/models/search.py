r"""From a source to a target: the likeliest token each time, or a drawn one."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from throughtime.checks import whole_number
from throughtime.layers.evaluation import evaluating
from throughtime.models.decoding import Sampling, draw
from throughtime.models.memory import Memory
from throughtime.models.writer import Writer

__all__ = ["Hypothesis", "greedy_search", "sample_search"]

Lengths = Tensor | list[int] | None


@dataclass(frozen=True)
class Hypothesis:
    """A target that was found.

    Args:
        tokens: without ``bos`` and ``eos``.
        score: the sum of the log-probabilities of its tokens, that of ``eos`` among them, in nats.
        is_finished: whether it ended with ``eos``; else the limit cut it off.
        attention: (len(tokens), S), where the decoder looked for each token, S the source's own
            length; None without attention, or where the search did not keep it.
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
    keep_attention: bool = True,
) -> list[list[Hypothesis]]:
    """Takes the likeliest token, again and again.

    Args:
        model, source, source_lengths: see :meth:`throughtime.models.EncoderDecoder.encode`.
        max_length: how many tokens are written at most, ``eos`` among them; None is
            2 S + 10 for a source of S tokens.
        keep_attention: whether the hypotheses say where the decoder looked, which takes memory for
            S weights for every token written.

    Returns:
        For each source a list of one hypothesis.
    """
    greedy = Sampling(temperature=0)
    return _write(model, source, source_lengths, greedy, 1, max_length, keep_attention, None)


def sample_search(
    model: Writer,
    source: Tensor,
    source_lengths: Lengths = None,
    *,
    sampling: Sampling | None = None,
    num: int = 1,
    seed: int | None = None,
    max_length: int | None = None,
    keep_attention: bool = True,
) -> list[list[Hypothesis]]:
    """Draws each token from its scores.

    Args:
        model, source, source_lengths, max_length, keep_attention: see :func:`greedy_search`.
        sampling: how; None is ``Sampling()``.
        num: how many targets are drawn for each source.
        seed: of the drawing; None draws differently every time.

    Returns:
        For each source ``num`` hypotheses, the likeliest first. Their scores are the model's own
        log-probabilities, whatever the temperature.
    """
    at_least_one("sample_search", "num", num)
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    sampling = Sampling() if sampling is None else sampling
    how = (sampling, num, max_length, keep_attention, generator)
    return _write(model, source, source_lengths, *how)


@dataclass
class _Draft:
    """A target that is being written."""

    tokens: list[int] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)
    score: float = 0.0
    is_finished: bool = False


def _write(
    model: Writer,
    source: Tensor,
    source_lengths: Lengths,
    sampling: Sampling,
    num: int,
    max_length: int | None,
    keep_attention: bool,
    generator: torch.Generator | None,
) -> list[list[Hypothesis]]:
    """Draws ``num`` targets for each source, token by token."""
    with evaluating(model):
        memory, limits = read(model, source, source_lengths, max_length)
        lengths = memory.lengths.tolist()
        drafts = [[_Draft() for _ in range(num)] for _ in limits]
        sources, step = list(range(len(limits))), 0
        rows = torch.arange(len(limits), device=source.device).repeat_interleave(num)
        state, token = memory.state.rows(rows), torch.full_like(rows, model.bos)
        while sources:
            scores, state = model.step(token, state, memory)
            logs = log_probabilities(model, scores)
            # Drawn where the generator is, so that a seed means the same on every device.
            token = draw(logs if generator is None else logs.cpu(), sampling, generator)
            token = token.to(logs.device)
            gained = logs.gather(1, token.unsqueeze(1)).squeeze(1).tolist()
            written = [draft for s in sources for draft in drafts[s]]
            for r, (draft, y) in enumerate(zip(written, token.tolist(), strict=True)):
                if draft.is_finished:
                    continue
                draft.score += gained[r]
                draft.is_finished = y == model.eos
                if not draft.is_finished:
                    draft.tokens.append(y)
                    if keep_attention and state.weights is not None:
                        draft.weights.append(state.weights[r])
            step += 1
            going = [
                place
                for place, s in enumerate(sources)
                if step < limits[s] and not all(d.is_finished for d in drafts[s])
            ]
            if len(going) < len(sources):
                index = torch.tensor(going, dtype=torch.int64, device=source.device)
                memory, sources = memory.rows(index), [sources[place] for place in going]
                rows = (index.unsqueeze(1) * num + torch.arange(num, device=index.device)).flatten()
                state, token = state.rows(rows), token.index_select(0, rows)
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
    """The memory, and how many tokens are written at most for each source."""
    if max_length is not None:
        at_least_one("search", "max_length", max_length)
    memory = model.encode(source, lengths)
    return memory, [
        2 * S + 10 if max_length is None else max_length for S in memory.lengths.tolist()
    ]


def log_probabilities(model: Writer, scores: Tensor) -> Tensor:
    """(R, V), in float32 at least; -inf for what is never written."""
    wide = torch.promote_types(scores.dtype, torch.float32)
    return model.writable(scores.log_softmax(-1, dtype=wide))


def attention_of(memory: Memory, rows: list[Tensor], length: int) -> Tensor | None:
    """The weights (len(rows), length) of a hypothesis, or None without attention."""
    if memory.attention is None:
        return None
    none = memory.state.recurrent[0].new_zeros(0, length)
    return torch.stack(rows)[:, :length] if rows else none


def at_least_one(who: str, name: str, value: int) -> None:
    try:
        whole_number(who, name, value)
    except (TypeError, ValueError):
        raise ValueError(
            f"{who}: expected {name} as a whole number of at least 1, got {value!r}."
        ) from None

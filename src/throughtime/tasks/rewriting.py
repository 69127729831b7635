"""Computes the outputs of a trained model for given sources, and measures how many are right."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from torch import nn

from throughtime.counted import counted
from throughtime.data import Pair, collate, num_read
from throughtime.models import Hypothesis, Writer, beam_search, greedy_search
from throughtime.models.beam import BeamStep
from throughtime.tasks.edit_distance import edit_distance

__all__ = ["Usual", "character_error_rate", "hypotheses", "match_figures"]

_TOKENS_PER_BATCH = 8192


class Usual(NamedTuple):
    """What the targets of the training are like.

    Args:
        longest_target: the number of tokens of the longest one.
        mean_target: the mean number of tokens.
        longest_repeats: see :func:`throughtime.models.repetition.longest_repeats`.
    """

    longest_target: int
    mean_target: float
    longest_repeats: Sequence[int]


def hypotheses(
    model: nn.Module,
    sources: Sequence[Sequence[int]],
    *,
    longest_target: int,
    longest_source: int | None = None,
    usual: Usual | None = None,
    beam_width: int = 1,
    n_best: int = 1,
    length_power: float = 1.0,
    keep_attention: bool = True,
    watch: Callable[[BeamStep], None] | None = None,
) -> list[list[Hypothesis]]:
    """The best targets of each source, the best one first; an empty source has none.

    The result for a source does not depend on the other sources of the call.

    Args:
        model: a :class:`~throughtime.models.Writer`.
        sources: the token ids of the sources, of any lengths.
        longest_target: the length of the longest target of the training, in tokens. An output is
            cut off 10 tokens after this length, or after twice the length of its source (rounded
            up to a multiple of 16), whichever is more.
        longest_source: the length of the longest source of the training, in tokens. A longer
            source is cut to its first :func:`throughtime.data.num_read` tokens; None cuts none.
        usual: what the targets of the training are like; None is unknown. With it an output is cut
            off 10 tokens after one and a half times ``longest_target`` at the latest (the later,
            the longer the source is than ``longest_source``), and where it repeats itself far more
            than those targets do. So an untrained model, whose outputs do not end, costs less time.
        beam_width: the width of the beam; 1 is greedy search.
        n_best, length_power, keep_attention: see :func:`throughtime.models.beam_search`. The
            attention weights are those over the source after the cut.
        watch: see :func:`throughtime.models.beam_search`, for a call with one source.
    """
    assert isinstance(model, Writer)
    assert watch is None or len(sources) == 1
    device = next(model.parameters()).device
    if longest_source is not None:
        sources = [ids[: num_read(longest_source)] for ids in sources]
    best_of: list[list[Hypothesis]] = [[] for _ in sources]
    # A batch of sources of similar lengths has little padding.
    order = sorted((i for i, ids in enumerate(sources) if ids), key=lambda i: len(sources[i]))
    limits = {i: _limits(len(sources[i]), longest_target, longest_source, usual) for i in order}
    batches = list(_batched(order, sources, limits, _TOKENS_PER_BATCH // beam_width))
    for indices in counted("writing", batches):
        batch = collate([sources[i] for i in indices], [[]] * len(indices))
        max_length, max_repeats = limits[indices[0]]
        arguments = (model, batch.source.to(device), batch.source_lengths)
        if beam_width == n_best == 1 and watch is None:
            results = greedy_search(
                *arguments,
                max_length=max_length,
                max_repeats=max_repeats,
                keep_attention=keep_attention,
            )
        else:
            results = beam_search(
                *arguments,
                width=beam_width,
                n_best=n_best,
                length_power=length_power,
                max_length=max_length,
                max_repeats=max_repeats,
                keep_attention=keep_attention,
                watch=watch,
            )
        for i, best in zip(indices, results, strict=True):
            best_of[i] = best
    return best_of


def _limits(
    num_source: int, longest_target: int, longest_source: int | None, usual: Usual | None
) -> tuple[int, tuple[int, ...] | None]:
    """The largest length of an output, and its largest repetitions, by the length of its source.

    They depend on the length rounded up to a multiple of 16, so that sources of similar lengths can
    be processed together.
    """
    length = -(-num_source // 16) * 16
    limit = max(2 * length, longest_target)
    if usual is None:
        return limit + 10, None
    growth = 1.0 if longest_source is None else length / (-(-longest_source // 16) * 16)
    growth = max(1.0, growth)
    limit = min(limit, math.ceil(1.5 * growth * longest_target))
    # Of some tasks an output may be longer than the targets of the training.
    growth *= max(1.0, longest_target / max(1, usual.longest_target))
    repeats = (
        math.ceil(growth * max(2 * most, usual.mean_target)) + 2 * period + 4
        for period, most in enumerate(usual.longest_repeats, 1)
    )
    return limit + 10, tuple(repeats)


def match_figures(pairs: Sequence[Pair], outputs: Iterable[str]) -> dict[str, float]:
    """The fractions of outputs, and of their characters, that are right.

    An output is right if any pair with the same source has it as its target. Characters are
    compared with the pair's own target, position by position, up to the longer of the two texts.

    Returns:
        ``character_accuracy`` and ``exact_match``, from 0 to 1.

    >>> match_figures([Pair("1+2", "3"), Pair("9+9", "18")], ["3", "17"])
    {'character_accuracy': 0.6666666666666666, 'exact_match': 0.5}
    """
    targets: dict[str, set[str]] = {}
    for pair in pairs:
        targets.setdefault(pair.source, set()).add(pair.target)
    num_right, num_equal, num_characters = 0, 0, 0
    for pair, output in zip(pairs, outputs, strict=True):
        num_right += output in targets[pair.source]
        num_equal += sum(a == b for a, b in zip(output, pair.target, strict=False))
        num_characters += max(len(output), len(pair.target))
    return {
        "character_accuracy": num_equal / max(1, num_characters),
        "exact_match": num_right / len(pairs),
    }


def character_error_rate(pairs: Sequence[Pair], outputs: Iterable[str]) -> float:
    """The edit distance between outputs and targets, divided by the characters of the targets.

    If several pairs have the same source, an output is compared with the nearest of their targets.

    Returns:
        0 if all outputs are right. The rate can exceed 1, because an output may be too long.

    >>> character_error_rate([Pair("1+2", "3"), Pair("9+9", "18")], ["3", "17"])
    0.3333333333333333
    """
    targets: dict[str, set[str]] = {}
    for pair in pairs:
        targets.setdefault(pair.source, set()).add(pair.target)
    errors, characters = 0, 0
    for pair, output in zip(pairs, outputs, strict=True):
        distances = ((edit_distance(output, t), len(t)) for t in targets[pair.source])
        distance, length = min(distances, key=lambda target: target[0] / max(1, target[1]))
        errors += distance
        characters += length
    return errors / max(1, characters)


def _batched(
    order: Sequence[int], sources: Sequence[Sequence[int]], limits: Mapping[int, object], size: int
) -> Iterator[Sequence[int]]:
    """Cuts ``order`` into batches of at most ``size`` tokens, padding included.

    Args:
        order: indices into ``sources``, sorted by their lengths.
        sources: the token ids of the sources.
        limits: the limits of the output for each index. All sources of a batch have the same
            limits, because otherwise an output would depend on its neighbours in the batch.
        size: the largest number of tokens of a batch.
    """
    begin = 0
    for k, i in enumerate(order):
        is_full = (k + 1 - begin) * len(sources[i]) > size
        if k > begin and (is_full or limits[i] != limits[order[begin]]):
            yield order[begin:k]
            begin = k
    if begin < len(order):
        yield order[begin:]

"""From sources to outputs, by a trained model, and how many of them are right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from torch import nn

from throughtime.data import Pair, collate, num_read
from throughtime.models import Hypothesis, Writer, beam_search, greedy_search
from throughtime.tasks.edit_distance import edit_distance

__all__ = ["character_error_rate", "hypotheses", "match_figures"]

_TOKENS_SIDE_BY_SIDE = 8192


def hypotheses(
    model: nn.Module,
    sources: Sequence[Sequence[int]],
    *,
    longest_target: int,
    longest_source: int | None = None,
    beam_width: int = 1,
    n_best: int = 1,
    length_power: float = 1.0,
    keep_attention: bool = True,
) -> list[list[Hypothesis]]:
    """The best targets of each source, the best first; of an empty source none.

    What stands beside a source does not matter to what is made of it.

    Args:
        model: what writes.
        sources: the ids of texts, of any lengths.
        longest_target: of the training, in tokens. An output has at most ten tokens more than
            that, or than twice its source (rounded up to a multiple of 16), whichever is more.
        longest_source: of the training, in tokens. A longer source is cut to its first
            :func:`throughtime.data.num_read`; None cuts none.
        beam_width: how many hypotheses are followed; 1 is greedy.
        n_best, length_power, keep_attention: see :func:`throughtime.models.beam_search`.
            Attention that is kept is of the source as it was read, after the cut.
    """
    assert isinstance(model, Writer)
    device = next(model.parameters()).device
    if longest_source is not None:
        sources = [ids[: num_read(longest_source)] for ids in sources]
    found: list[list[Hypothesis]] = [[] for _ in sources]
    # Sources of similar lengths side by side waste no steps.
    places = sorted((i for i, ids in enumerate(sources) if ids), key=lambda i: len(sources[i]))
    limits = {i: max(-(-len(sources[i]) // 16) * 32, longest_target) + 10 for i in places}
    for some in _cut(places, sources, limits, _TOKENS_SIDE_BY_SIDE // beam_width):
        batch = collate([sources[i] for i in some], [[]] * len(some))
        limit = limits[some[0]]
        given = (model, batch.source.to(device), batch.source_lengths)
        if beam_width == n_best == 1:
            best = greedy_search(*given, max_length=limit, keep_attention=keep_attention)
        else:
            best = beam_search(
                *given,
                width=beam_width,
                n_best=n_best,
                length_power=length_power,
                max_length=limit,
                keep_attention=keep_attention,
            )
        for i, of_source in zip(some, best, strict=True):
            found[i] = of_source
    return found


def match_figures(pairs: Sequence[Pair], outputs: Iterable[str]) -> dict[str, float]:
    """How many outputs are right, and how many of their characters.

    An output is right where it is one of the targets that the pairs have for its source. For the
    characters it is compared with its own target, place by place, up to the longer of the two.

    Returns:
        ``character_accuracy`` and ``exact_match``, from 0 to 1.

    >>> match_figures([Pair("1+2", "3"), Pair("9+9", "18")], ["3", "17"])
    {'character_accuracy': 0.6666666666666666, 'exact_match': 0.5}
    """
    targets: dict[str, set[str]] = {}
    for pair in pairs:
        targets.setdefault(pair.source, set()).add(pair.target)
    right, same, places = 0, 0, 0
    for pair, output in zip(pairs, outputs, strict=True):
        right += output in targets[pair.source]
        same += sum(a == b for a, b in zip(output, pair.target, strict=False))
        places += max(len(output), len(pair.target))
    return {"character_accuracy": same / max(1, places), "exact_match": right / len(pairs)}


def character_error_rate(pairs: Sequence[Pair], outputs: Iterable[str]) -> float:
    """How many characters must be changed to make the outputs right, per character of the targets.

    Each output is compared with the nearest of the targets that the pairs have for its source.

    Returns:
        0 where all are right; it may exceed 1, for an output can be too long.

    >>> character_error_rate([Pair("1+2", "3"), Pair("9+9", "18")], ["3", "17"])
    0.3333333333333333
    """
    targets: dict[str, set[str]] = {}
    for pair in pairs:
        targets.setdefault(pair.source, set()).add(pair.target)
    errors, characters = 0, 0
    for pair, output in zip(pairs, outputs, strict=True):
        distances = ((edit_distance(output, t), len(t)) for t in targets[pair.source])
        distance, length = min(distances, key=lambda found: found[0] / max(1, found[1]))
        errors += distance
        characters += length
    return errors / max(1, characters)


def _cut(
    places: Sequence[int], coded: Sequence[Sequence[int]], limits: Mapping[int, int], size: int
) -> Iterator[Sequence[int]]:
    """Stretches of places, of one limit and at most ``size`` padded tokens; the lengths rise.

    A limit of its company would let an output depend on it.
    """
    begin = 0
    for k, i in enumerate(places):
        is_full = (k + 1 - begin) * len(coded[i]) > size
        if k > begin and (is_full or limits[i] != limits[places[begin]]):
            yield places[begin:k]
            begin = k
    if begin < len(places):
        yield places[begin:]

"""What a user is told of pairs before they are learned: unknown tokens, and lossy tokenisation."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from throughtime.data import Pair, Tokeniser, in_words
from throughtime.data.tokenisation import round_trip

__all__ = ["unknown_by_side", "warn_of_round_trip"]

_log = logging.getLogger(__name__)

_MOST_ROUND_TRIPS = 5000


def unknown_by_side(
    tokenisers: tuple[Tokeniser, Tokeniser],
    pairs: Sequence[Pair],
    ids: tuple[list[list[int]], list[list[int]]],
) -> dict[str, str]:
    """A sentence about the unknown tokens of each side that has any, by "source" and "target".

    Args:
        tokenisers: the tokenisers of source and target.
        pairs: the pairs.
        ids: the sources and the targets as token ids.
    """
    summaries = {}
    for i, side in enumerate(("source", "target")):
        counts = tokenisers[i].count_unknown(pair[i] for pair in pairs)
        if counts:
            total = sum(map(len, ids[i]))
            summaries[side] = in_words(counts, total, tokenisers[i].unit)
    return summaries


def warn_of_round_trip(name: str, tokeniser: Tokeniser, targets: Sequence[str]) -> None:
    """Logs that the tokeniser cannot reproduce the targets, if it cannot.

    Args:
        name: the name of the pairs.
        tokeniser: the tokeniser of the targets.
        targets: the targets of the training split; the first 5,000 are tried.
    """
    targets = targets[:_MOST_ROUND_TRIPS]
    if getattr(tokeniser, "lower_case", False):
        targets = [target.lower() for target in targets]
    share, example = round_trip(tokeniser, targets)
    if example is not None and share < 0.9:
        _log.warning(
            "%s: %s reproduce only %.0f %% of the targets exactly (%r comes back as %r). Other "
            "outputs cannot be right. Use --tokenisation subwords or characters.",
            *(name, tokeniser.unit, 100 * share, *example),
        )

"""What a model computes for the held-out data, and where its units are active there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from throughtime.checks import unknown
from throughtime.inspection.page.wire import finite
from throughtime.inspection.recording import Name, Recording, record, recorded
from throughtime.layers.evaluation import evaluating
from throughtime.tasks.uses import Inspectable, Language

__all__ = ["fires", "matches", "points", "recordings_of", "units_above"]

MOST_STEPS = 20_000
_MOST_VALUES = 1 << 26
_MOST_SECONDS = 10.0
_PIECE = 1000
_NUM_AROUND = 40
_NUM_PLACES = 20
_LARGEST = torch.finfo(torch.float16).max


def recordings_of(
    task: Inspectable,
    model: nn.Module,
    language: Language | None,
    inputs: Sequence[Any],
    lock: AbstractContextManager[Any],
    check: Callable[[], None],
) -> list[Recording]:
    """The values of all layers for held-out inputs, in float16 and without attention weights.

    The recordings end after 20,000 steps, after 2^26 values (128 MB), or after 10 seconds,
    whichever comes first. Values of float16 have 3 digits, and at most 65,504.

    Args:
        task: the task of the model.
        model: the model.
        language: the tokens of a language model, whose texts are read in pieces; else None.
        inputs: the inputs, arguments of ``task.observe``.
        lock: held while the model runs, and released between two inputs or pieces, so that other
            requests do not wait for all of them.
        check: called before each of them; raises if the recordings are no longer wanted.
    """
    recordings: list[Recording] = []
    end, num_values = time.monotonic() + _MOST_SECONDS, 0
    for input in inputs:
        parts: list[Recording] = []
        is_over = False
        for piece in _pieces(task, model, language, input, lock):
            check()
            parts.append(_half(piece))
            num_values += sum(value.numel() for value in parts[-1].values.values())
            is_over = num_values >= _MOST_VALUES or time.monotonic() > end
            if is_over:
                break
        recordings += [_joined(parts)] if parts else []
        if is_over:
            break
    return recordings


def _pieces(
    task: Inspectable,
    model: nn.Module,
    language: Language | None,
    input: Any,
    lock: AbstractContextManager[Any],
) -> Iterator[Recording]:
    """The recordings of consecutive pieces of an input; only a text of a language is cut."""
    if language is None:
        with lock:
            recording = record(task, model, input)
        yield recording
        return
    state, device = None, next(model.parameters()).device
    for ids in language.encode(input).split(_PIECE):
        with lock, recorded(model) as values, evaluating(model):
            _, state = model(ids[None].to(device), state)
        tokens = [language.tokens[int(i)] for i in ids]
        joined = {name: torch.cat(parts, 1)[0] for name, parts in values.pieces.items()}
        yield Recording(joined, frozenset(values.states), {"": tokens})


def _half(recording: Recording) -> Recording:
    """The recording without attention weights and probabilities, in float16."""
    values = {
        name: value.clamp(-_LARGEST, _LARGEST).half().cpu()
        for name, value in recording.values.items()
        if Name.of(name).layer is not None
    }
    return Recording(values, recording.states, recording.steps)


def _joined(parts: list[Recording]) -> Recording:
    """The consecutive parts of one input as one recording."""
    first = parts[0]
    if len(parts) == 1:
        return first
    values = {name: torch.cat([part.values[name] for part in parts]) for name in first.values}
    steps = {k: [token for part in parts for token in part.steps[k]] for k in first.steps}
    return Recording(values, first.states, steps)


def fires(recordings: Sequence[Recording], name: str, unit: int, most: int) -> dict[str, Any]:
    """The places where a unit has its largest absolute values, the largest first.

    Args:
        recordings: those of the held-out data.
        name: the name of the value.
        unit: the number of the unit.
        most: the largest number of places. No place lies in the surroundings of another.
    """
    columns = [value[:, unit].float() for value in _values_of(recordings, name)]
    places = []
    for r, t in _best(recordings, [column.abs() for column in columns], most, _NUM_AROUND):
        tokens = recordings[r].tokens(name)
        first, last = max(0, t - _NUM_AROUND), t + _NUM_AROUND + 1
        numbers = finite(columns[r][first:last].tolist())
        places.append({"tokens": tokens[first:last], "values": numbers, "at": t - first})
    return {"places": places, "steps": sum(map(len, columns))}


def units_above(
    values: Tensor, begin: int, end: int, threshold: float, is_strict: bool
) -> list[int]:
    """The units that are above a threshold at all steps of a selection.

    Args:
        values: (T, W).
        begin, end: the steps from ``begin`` to ``end - 1`` are selected.
        threshold: what the values must exceed.
        is_strict: whether to leave out units that are above it on either side of the selection,
            too.

    Source: the set S_1 of Strobelt et al., LSTMVis, arXiv 1606.07461.
    """
    is_above = values > threshold  # (T, W)
    selected = is_above[begin:end].all(0)
    if is_strict:
        sides = [t for t in (begin - 1, end) if 0 <= t < len(values)]
        selected &= ~is_above[sides].any(0)
    return selected.nonzero().flatten().tolist()


def matches(
    recordings: Sequence[Recording], name: str, units: Sequence[int], length: int, threshold: float
) -> dict[str, Any]:
    """The places of a length at which most of the units are above a threshold throughout.

    Of places with equally many of them, that with the fewest other units above it comes first.

    Source: Strobelt et al., LSTMVis, arXiv 1606.07461, who compare places of any length.
    """
    scores, counts = [], []
    for value in _values_of(recordings, name):
        W = value.shape[1]
        above = torch.nn.functional.pad((value > threshold).int().cumsum(0), (0, 0, 1, 0))
        throughout = (above[length:] - above[:-length]) == length  # (T - length + 1, W)
        num = throughout[:, list(units)].sum(1)
        counts.append(num)
        # The number of the other units is below W + 1, so it only decides between equal ones.
        scores.append(torch.where(num > 0, num * (W + 2) - throughout.sum(1), 0).float())
    places = []
    for r, t in _best(recordings, scores, _NUM_PLACES, length - 1) if units else ():
        if scores[r][t] == 0:
            break
        tokens = recordings[r].tokens(name)
        first = max(0, t - _NUM_AROUND)
        around = tokens[first : t + length + _NUM_AROUND]
        place = {"from": t - first, "to": t - first + length, "count": int(counts[r][t])}
        places.append({"tokens": around, **place})
    return {"places": places, "steps": sum(map(len, _values_of(recordings, name)))}


def points(recordings: Sequence[Recording], name: str, most: int) -> tuple[Tensor, list[str]]:
    """At most ``most`` of the values of a name, evenly spread, and the tokens of their steps."""
    values = torch.cat(_values_of(recordings, name)).float()
    tokens = [token for recording in recordings for token in recording.tokens(name)]
    index = torch.linspace(0, len(values) - 1, min(most, len(values))).round().long()
    return values[index], [tokens[i] for i in index.tolist()]


def _values_of(recordings: Sequence[Recording], name: str) -> list[Tensor]:
    names: Mapping[str, Tensor] = recordings[0].values if recordings else {}
    if name not in names:
        raise unknown("value of the held-out data", name, names)
    return [recording.values[name] for recording in recordings]


def _best(
    recordings: Sequence[Recording], scores: Sequence[Tensor], most: int, apart: int
) -> Iterator[tuple[int, int]]:
    """The recordings and steps with the largest scores, more than ``apart`` steps apart."""
    blocked = [torch.zeros(len(s), dtype=torch.bool) for s in scores]
    owners = torch.cat([torch.full((len(s),), r) for r, s in enumerate(scores)]).tolist()
    steps = torch.cat([torch.arange(len(s)) for s in scores]).tolist()
    order = torch.cat([s.nan_to_num() for s in scores]).argsort(descending=True, stable=True)
    num = 0
    for i in order.tolist():
        r, t = owners[i], steps[i]
        if num == most:
            return
        if not blocked[r][t]:
            blocked[r][max(0, t - apart) : t + apart + 1] = True
            num += 1
            yield r, t

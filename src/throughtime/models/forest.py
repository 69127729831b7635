"""Runs a recurrent layer along the branches of a forest, many branches in each call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.layers import Recurrent
from throughtime.models.decoder import joined

__all__ = ["Schedule", "run", "schedule"]

_MOST_PADDING = 3
"""How many times as many steps as are valid a call may have."""


@dataclass(frozen=True)
class Branches:
    """Branches that are read in one call.

    Args:
        starts: (n), for each branch, the row of the states with which it begins, among the last
            states of the round before, or those that are passed to :func:`run`.
        lengths: (n), the number of entries of each; None if all have ``num_steps``.
        num_steps: the number of entries of the longest.
    """

    starts: Tensor
    lengths: Tensor | None
    num_steps: int


@dataclass(frozen=True)
class Schedule:
    """The order in which the entries of a forest are read.

    The forest is cut into branches: maximal chains in which every entry but the last has exactly
    one successor. So each branch begins with the last states of another one, and needs no state
    from its inside, which the kernels do not return. A round consists of all branches that follow a
    branch of the round before, and is read in one call, or a few if their lengths differ much.

    Args:
        order: the entries of all calls, call after call and branch after branch, each branch
            padded to the longest of its call.
        places: the index in ``order`` of each entry.
        rounds: the calls of each round.
    """

    order: Tensor
    places: Tensor
    rounds: list[list[Branches]]


def schedule(before: Tensor) -> Schedule:
    """The schedule of a forest.

    Args:
        before: (R), the index of the entry that each one follows, which is smaller; -1 for a root.
            The roots come first.
    """
    device = before.device
    order: list[int] = []
    places = [0] * len(before)
    rounds: list[list[Branches]] = []
    # For the last entry of each branch of the round before, the row of its last states.
    last_rows: dict[int, int] = {}
    for branches in _rounds(before.tolist()):
        calls, following = [], {}
        for call in _calls(branches):
            T = len(call[0].entries)
            # Roots begin with the states that the caller passes, one for each root in their order.
            starts = [last_rows[b.after] if b.after >= 0 else b.entries[0] for b in call]
            for branch in call:
                following[branch.entries[-1]] = len(following)
                for entry in branch.entries:
                    places[entry] = len(order)
                    order.append(entry)
                order += branch.entries[-1:] * (T - len(branch.entries))
            lengths = torch.tensor([len(branch.entries) for branch in call])
            is_ragged = len(call[-1].entries) < T
            rows = torch.tensor(starts, device=device)
            calls.append(Branches(rows, lengths if is_ragged else None, T))
        rounds.append(calls)
        last_rows = following
    return Schedule(torch.tensor(order, device=device), torch.tensor(places, device=device), rounds)


class _Branch(NamedTuple):
    """A branch: its entries, and the entry that it follows, -1 if it begins with a root."""

    entries: list[int]
    after: int


def _rounds(before: list[int]) -> list[list[_Branch]]:
    """The branches of each round, the longest first."""
    num_next = [0] * len(before)
    for source in before:
        if source >= 0:
            num_next[source] += 1
    branch_of: list[_Branch] = []
    rounds: list[list[_Branch]] = []
    round_of: list[int] = []
    for entry, source in enumerate(before):
        if source >= 0 and num_next[source] == 1:
            branch_of.append(branch_of[source])
            round_of.append(round_of[source])
            branch_of[entry].entries.append(entry)
            continue
        branch_of.append(_Branch([entry], source))
        round_of.append(round_of[source] + 1 if source >= 0 else 0)
        if round_of[entry] == len(rounds):
            rounds.append([])
        rounds[round_of[entry]].append(branch_of[entry])
    for branches in rounds:
        branches.sort(key=lambda branch: len(branch.entries), reverse=True)
    return rounds


def _calls(branches: list[_Branch]) -> Iterator[list[_Branch]]:
    """Yields the branches of each call.

    A call ends before its padding would take too much memory. A branch in the next call is shorter
    than a quarter of the longest one, so the calls of a round are few.

    Args:
        branches: the branches of one round, the longest first.
    """
    call: list[_Branch] = []
    num_valid = 0
    for branch in branches:
        num_valid += len(branch.entries)
        if call and (len(call) + 1) * len(call[0].entries) > _MOST_PADDING * num_valid:
            yield call
            call, num_valid = [], len(branch.entries)
        call.append(branch)
    yield call


def run(recurrent: Recurrent, x: Tensor, schedule: Schedule, states: tuple[Tensor, ...]) -> Tensor:
    """The outputs of a recurrent layer that reads a forest from its roots.

    Args:
        recurrent: the layer, with ``batch_first``.
        x: (R, I), the input of each entry.
        schedule: the schedule of the forest.
        states: the states with which the roots begin, each (L, B, H), in the order of the roots.

    Returns:
        (R, H), the output after each entry.
    """
    # One copy in the order of the calls, and its parts: a selection in each call would give a
    # gradient of the size of x in each.
    parts = x.index_select(0, schedule.order).split(
        [len(call.starts) * call.num_steps for calls in schedule.rounds for call in calls]
    )
    outputs: list[Tensor] = []
    for calls in schedule.rounds:
        last_states: list[tuple[Tensor, ...]] = []
        for call in calls:
            steps = parts[len(outputs)].unflatten(0, (len(call.starts), call.num_steps))
            starts = tuple(s.index_select(1, call.starts) for s in states)
            h, last = recurrent(steps, joined(starts), lengths=call.lengths)  # (n, T, H)
            outputs.append(h.flatten(0, 1))
            last_states.append((last,) if isinstance(last, Tensor) else tuple(last))
        states = tuple(torch.cat(parts, 1) for parts in zip(*last_states, strict=True))
    return torch.cat(outputs).index_select(0, schedule.places)

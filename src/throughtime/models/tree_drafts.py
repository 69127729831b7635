"""Trees while a search writes them, and the memory of the states that their nodes have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor

from throughtime.models.tree_decoder import States

__all__ = ["Draft", "Pool", "Slot", "Written", "extended", "written_nodes"]


class Slot(NamedTuple):
    """A slot that is still to be filled.

    Args:
        parent: the node that is the parent; -1 for a root.
        parent_label: its label; the number of labels for a root.
        position: the number of previous siblings.
        depth: the depth of the slot.
        parent_entry, before: the entries of the pool that the two recurrences have read: the
            parent, and the previous sibling or else the parent.
    """

    parent: int
    parent_label: int
    position: int
    depth: int
    parent_entry: int
    before: int


class Written(NamedTuple):
    """A node that is written, linked to the one that was written before it.

    Args:
        label, parent: see :class:`TreeHypothesis`.
        step, row: where its attention weights are.
        rest: the node before it.
    """

    label: int
    parent: int
    step: int
    row: int
    rest: Written | None


class Draft(NamedTuple):
    """A hypothesis while it is being written. Hypotheses share what they have in common.

    Args:
        open: the slots to fill, the next one first, as linked pairs of a slot and the rest.
        num_open: their number.
        written: the last node that was written.
        num_nodes: the number of nodes written.
        is_forced: whether a bound has forbidden what the model would rather have written.
    """

    open: tuple[Slot, Any] | None
    num_open: int
    written: Written | None
    num_nodes: int
    is_forced: bool


def extended(
    draft: Draft, decision: int, num_labels: int, has_ends: bool, step: int, row: int, entry: int
) -> tuple[Draft, int]:
    """The draft with its next slot filled, and the label that was written.

    Args:
        draft: the draft.
        decision: the index of the decision; see :meth:`TreeDecoder.decide`.
        num_labels: V, which stands for the end of siblings.
        has_ends: whether the decoder writes ends of siblings.
        step, row: where the attention weights of the decision are.
        entry: the entry of the pool that the new node gets.
    """
    assert draft.open is not None
    (slot, open), V = draft.open, num_labels
    num_open = draft.num_open - 1
    is_root = slot.parent_label == V
    if has_ends and decision == V:
        return draft._replace(open=open, num_open=num_open), V
    label = decision % V
    has_children = has_ends or decision // (2 * V) == 1
    has_next = (has_ends and not is_root) or (not has_ends and decision // V % 2 == 1)
    if has_next:
        sibling = slot._replace(position=slot.position + 1, before=entry)
        open, num_open = (sibling, open), num_open + 1
    if has_children:
        child = Slot(draft.num_nodes, label, 0, slot.depth + 1, entry, entry)
        open, num_open = (child, open), num_open + 1
    written = Written(label, slot.parent, step, row, draft.written)
    return Draft(open, num_open, written, draft.num_nodes + 1, draft.is_forced), label


def written_nodes(written: Written | None) -> Iterator[Written]:
    """The nodes of a draft, the last one first."""
    while written is not None:
        yield written
        written = written.rest


class Pool:
    """The outputs and states after all nodes that were read, in memory that doubles when full.

    Args:
        outputs: for each recurrence the outputs (n, H) after the first entries.
        states: the states, each (L, n, H).
    """

    def __init__(self, outputs: dict[str, Tensor], states: dict[str, States]) -> None:
        self.size = len(next(iter(outputs.values())))
        self.outputs = outputs
        self._states = {name: [s.transpose(0, 1) for s in each] for name, each in states.items()}

    def append(self, outputs: dict[str, Tensor], states: dict[str, States]) -> None:
        """Appends entries; see the class."""
        start = self.size
        self.size += len(next(iter(outputs.values())))
        for name, output in outputs.items():
            self.outputs[name] = self._put(self.outputs[name], output, start)
            self._states[name] = [
                self._put(pool, new.transpose(0, 1), start)
                for pool, new in zip(self._states[name], states[name], strict=True)
            ]

    def states_of(self, name: str, entries: Tensor) -> States:
        """The states (L, R, H) of one recurrence after these entries (R)."""
        return tuple(
            pool.index_select(0, entries).transpose(0, 1).contiguous()
            for pool in self._states[name]
        )

    def _put(self, pool: Tensor, new: Tensor, start: int) -> Tensor:
        if self.size > len(pool):
            larger = pool.new_empty(2 * self.size, *pool.shape[1:])
            larger[:start] = pool[:start]
            pool = larger
        pool[start : self.size] = new
        return pool

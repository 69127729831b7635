"""A grammar of trees: which labels may stand where, and with how many children."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from throughtime.checks import whole_number
from throughtime.models.trees import Trees, nodes_of
from throughtime.reading import Each, Entries, Whole, typed

__all__ = ["Grammar"]

Rules = Mapping[int | None, Sequence[Collection[int]]]


class Grammar:
    """The labels that are allowed at each position below each label, and their arities.

    Args:
        num_labels: V.
        arities: for a label, the numbers of children that it may have; a label that is not listed
            may have any number.
        children: for the label of a parent, the labels that are allowed at each position of a
            child; the last collection is for all further positions, too. None is the parent of
            the root. Below a parent that is not listed all labels are allowed.

    Raises:
        ValueError: for a label that is out of range, an arity below 0, or an empty collection.

    >>> grammar = Grammar(3, {0: [2], 1: [0], 2: [0]}, {None: [[0]], 0: [[0, 1, 2], [1]]})
    >>> parents, positions = torch.tensor([3, 0, 0]), torch.tensor([0, 0, 1])
    >>> grammar.labels(parents, positions).int().tolist()
    [[1, 0, 0], [1, 1, 1], [0, 1, 0]]
    """

    def __init__(
        self,
        num_labels: int,
        arities: Mapping[int, Collection[int]] | None = None,
        children: Rules | None = None,
    ) -> None:
        V = self.num_labels = whole_number("Grammar", "num_labels", num_labels)
        arities, children = arities or {}, children or {}
        self.arities, self.children = arities, children
        self._check("arities", arities)
        self._check("children", {k: v for k, v in children.items() if k is not None})
        # The last column stands for its number of children and all larger ones.
        self._most = 1 + max((max(counts, default=0) for counts in arities.values()), default=0)
        self._arities = torch.ones(V, self._most + 1, dtype=torch.bool)
        for label, counts in arities.items():
            if not counts or min(counts) < 0:
                raise ValueError(
                    f"Grammar: expected for label {label} at least one arity, and none below 0, "
                    f"got {list(counts)}."
                )
            self._arities[label] = False
            self._arities[label, list(counts)] = True
        # For each number, whether some larger one is allowed.
        from_here = self._arities.flip(1).cummax(1).values.flip(1)
        self._more = torch.cat([from_here[:, 1:], self._arities[:, -1:]], 1)
        # Row 0 of the masks allows all labels. The row V of the table is the parent of the root.
        width = max((len(positions) for positions in children.values()), default=1)
        self._rows = torch.zeros(V + 1, width, dtype=torch.int64)
        masks = [torch.ones(V, dtype=torch.bool)]
        numbers: dict[frozenset[int], int] = {}
        for parent, positions in children.items():
            for position in range(width if positions else 0):
                allowed = frozenset(positions[min(position, len(positions) - 1)])
                if allowed not in numbers:
                    numbers[allowed] = len(masks)
                    self._check(f"children of {parent}", allowed)
                    masks.append(torch.zeros(V, dtype=torch.bool))
                    masks[-1][list(allowed)] = True
                self._rows[V if parent is None else parent, position] = numbers[allowed]
            if not positions or not all(positions):
                raise ValueError(
                    f"Grammar: expected for the children of {parent} at least one collection of "
                    f"labels, and none that is empty, got {positions!r}."
                )
        self._masks = torch.stack(masks)

    @classmethod
    def observed(cls, num_labels: int, batches: Collection[Trees]) -> Grammar:
        """The smallest grammar that allows all trees of the batches.

        A label has the arities that it has in the trees, and at each position below a label stand
        the labels that stand there in the trees. A label that is in no tree is not allowed
        anywhere.

        >>> grammar = Grammar.observed(7, [Trees.of([([4, 5, 6], [-1, 0, 0])])])
        >>> grammar.labels(torch.tensor([4]), torch.tensor([1])).nonzero()[:, 1].tolist()
        [6]
        """
        arities: dict[int, set[int]] = {}
        children: dict[int | None, list[set[int]]] = {}
        for trees in batches:
            nodes = nodes_of("Grammar.observed", trees, num_labels)
            labels, parents = nodes.labels.tolist(), nodes.parents.tolist()
            counts = [0] * len(labels)
            for label, parent in zip(labels, parents, strict=True):
                position = counts[parent] if parent >= 0 else 0
                below = children.setdefault(labels[parent] if parent >= 0 else None, [])
                if position == len(below):
                    below.append(set())
                below[position].add(label)
                if parent >= 0:
                    counts[parent] += 1
            for label, count in zip(labels, counts, strict=True):
                arities.setdefault(label, set()).add(count)
        return cls(num_labels, arities, children)

    def to_json(self) -> dict[str, Any]:
        """The grammar as a JSON object, for :meth:`from_json`.

        >>> grammar = Grammar(3, {0: [2]}, {None: [[0]]})
        >>> grammar.to_json()
        {'num_labels': 3, 'arities': [[0, [2]]], 'children': [[None, [[0]]]]}
        >>> Grammar.from_json(grammar.to_json()).to_json() == grammar.to_json()
        True
        """
        return {
            "num_labels": self.num_labels,
            "arities": [[label, sorted(counts)] for label, counts in self.arities.items()],
            "children": [
                [parent, [sorted(allowed) for allowed in positions]]
                for parent, positions in self.children.items()
            ],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Grammar:
        """Restores a grammar from the result of :meth:`to_json`.

        Raises:
            ValueError: if the value is not such a result.
        """
        kind = Entries(
            {
                "num_labels": Whole(1),
                "arities": Each(Each(Any)),
                "children": Each(Each(Any)),
            }
        )
        value = typed("Grammar.from_json", value, kind)
        rules: dict[str, dict[Any, Any]] = {"arities": {}, "children": {}}
        for name, rule_kind in (("arities", Each(Whole(0))), ("children", Each(Each(Whole(0))))):
            for number, pair in enumerate(value[name]):
                where = f"Grammar.from_json: {name}[{number}]"
                if len(pair) != 2:
                    raise ValueError(f"{where}: expected a label and its rule, got {pair!r}.")
                is_root = name == "children" and pair[0] is None
                label = None if is_root else typed(where, pair[0], Whole(0))
                rules[name][label] = typed(where, pair[1], rule_kind)
        return cls(value["num_labels"], rules["arities"], rules["children"])

    def labels(self, parents: Tensor, positions: Tensor) -> Tensor:
        """Which labels (R, V) may be the child at these positions (R) below these labels (R).

        The parent of a root is ``num_labels``. Only the rules for labels count, not the arities.
        """
        last = self._rows.shape[1] - 1
        rows = self._rows.to(parents.device)[parents, positions.clamp(max=last)]
        return self._masks.to(parents.device)[rows]

    def may_have(self, labels: Tensor, counts: Tensor) -> Tensor:
        """Whether these labels may have exactly so many children; the two are broadcast."""
        return self._arities.to(labels.device)[labels, counts.clamp(max=self._most)]

    def may_have_more(self, labels: Tensor, counts: Tensor) -> Tensor:
        """Whether these labels may have more children than so many; the two are broadcast."""
        return self._more.to(labels.device)[labels, counts.clamp(max=self._most)]

    def _check(self, what: str, labels: Collection[int]) -> None:
        """Raises a ValueError for a label that is out of range."""
        for label in labels:
            if not 0 <= label < self.num_labels:
                raise ValueError(
                    f"Grammar: expected labels from 0 to {self.num_labels - 1} in {what}, got "
                    f"{label}."
                )

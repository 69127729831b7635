r"""Attention: weighted means of a sequence of vectors, with weights that depend on a query."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from throughtime.checks import bounds, integer_lengths, shape_is, unknown, whole_number
from throughtime.kernels.transforms import is_transformed

__all__ = ["KINDS", "Attention", "AttentionMemory"]

KINDS = ("dot", "general", "additive")
"""The functions that compare a query with a key; see :class:`Attention`."""


@dataclass(frozen=True)
class AttentionMemory:
    """The sequence that is attended to, with its keys, which are computed once for all queries.

    Shapes:
        values: (B, S, M), zero past a row's end. keys: (B, S, Q or A). mask: (B, S), True where
        valid.
    """

    values: Tensor
    keys: Tensor
    mask: Tensor

    def rows(self, index: Tensor) -> AttentionMemory:
        """The memory of the rows of the batch that ``index`` lists, in its order."""
        named = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return AttentionMemory(**{name: t.index_select(0, index) for name, t in named.items()})


class Attention(nn.Module):
    r"""A weighted mean of the memory k_1 … k_S, the weights chosen by a query q_t:

        e_ts = q_t · k_s                          dot
        e_ts = q_t · W k_s                        general
        e_ts = v · tanh(W_q q_t + W_k k_s + b)    additive
        a_t  = softmax(e_t)
        c_t  = sum_s a_ts k_s

    Steps past a row's end have weight zero, even if they contain NaN.

    Args:
        kind: ``dot``, ``general`` or ``additive``.
        query_size: Q, the features of a query.
        memory_size: M, the features of a step of the memory; equal to Q for ``dot``.
        hidden_size: A, the hidden units of ``additive``; None is Q.

    Shapes:
        memory (prepare): values (B, S, M), lengths (B).
        query: (B, T, Q). context: (B, T, M). weights: (B, T, S); each row sums to 1.
        ``additive`` allocates an intermediate tensor (B, T, S, A), the others (B, T, S).

    Raises:
        ValueError: for an unknown kind, sizes that do not fit, or a row without valid steps.

    Source: Luong, Pham and Manning, arXiv 1508.04025, equation 8 and section 3.1 (``dot``,
    ``general``); Bahdanau, Cho and Bengio, arXiv 1409.0473, section 3.1 and appendix A.1.2
    (``additive``). Differs: ``additive`` has a bias.

    >>> look = Attention("general", query_size=4, memory_size=6)
    >>> memory = look.prepare(torch.randn(2, 5, 6), lengths=[5, 3])
    >>> context, weights = look(torch.randn(2, 7, 4), memory)
    >>> context.shape, weights.shape
    (torch.Size([2, 7, 6]), torch.Size([2, 7, 5]))
    """

    def __init__(
        self, kind: str, query_size: int, memory_size: int, hidden_size: int | None = None
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise unknown("attention", kind, KINDS)
        who = f'Attention("{kind}")'
        query_size = whole_number(who, "query_size", query_size)
        memory_size = whole_number(who, "memory_size", memory_size)
        if hidden_size is not None:
            hidden_size = whole_number(who, "hidden_size", hidden_size)
        if kind == "dot" and query_size != memory_size:
            raise ValueError(
                f'Attention("dot"): expected a memory as wide as the query, because they are '
                f"multiplied as they are, got query_size={query_size} and "
                f'memory_size={memory_size}. Use "general", which puts a matrix between them.'
            )
        if kind != "additive" and hidden_size is not None:
            raise ValueError(
                f'Attention("{kind}"): hidden_size={hidden_size} would have no effect, as only '
                f'"additive" has hidden units.'
            )
        self.kind, self.query_size, self.memory_size = kind, query_size, memory_size
        if kind == "general":
            self.key = nn.Linear(memory_size, query_size, bias=False)
        elif kind == "additive":
            hidden_size = query_size if hidden_size is None else hidden_size
            self.key = nn.Linear(memory_size, hidden_size)
            self.query = nn.Linear(query_size, hidden_size, bias=False)
            self.energy = nn.Linear(hidden_size, 1, bias=False)

    def prepare(self, values: Tensor, lengths: Tensor | list[int] | None = None) -> AttentionMemory:
        """Computes the memory that :meth:`forward` reads, once for any number of queries.

        Args:
            values: (B, S, M), the sequence to attend to.
            lengths: (B) whole numbers from 1 to S, the number of valid steps of each row; None if
                all are valid.
        """
        who = f'Attention("{self.kind}")'
        expected = ("B", "S", self.memory_size)
        shape_is(who, "values", values, expected, f"memory_size={self.memory_size}")
        mask = valid_steps(who, lengths, values)
        if lengths is not None:
            # A weight of zero is not enough: zero times NaN past a row's end is NaN.
            values = values.masked_fill(~mask.unsqueeze(-1), 0.0)
        return AttentionMemory(values, values if self.kind == "dot" else self.key(values), mask)

    def forward(self, query: Tensor, memory: AttentionMemory) -> tuple[Tensor, Tensor]:
        """The context of each query, and the attention weights that produced it."""
        expected = (memory.mask.shape[0], "T", self.query_size)
        who = f'Attention("{self.kind}")'
        shape_is(who, "query", query, expected, f"query_size={self.query_size}, as the memory has")
        if self.kind == "additive":
            both = self.query(query).unsqueeze(2) + memory.keys.unsqueeze(1)  # (B, T, S, A)
            energies = self.energy(both.tanh()).squeeze(-1)  # (B, T, S)
        else:
            energies = query @ memory.keys.transpose(1, 2)  # (B, T, S)
        energies = energies.masked_fill(~memory.mask.unsqueeze(1), float("-inf"))
        weights = energies.softmax(-1)
        return weights @ memory.values, weights  # (B, T, M)

    def extra_repr(self) -> str:
        return f'"{self.kind}", {self.query_size}, {self.memory_size}'


def valid_steps(who: str, lengths: Any, values: Tensor) -> Tensor:
    """The mask (B, S) of the steps of values (B, S, …) that are valid, at least one in each row."""
    B, S = values.shape[:2]
    if S == 0:
        raise ValueError(f"{who}: expected at least one step to look at, got a memory with none.")
    if lengths is None:
        return torch.ones(B, S, dtype=torch.bool, device=values.device)
    known = not_empty(who, integer_lengths(who, lengths, B, S))
    steps = torch.arange(S, device=values.device)
    return steps < known.to(values.device).unsqueeze(1)  # (B, S)


def not_empty(who: str, lengths: Tensor) -> Tensor:
    """Returns the lengths; raises a ValueError if one of them is zero."""
    low, _ = bounds(lengths) or (1, 1)
    if low > 0:
        return lengths
    where = "" if is_transformed() else f" in row {int(lengths.argmin())}"
    raise ValueError(
        f"{who}: expected at least one valid step in every row, got length 0{where}: "
        f"there is nothing to look at. Leave such rows out."
    )

"""The weights of a C file: constant arrays, or one binary file that the program loads."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from throughtime.kernels.printing.c_functions import BLOCKS
from throughtime.kernels.printing.c_text import number

__all__ = ["Arrays"]

_WIDTH = 100


@dataclass
class Arrays:
    """Collects the weights, and returns for each the expression by which C reads it.

    Args:
        prefix: what the names of arrays begin with.
        real: the type of the numbers, ``float`` or ``double``.
        is_int8: whether matrices have 8 bits for a weight, and one scale for each row.
        is_binary: whether the weights go to a binary file.
    """

    HEADER = 32
    """The number of bytes before the weights in a binary file: 16 letters of the hash, the number
    1, and zeros."""

    prefix: str
    real: str
    is_int8: bool
    is_binary: bool
    _reals: list[tuple[str, np.ndarray]] = field(default_factory=list)
    _bytes: list[tuple[str, np.ndarray]] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=lambda: {"weights": 0, "bytes": 0})

    @property
    def weight(self) -> str:
        """The type of the stored matrices."""
        return "int8_t" if self.is_int8 else self.real

    def vector(self, name: str, value: Tensor) -> str:
        """Adds an array of numbers."""
        dtype = torch.float32 if self.real == "float" else torch.float64
        array = value.detach().cpu().to(dtype)
        if array.isinf().any() and not value.isinf().any():
            raise ValueError(
                f"save_c: {name} has a value of {float(value.abs().max()):.3g}, which no float can "
                f'hold. Choose "double" as the type of the weights.'
            )
        return self._add(self._reals, "weights", name, array.numpy().reshape(-1))

    def matrix(self, name: str, value: Tensor, in_blocks: bool = True) -> tuple[str, str]:
        """Adds a matrix.

        Args:
            name: its name.
            value: (rows, columns).
            in_blocks: whether it is stored in blocks of rows, each of them column by column, and
                what is left row by row; otherwise it is wholly stored row by row.

        Returns:
            The expressions of the matrix, and of the scales of its rows; the latter is empty if it
            has none.
        """
        value = value.detach().cpu().to(torch.float64)
        if not self.is_int8:
            return self.vector(name, self._arranged(value, in_blocks)), ""
        scales = value.abs().amax(1) / 127
        whole = torch.where(scales[:, None] > 0, value / scales[:, None], 0.0).round()
        array = self._arranged(whole, in_blocks).numpy().astype(np.int8)
        return self._add(self._bytes, "bytes", name, array), self.vector(f"scale_{name}", scales)

    def _arranged(self, matrix: Tensor, in_blocks: bool) -> Tensor:
        """The numbers of a matrix in the order in which they are stored; see :meth:`matrix`."""
        parts: list[Tensor] = []
        if in_blocks:
            for height in BLOCKS[self.weight]:
                whole = len(matrix) // height * height
                parts += [block.T.flatten() for block in matrix[:whole].split(height)]
                matrix = matrix[whole:]
        return torch.cat([*parts, matrix.flatten()])

    def _add(
        self, arrays: list[tuple[str, np.ndarray]], base: str, name: str, array: np.ndarray
    ) -> str:
        arrays.append((name, array))
        place = self._places[base]
        self._places[base] += len(array)
        if self.is_binary:
            return f"({base} + {place})"
        return f"{self.prefix}{name}"

    @property
    def size(self) -> int:
        """The number of bytes of all weights."""
        return sum(array.nbytes for _, array in (*self._reals, *self._bytes))

    @property
    def hash(self) -> str:
        """The first 16 letters of the SHA-256 of all weights, as they are stored."""
        return hashlib.sha256(self._content()).hexdigest()[:16]

    def _content(self) -> bytes:
        return b"".join(
            array.astype(array.dtype.newbyteorder("<")).tobytes()
            for _, array in (*self._reals, *self._bytes)
        )

    def binary(self) -> bytes:
        """The content of the binary file."""
        one = np.ones(1, "<f4" if self.real == "float" else "<f8").tobytes()
        return (self.hash.encode() + one).ljust(self.HEADER, b"\0") + self._content()

    @property
    def num_reals(self) -> int:
        """The number of weights that are no 8-bit numbers."""
        return self._places["weights"]

    def declarations(self) -> list[str]:
        """The constant arrays as lines of C; none if the weights are in a binary file."""
        if self.is_binary:
            return []
        lines: list[str] = []
        for name, array in self._reals:
            numbers = [number(float(v), self.real) for v in array]
            lines += _declaration(self.real, f"{self.prefix}{name}", numbers)
        for name, array in self._bytes:
            lines += _declaration("int8_t", f"{self.prefix}{name}", [str(int(v)) for v in array])
        return lines


def _declaration(kind: str, name: str, numbers: list[str]) -> list[str]:
    lines = [f"static const {kind} {name}[{len(numbers)}] = {{"]
    line = "   "
    for text in numbers:
        if len(line) + len(text) + 2 > _WIDTH:
            lines.append(line)
            line = "   "
        line += f" {text},"
    return [*lines, line, "};"]

"""Problems of fixed length: adding, copying, temporal order and parity."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from throughtime.data.problems.problem import Examples, Problem, one_hot

__all__ = ["Adding", "Copying", "Parity", "TemporalOrder"]


class Adding(Problem):
    """The sum of the two marked numbers of a sequence.

    Each step has a value, uniform on [0, 1), and a marker, which is 1 at one step of each half of
    the sequence and 0 elsewhere. The target of the last step is the sum of the two marked values.
    A model that always says 1 has a mean squared error of 1/6.

    Source: Hochreiter and Schmidhuber (1997), section 5.4, in the form of Le, Jaitly and Hinton,
        arXiv 1504.00941.
    """

    name, measure, length = "adding", "steps", 600
    inputs, outputs = ("value", "marker"), ()

    def examples(self, draw: np.random.Generator, number: int, length: int) -> Examples:
        if length < 2:
            raise ValueError(f"adding: expected at least 2 steps, got {length}.")
        values, markers = draw.random((number, length), np.float32), np.zeros((number, length))
        rows, half = np.arange(number), length // 2
        markers[rows, draw.integers(0, half, number)] = 1
        markers[rows, draw.integers(half, length, number)] = 1
        inputs = torch.from_numpy(np.stack([values, markers], -1)).float()
        sums = inputs.prod(-1).sum(1)  # (B)
        return _of_the_last_step(inputs, sums, torch.zeros(number, length, 0, dtype=torch.bool))

    def parse(self, text: str) -> Tensor:
        """Numbers with spaces between them; a marked number ends with ``*``: ``0.5* 0.25 0.1*``."""
        steps = []
        for place, word in enumerate(text.split(), 1):
            try:
                steps.append([float(word.removesuffix("*")), float(word.endswith("*"))])
            except ValueError:
                raise ValueError(
                    f"word {place}: expected a number, with * if it is marked, got {word!r}."
                ) from None
        return torch.tensor(steps).reshape(len(steps), 2)


class Copying(Problem):
    """Ten symbols that are written again after a delay.

    The input is 10 symbols out of 8, ``length - 1`` blanks, the mark ``>``, and 10 blanks. The
    target is a blank at each of the first ``length + 10`` steps, and then the 10 symbols. A model
    without memory has a cross-entropy of 10 ln 8 / (length + 20) nats per step.

    Source: Hochreiter and Schmidhuber (1997), in the form of Arjovsky, Shah and Bengio,
        arXiv 1511.06464.
    """

    name, measure, length = "copying", "steps of delay", 1000
    inputs = outputs = tuple("12345678.>")
    num_copied = 10

    def examples(self, draw: np.random.Generator, number: int, length: int) -> Examples:
        n, steps = self.num_copied, length + 2 * self.num_copied
        copied = torch.from_numpy(draw.integers(0, 8, (number, n)))
        symbols = torch.full((number, steps), self.inputs.index("."))
        symbols[:, :n] = copied
        symbols[:, -n - 1] = self.inputs.index(">")
        targets = torch.full_like(symbols, self.outputs.index("."))
        targets[:, -n:] = copied
        legal = one_hot(targets, self.output_size).bool()
        # Only the copies are judged: the blanks before them need no memory.
        legal[:, :-n] = False
        return Examples(
            one_hot(symbols, self.input_size),
            torch.full((number,), steps),
            targets,
            torch.ones(number, steps, dtype=torch.bool),
            legal,
        )


class TemporalOrder(Problem):
    """The order of two symbols, X or Y each, that lie far apart among others.

    The first lies between a tenth and two tenths of the sequence, the second between five and six
    tenths. All other symbols are drawn from a, b, c, d. The target of the last step is one of the
    four classes XX, XY, YX, YY.

    Source: Hochreiter and Schmidhuber (1997), section 5.6, experiment 6a.
    """

    name, measure, length = "temporal-order", "steps", 100
    inputs, outputs = tuple("abcdXY"), ("XX", "XY", "YX", "YY")

    def examples(self, draw: np.random.Generator, number: int, length: int) -> Examples:
        if length < 10:
            raise ValueError(f"temporal-order: expected at least 10 steps, got {length}.")
        symbols, rows = draw.integers(0, 4, (number, length)), np.arange(number)
        first, second = draw.integers(0, 2, number), draw.integers(0, 2, number)
        tenth = length // 10
        symbols[rows, draw.integers(tenth, 2 * tenth, number)] = 4 + first
        symbols[rows, draw.integers(5 * tenth, 6 * tenth, number)] = 4 + second
        classes = torch.from_numpy(2 * first + second)
        inputs = one_hot(torch.from_numpy(symbols), self.input_size)
        return _of_the_last_step(inputs, classes, _legal_at_last(classes, length, 4))


class Parity(Problem):
    """Whether a sequence of bits has an even or an odd number of ones.

    Each sequence has a length from 1 to ``length``. The target of its last step is the parity.
    """

    name, measure, length = "parity", "bits", 50
    inputs, outputs = ("0", "1"), ("even", "odd")

    def examples(self, draw: np.random.Generator, number: int, length: int) -> Examples:
        lengths = torch.from_numpy(draw.integers(1, length + 1, number))
        bits = torch.from_numpy(draw.integers(0, 2, (number, length)))[:, : int(lengths.max())]
        is_valid = torch.arange(bits.shape[1]) < lengths[:, None]
        parity = (bits * is_valid).sum(1) % 2
        is_last = torch.arange(bits.shape[1]) == lengths[:, None] - 1
        targets = torch.where(is_last, parity[:, None], 0)
        return Examples(
            one_hot(bits, 2) * is_valid[..., None],
            lengths,
            targets,
            is_last,
            one_hot(targets, 2).bool() & is_last[..., None],
        )


def _of_the_last_step(inputs: Tensor, targets: Tensor, legal: Tensor) -> Examples:
    """Examples of one length whose last step alone has a target (B)."""
    B, T = inputs.shape[:2]
    at_steps = targets.new_zeros(B, T)
    at_steps[:, -1] = targets
    has_target = torch.zeros(B, T, dtype=torch.bool)
    has_target[:, -1] = True
    return Examples(inputs, torch.full((B,), T), at_steps, has_target, legal)


def _legal_at_last(classes: Tensor, length: int, size: int) -> Tensor:
    legal = torch.zeros(len(classes), length, size, dtype=torch.bool)
    legal[:, -1] = one_hot(classes, size).bool()
    return legal

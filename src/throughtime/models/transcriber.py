"""Recurrent networks over the features of a signal: the scores of symbols, or an encoder."""

from __future__ import annotations

from abc import ABC
from typing import Any

import torch
from torch import Tensor, nn

from throughtime.cells.cell import Cell
from throughtime.checks import whole_number
from throughtime.layers.dropout import Dropout
from throughtime.layers.evaluation import evaluating
from throughtime.layers.recurrent import Recurrent

__all__ = ["SignalEncoder", "Transcriber", "TranscriberStream", "joined", "num_steps"]


def joined(x: Tensor, size: int) -> Tensor:
    """Joins ``size`` consecutive steps to one: (B, T, I) to (B, ceil(T / size), size * I).

    The last step is filled up with zeros.
    """
    if size == 1:
        return x
    B, T, I = x.shape
    x = nn.functional.pad(x, (0, 0, 0, -T % size))
    return x.reshape(B, -1, size * I)


def num_steps(length: Any, stack: int, pyramid: int) -> Any:
    """The number of steps of the scores of ``length`` steps, a whole number or a tensor of them."""
    for size in [stack] + [2] * pyramid:
        length = -(-length // size)
    return length


class _Layers(nn.Module, ABC):
    r"""Recurrent layers that read the steps of a signal, and may shorten its time.

        x'_t = [x_{kt}, …, x_{kt+k-1}]              k steps are joined (stack)
        h = Recurrent(x')

    The first ``pyramid`` layers are each followed by joining two steps to one, so that each of them
    halves the number of steps. The arguments are those of :class:`Transcriber`.
    """

    def __init__(
        self,
        input_size: int,
        *,
        cell: Cell | str = "lstm",
        hidden_size: int = 128,
        num_layers: int = 1,
        stack: int = 1,
        pyramid: int = 0,
        dropout: float = 0.0,
        reset_rate: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__()
        who = type(self).__name__
        stack = whole_number(who, "stack", stack)
        if not 0 <= pyramid < num_layers:
            raise ValueError(
                f"{who}: expected pyramid from 0 to {num_layers - 1}, because num_layers="
                f"{num_layers}, got {pyramid}."
            )
        if not 0 <= reset_rate < 1:
            raise ValueError(
                f"{who}: expected reset_rate as a probability from 0 to less than 1, got "
                f"{reset_rate}."
            )
        self.input_size, self.reset_rate = input_size, reset_rate
        self.hidden_size, self.num_layers = hidden_size, num_layers
        self.stack, self.pyramid = stack, pyramid
        blocks, size = [], stack * input_size
        for depth in [1] * pyramid + [num_layers - pyramid]:
            block = Recurrent(
                cell,
                size,
                hidden_size,
                depth,
                batch_first=True,
                dropout=dropout if depth > 1 else 0.0,
                **options,
            )
            blocks.append(block)
            size = 2 * block.output_size
        self.output_size: int = blocks[-1].output_size
        self.blocks, self.dropout = nn.ModuleList(blocks), Dropout(dropout)

    def read(self, x: Tensor, lengths: Any) -> tuple[Tensor, Any]:
        """The outputs h (B, T', H) of the layers, and the number of valid steps of each row."""
        x, lengths = joined(x, self.stack), num_steps(lengths, self.stack, 0)
        for i, block in enumerate(self.blocks):
            if i:
                x, lengths = joined(self.dropout(x), 2), num_steps(lengths, 2, 0)
            resets = None
            if self.training and self.reset_rate:
                resets = torch.rand(x.shape[:2], device=x.device) < self.reset_rate
            x, _ = block(x, lengths=lengths, resets=resets)  # (B, T', size), zero past a row's end
        return x, lengths

    def num_steps(self, length: Any) -> Any:
        """The number of steps of the outputs for ``length`` steps of the input."""
        return num_steps(length, self.stack, self.pyramid)


class SignalEncoder(_Layers):
    """The layers of a :class:`Transcriber` as the encoder of an :class:`EncoderDecoder`.

    Shapes:
        x: (B, T, I). lengths: (B), or None. returns (B, T', output_size) and (B).

    >>> encoder = SignalEncoder(40, hidden_size=8, num_layers=2, stack=2, pyramid=1)
    >>> values, lengths = encoder(torch.randn(2, 10, 40), torch.tensor([10, 3]))
    >>> values.shape, lengths.tolist()
    (torch.Size([2, 3, 8]), [3, 1])
    """

    def forward(self, x: Tensor, lengths: Tensor | list[int] | None) -> tuple[Tensor, Tensor]:
        """The values to attend to, and how many of each row are valid."""
        B, T, _ = x.shape
        valid = torch.full((B,), T) if lengths is None else torch.as_tensor(lengths)
        values, valid = self.read(x, valid)
        return self.dropout(values), valid


class Transcriber(_Layers):
    r"""Scores the symbols at each step, for connectionist temporal classification:

        x'_t = [x_{kt}, …, x_{kt+k-1}]              k steps are joined (stack)
        h = Recurrent(x');   y_t = W h_t + b

    The first ``pyramid`` layers are each followed by joining two steps to one, so that each of them
    halves the number of steps.

    Args:
        num_classes: C, the number of symbols, with the blank, which is class 0.
        input_size: I, the number of features.
        cell, hidden_size, num_layers: of the recurrent layers.
        stack: k, how many steps of the input are joined.
        pyramid: the number of layers that halve the time; less than ``num_layers``.
        dropout: the probability to drop a unit between layers and before the scores.
        reset_rate: in training, the probability of each step that the state is set back to its
            initial value before it. The layers then cannot tell the beginning of a sequence from
            other steps, nor learn which symbols come first.
        options: see :class:`throughtime.Recurrent`; all of its options.

    Shapes:
        x: (B, T, I). lengths: (B). y: (B, T', C), with T' = ceil(ceil(T / k) / 2^pyramid).

    Source: of the pyramid, Chan et al., arXiv 1508.01211, equation 5.

    >>> model = Transcriber(5, 40, hidden_size=8, num_layers=2, stack=2, pyramid=1)
    >>> model(torch.randn(2, 10, 40), torch.tensor([10, 3])).shape
    torch.Size([2, 3, 5])
    """

    def __init__(self, num_classes: int, input_size: int, **layers: Any) -> None:
        num_classes = whole_number("Transcriber", "num_classes", num_classes)
        super().__init__(input_size, **layers)
        self.num_classes = num_classes
        self.output = nn.Linear(self.output_size, num_classes)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """The scores of the symbols at each step."""
        h, _ = self.read(x, lengths)
        return self.output(self.dropout(h))

    def stream(self) -> TranscriberStream:
        """Reads the steps of one sequence as they arrive.

        Raises:
            ValueError: if the layers are bidirectional.
        """
        return TranscriberStream(self)


class TranscriberStream:
    """Scores the steps of one sequence as they arrive; the scores equal those of the whole.

    Args:
        model: a model that reads in one direction.
    """

    def __init__(self, model: Transcriber) -> None:
        self.model = model
        self._streams = [block.stream() for block in model.blocks]  # pyright: ignore
        self._sizes = [model.stack] + [2] * model.pyramid
        self._waiting: list[Tensor | None] = [None] * len(self._sizes)

    def read(self, x: Tensor, *, is_end: bool = False) -> Tensor:
        """The scores (T', C) of the steps that are known with these (T, I).

        Args:
            x: the next steps.
            is_end: whether they are the last, so that an incomplete group is filled up with zeros.
        """
        model = self.model
        y = x[None]  # (1, T, I)
        with evaluating(model):
            for i, stream in enumerate(self._streams):
                before, size = self._waiting[i], self._sizes[i]
                y = y if before is None else torch.cat([before, y], 1)
                T = y.shape[1] if is_end else y.shape[1] // size * size
                self._waiting[i], y = y[:, T:], joined(y[:, :T], size)
                if not y.shape[1]:
                    width = self._streams[i].module.output_size
                    y = y.new_zeros(1, 0, width)  # pyright: ignore
                    continue
                y = stream.read(y)
            return model.output(y)[0]

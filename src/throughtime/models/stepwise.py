"""Networks with a linear output at every step: a recurrent one, and one that reads a window."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from throughtime.cells.cell import Cell
from throughtime.checks import whole_number
from throughtime.layers.recurrent import Recurrent

__all__ = ["StepwiseNetwork", "WindowLayers", "WindowNetwork"]


class StepwiseNetwork(nn.Module):
    """A recurrent network with a linear output at every step: y_t = W h_t + b.

    Args:
        input_size, output_size: I and O, the widths of x_t and y_t.
        cell: the cell of the recurrent layers, or its name.
        hidden_size, num_layers: the units of each layer and direction, and the number of layers.
        options: see :class:`throughtime.Recurrent`.

    Shapes:
        x: (B, T, I). lengths: (B). y: (B, T, O); outputs past the end of a row are meaningless.

    >>> StepwiseNetwork(3, 5, hidden_size=8)(torch.rand(2, 7, 3)).shape
    torch.Size([2, 7, 5])
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        cell: Cell | str = "lstm",
        hidden_size: int = 128,
        num_layers: int = 1,
        **options: Any,
    ) -> None:
        super().__init__()
        self.input_size = whole_number("StepwiseNetwork", "input_size", input_size)
        self.output_size = whole_number("StepwiseNetwork", "output_size", output_size)
        self.hidden_size, self.num_layers, self.options = hidden_size, num_layers, options
        self.recurrent = Recurrent(
            cell, input_size, hidden_size, num_layers, batch_first=True, **options
        )
        self.cell = self.recurrent.cell
        self.output = nn.Linear(self.recurrent.output_size, output_size)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        h, _ = self.recurrent(x, lengths=lengths)
        return self.output(h)


class WindowLayers(nn.Module):
    """The hidden layers of a feed-forward network that reads the last steps at every step.

    The first layer is a convolution over the window, zeros stand before the first step, and
    rectifiers follow all layers. It remembers nothing that is older than its window, so it shows
    what a problem needs a memory for.

    Args:
        input_size: I, the width of x_t.
        window: the number of steps that it reads, the present one included.
        hidden_size, num_layers: H, the units of a layer, and the number of layers.

    Shapes:
        x: (B, T, I). h: (B, T, H).

    >>> WindowLayers(3, window=4, hidden_size=8)(torch.rand(2, 7, 3)).shape
    torch.Size([2, 7, 8])
    """

    def __init__(
        self, input_size: int, *, window: int = 10, hidden_size: int = 128, num_layers: int = 1
    ) -> None:
        super().__init__()
        sizes = {"input_size": input_size, "window": window}
        sizes |= {"hidden_size": hidden_size, "num_layers": num_layers}
        for name, size in sizes.items():
            setattr(self, name, whole_number(type(self).__name__, name, size))
        self.first = nn.Conv1d(input_size, hidden_size, window)
        layers: list[nn.Module] = [nn.ReLU()]
        for _ in range(num_layers - 1):
            layers += [nn.Linear(hidden_size, hidden_size), nn.ReLU()]
        self.rest = nn.Sequential(*layers)
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        padded = nn.functional.pad(x.mT, (self.window - 1, 0))  # (B, I, window - 1 + T)
        return self.rest(self.first(padded).mT)


class WindowNetwork(WindowLayers):
    """A feed-forward network with a linear output that reads the last steps at every step.

    Args:
        input_size, output_size: I and O, the widths of x_t and y_t.
        window, hidden_size, num_layers: see :class:`WindowLayers`.

    Shapes:
        x: (B, T, I). lengths: not used. y: (B, T, O).

    >>> WindowNetwork(3, 5, window=4)(torch.rand(2, 7, 3)).shape
    torch.Size([2, 7, 5])
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        window: int = 10,
        hidden_size: int = 128,
        num_layers: int = 1,
    ) -> None:
        super().__init__(input_size, window=window, hidden_size=hidden_size, num_layers=num_layers)
        self.output_size = whole_number("WindowNetwork", "output_size", output_size)
        self.rest.append(nn.Linear(hidden_size, output_size))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        return super().forward(x)

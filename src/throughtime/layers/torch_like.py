"""RNN, LSTM and GRU with the signatures, state dicts and returns of ``torch.nn``.

They take the arguments of the ``torch.nn`` modules, in the same order and under the same names, and
load their state dicts unchanged. In addition they take ``lengths`` and ``resets``, and the
keyword-only options of :class:`throughtime.Recurrent`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from throughtime.checks import unknown
from throughtime.layers.recurrent import Recurrent
from throughtime.layers.spec import OPTIONS

__all__ = ["GRU", "LSTM", "RNN"]


class _TorchLike(Recurrent):
    """The attributes of ``torch.nn.RNNBase`` that existing code reads, as read-only properties.

    Those with an underscore are included, because other libraries read them.
    """

    _draws_as_torch = True

    @property
    def all_weights(self) -> list[list[nn.Parameter]]:
        """The parameters, one list for each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    @property
    def mode(self) -> str:
        """``LSTM``, ``GRU``, ``RNN_TANH`` or ``RNN_RELU``."""
        return str(self.cell.torch_equivalent)

    @property
    def _all_weights(self) -> list[list[str]]:
        """The names of :attr:`all_weights`."""
        names = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if self.bias else [])]
        names += ["weight_hr"] if self.proj_size else []
        suffixes = [s for layer in range(self.num_layers) for s in self._suffixes(layer)]
        return [[f"{name}{suffix}" for name in names] for suffix in suffixes]

    @property
    def _flat_weights_names(self) -> list[str]:
        """The names of :attr:`all_weights` in one flat list."""
        return [name for names in self._all_weights for name in names]

    @property
    def _flat_weights(self) -> list[nn.Parameter]:
        """The parameters in one flat list, as the operators of PyTorch take them.

        Each access creates a new list; changing the list does not change the layer.
        """
        return [getattr(self, name) for name in self._flat_weights_names]

    def flatten_parameters(self) -> None:
        """Does nothing, because there is nothing to flatten; exists for code that calls it."""


def _arguments(local: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of :class:`throughtime.Recurrent` among the local names of a constructor."""
    return {name: local[name] for name in (*OPTIONS, "device", "dtype")}


class RNN(_TorchLike):
    r"""h_t = tanh(W x_t + R h_{t-1} + b), as ``torch.nn.RNN``; or the rectifier for tanh.

    Args:
        input_size, hidden_size, num_layers: I, H, L.
        nonlinearity: ``tanh`` or ``relu``.
        bias, batch_first, dropout, bidirectional, device, dtype, and the keyword-only
            options: see :class:`throughtime.Recurrent`, also for the shapes.

    >>> output, h = RNN(3, 5)(torch.zeros(7, 2, 3))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        merge: str = "concat",
        backend: str = "auto",
        save: str = "gates",
        strict: bool = False,
        locked_dropout: bool = False,
        recurrent_dropout: float = 0.0,
        zoneout: float | Mapping[str, float] = 0.0,
        weight_drop: float = 0.0,
        learned_state: bool = False,
        residual: bool = False,
        independent: bool = False,
        proj_size: int = 0,
        activations: Mapping[str, str | Callable[[Tensor], Tensor]] | None = None,
        clip: float | None = None,
        forget_bias: float | str | None = None,
        chrono_steps: float | None = None,
        recurrent_init: str | None = None,
    ) -> None:
        arguments = _arguments(locals())
        if nonlinearity not in ("tanh", "relu"):
            raise unknown("nonlinearity", nonlinearity, ("tanh", "relu"))
        super().__init__(f"rnn-{nonlinearity}", **arguments)
        self.nonlinearity = nonlinearity


class LSTM(_TorchLike):
    r"""The LSTM of ``torch.nn.LSTM``; the equations are those of the cell ``lstm``.

    Args:
        input_size, hidden_size, num_layers: I, H, L.
        bias, batch_first, dropout, bidirectional, device, dtype, and the keyword-only
            options: see :class:`throughtime.Recurrent`, also for the shapes.
        proj_size: P, the units of the projected output; 0 is none.

    >>> output, (h, c) = LSTM(3, 5)(torch.zeros(7, 2, 3))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        merge: str = "concat",
        backend: str = "auto",
        save: str = "gates",
        strict: bool = False,
        locked_dropout: bool = False,
        recurrent_dropout: float = 0.0,
        zoneout: float | Mapping[str, float] = 0.0,
        weight_drop: float = 0.0,
        learned_state: bool = False,
        residual: bool = False,
        independent: bool = False,
        activations: Mapping[str, str | Callable[[Tensor], Tensor]] | None = None,
        clip: float | None = None,
        forget_bias: float | str | None = None,
        chrono_steps: float | None = None,
        recurrent_init: str | None = None,
    ) -> None:
        super().__init__("lstm", **_arguments(locals()))


class GRU(_TorchLike):
    r"""The GRU of ``torch.nn.GRU``; the equations are those of the cell ``gru``.

    Args:
        input_size, hidden_size, num_layers: I, H, L.
        bias, batch_first, dropout, bidirectional, device, dtype, and the keyword-only
            options: see :class:`throughtime.Recurrent`, also for the shapes.

    >>> output, h = GRU(3, 5)(torch.zeros(7, 2, 3))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        merge: str = "concat",
        backend: str = "auto",
        save: str = "gates",
        strict: bool = False,
        locked_dropout: bool = False,
        recurrent_dropout: float = 0.0,
        zoneout: float | Mapping[str, float] = 0.0,
        weight_drop: float = 0.0,
        learned_state: bool = False,
        residual: bool = False,
        independent: bool = False,
        proj_size: int = 0,
        activations: Mapping[str, str | Callable[[Tensor], Tensor]] | None = None,
        clip: float | None = None,
        forget_bias: float | str | None = None,
        chrono_steps: float | None = None,
        recurrent_init: str | None = None,
    ) -> None:
        super().__init__("gru", **_arguments(locals()))

"""Runs a network on steps as they arrive, and keeps its state between them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn

from throughtime.layers.evaluation import evaluating
from throughtime.reading import Entries, json_value, typed

__all__ = ["Stream"]


class Stream:
    """Reads a sequence step by step or in pieces, and keeps the module's state between calls.

    The outputs equal those of the whole sequence in one call, however it is cut into pieces. No
    gradient is recorded, and memory use does not grow.

    Args:
        module: called as ``module(x, state) -> (y, state)``, with time first or second.
        batch_first: whether the module's sequences are (B, T, …) instead of (T, B, …).

    Shapes:
        step: x and y (B, …), one time step. read: sequences in the module's layout.

    >>> from throughtime.layers import LSTM
    >>> stream = LSTM(3, 5).stream()
    >>> stream.step(torch.zeros(2, 3)).shape
    torch.Size([2, 5])
    """

    def __init__(self, module: nn.Module, batch_first: bool) -> None:
        self.module, self.batch_first = module, batch_first
        self.state: Any = None
        """The module's state after the last step; None before the first step."""

    def step(self, x: Tensor, inputs: Mapping[str, Tensor] | None = None) -> Tensor:
        """Reads one time step of each row, and returns its output.

        Args:
            x: the input of the step.
            inputs: the further inputs of a cell that declares ``inputs``: (B, H) or (B, 1) by name.
        """
        time = 1 if self.batch_first else 0
        if inputs is not None:
            inputs = {name: value.unsqueeze(time) for name, value in inputs.items()}
        return self.read(x.unsqueeze(time), inputs).squeeze(time)

    def read(self, x: Tensor, inputs: Mapping[str, Tensor] | None = None) -> Tensor:
        """Reads a piece of any number of steps, and returns its outputs; see :meth:`step`."""
        more = {} if inputs is None else {"inputs": inputs}
        # Evaluation mode, because dropout would make the outputs random.
        with evaluating(self.module):
            y, self.state = self.module(x, self.state, **more)
        return y

    def fork(self) -> Stream:
        """A second, independent stream that continues from the present state."""
        other = Stream(self.module, self.batch_first)
        # Shared without a copy: a step creates a new state and never writes into the old one.
        other.state = self.state
        return other

    def reset(self) -> None:
        """Discards the state, so that the next step begins a new sequence."""
        self.state = None

    def save(self, path: str | Path) -> None:
        """Writes the state into a safetensors file.

        Raises:
            ValueError: if there is no state yet, before the first step.
        """
        if self.state is None:
            raise ValueError("Stream.save: there is no state before the first step.")
        states = [self.state] if isinstance(self.state, Tensor) else list(self.state)
        named = {f"state.{i}": s.contiguous() for i, s in enumerate(states)}
        about = {"stream": json.dumps({"is_tuple": not isinstance(self.state, Tensor)})}
        save_file(named, str(path), about)

    def load(self, path: str | Path) -> None:
        """Continues from a state that :meth:`save` wrote.

        The file is read into memory, so later changes of the file do not change the state.

        Raises:
            ValueError: if the file holds no state, or is damaged.
        """
        content = Path(path).read_bytes()
        try:
            tensors = load(content)
            about = json_value(str(path), _metadata(content)["stream"])
            is_tuple = typed(str(path), about, Entries({"is_tuple": bool}))["is_tuple"]
            # At least one; a missing number is a KeyError.
            states = [tensors[f"state.{i}"] for i in range(max(1, len(tensors)))]
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}: expected the state of a stream, as Stream.save writes it ({error})."
            ) from error
        device = next(self.module.parameters()).device
        states = [s.to(device) for s in states]
        self.state = tuple(states) if is_tuple else states[0]


def _metadata(content: bytes) -> dict[str, str]:
    """The metadata strings in the header of a safetensors file.

    The file begins with the size of the header, eight bytes in little-endian order. The header is
    JSON, with the strings under ``__metadata__``.
    """
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]).get("__metadata__", {})

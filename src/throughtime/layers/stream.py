"""One step after the other, as they come: a network that carries its own state."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn

from throughtime.layers.evaluation import evaluating

__all__ = ["Stream"]


class Stream:
    """A running sequence: it is given steps as they come, and keeps the state between them.

    However the steps are cut into pieces, the outputs are those of the whole sequence. Nothing is
    derived, and memory does not grow.

    Args:
        module: called as ``module(x, state) -> (y, state)``, with time first or second.
        batch_first: whether its sequences are (B, T, …).

    Shapes:
        step: x (B, …) of one step; y (B, …). read: sequences as the module takes them.

    >>> from throughtime.layers import LSTM
    >>> stream = LSTM(3, 5).stream()
    >>> stream.step(torch.zeros(2, 3)).shape
    torch.Size([2, 5])
    """

    def __init__(self, module: nn.Module, batch_first: bool) -> None:
        self.module, self.batch_first = module, batch_first
        self.state: Any = None
        """What was carried so far; None before the first step."""

    def step(self, x: Tensor, inputs: Mapping[str, Tensor] | None = None) -> Tensor:
        """Takes one step of each row, and gives its output.

        Args:
            inputs: what enters the step besides x, where the cell declares ``inputs``: (B, H) or
                (B, 1) by name.
        """
        time = 1 if self.batch_first else 0
        if inputs is not None:
            inputs = {name: value.unsqueeze(time) for name, value in inputs.items()}
        return self.read(x.unsqueeze(time), inputs).squeeze(time)

    def read(self, x: Tensor, inputs: Mapping[str, Tensor] | None = None) -> Tensor:
        """Takes a piece of any number of steps, and gives its outputs; see :meth:`step`."""
        more = {} if inputs is None else {"inputs": inputs}
        # Dropout would make other numbers of the same sequence.
        with evaluating(self.module):
            y, self.state = self.module(x, self.state, **more)
        return y

    def fork(self) -> Stream:
        """A second stream that goes on from here; neither changes the other."""
        other = Stream(self.module, self.batch_first)
        # No step writes into a state: it makes the next one.
        other.state = self.state
        return other

    def reset(self) -> None:
        """Goes back to the beginning."""
        self.state = None

    def save(self, path: str | Path) -> None:
        """Writes the state into a safetensors file.

        Raises:
            ValueError: before the first step, when there is none.
        """
        if self.state is None:
            raise ValueError("Stream.save: there is no state before the first step.")
        states = [self.state] if isinstance(self.state, Tensor) else list(self.state)
        named = {f"state.{i}": s.contiguous() for i, s in enumerate(states)}
        about = {"stream": json.dumps({"is_tuple": not isinstance(self.state, Tensor)})}
        save_file(named, str(path), about)

    def load(self, path: str | Path) -> None:
        """Goes on from a state that :meth:`save` wrote.

        The file is read into memory, so what happens to it later does not change the state.

        Raises:
            ValueError: for a file that holds no state, or is damaged.
        """
        content = Path(path).read_bytes()
        try:
            tensors = load(content)
            is_tuple = json.loads(_metadata(content)["stream"])["is_tuple"]
            states = [tensors[f"state.{i}"] for i in range(len(tensors))]
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}: expected the state of a stream, as Stream.save writes it ({error})."
            ) from error
        device = next(self.module.parameters()).device
        states = [s.to(device) for s in states]
        self.state = tuple(states) if is_tuple else states[0]


def _metadata(content: bytes) -> dict[str, str]:
    """The texts in the header of a safetensors file.

    The file begins with the size of the header, eight bytes of which the lowest comes first; the
    header is JSON, with the texts under ``__metadata__``.
    """
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]).get("__metadata__", {})

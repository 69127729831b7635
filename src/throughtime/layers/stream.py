"""Runs a network on steps as they arrive, and keeps its state between them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn

from throughtime.checks import unknown
from throughtime.kernels import Explanation
from throughtime.kernels.cpp.plan import WEIGHTS
from throughtime.layers.evaluation import evaluating
from throughtime.layers.live import Live
from throughtime.layers.planning import Network
from throughtime.reading import Entries, json_value, typed

__all__ = ["Stream"]


class Stream:
    """Reads a sequence step by step or in pieces, and keeps the module's state between calls.

    The outputs equal those of the whole sequence in one call, however it is cut into pieces. No
    gradient is recorded, and memory use does not grow.

    Args:
        module: called as ``module(x, state) -> (y, state)``, with time first or second.
        batch_first: whether the module's sequences are (B, T, …) instead of (T, B, …).
        describe: returns the parts of the module for a compiled plan, which then runs the steps
            wherever it can; None if each step is a call of the module.
        weights: ``bfloat16`` or ``int8``: the plan stores the weights of matrix products in this
            type, and computes in float32; with ``int8`` each row of a matrix has a scale. From
            about 512 units on a step takes the time of reading its weights. None stores them as
            the module does.

    Shapes:
        step: x and y (B, …), one time step. read: sequences in the module's layout. A layer also
            reads one sequence without a batch: x (I,) and y (H,), or sequences (T, I).

    >>> from throughtime.layers import LSTM
    >>> stream = LSTM(3, 5).stream()
    >>> stream.step(torch.zeros(2, 3)).shape
    torch.Size([2, 5])
    """

    def __init__(
        self,
        module: nn.Module,
        batch_first: bool,
        describe: Callable[[], Network] | None = None,
        weights: str | None = None,
    ) -> None:
        if weights not in WEIGHTS:
            raise unknown("weights", weights, [w for w in WEIGHTS if w is not None])
        if weights is not None and describe is None:
            raise ValueError(
                f'Stream: weights="{weights}" needs a compiled plan, and a '
                f"{type(module).__name__} has none. Use weights=None."
            )
        self.module, self.batch_first = module, batch_first
        self._describe, self._weights = describe, weights
        self._live = None if describe is None else Live(module, describe, weights)
        self._state: Any = None
        # The state that advance() has returned, if no other call has followed, and how often its
        # tensors had been written to.
        self._returned: Any = None
        self._versions: list[int] | None = None

    @property
    def state(self) -> Any:
        """The module's state after the last step; None before the first step."""
        if self._live is not None and self._live.has_states:
            states = self._live.take_states()
            self._state = states[0] if len(states) == 1 else states
        return self._state

    @state.setter
    def state(self, value: Any) -> None:
        if self._live is not None:
            self._live.has_states = False
        self._state, self._returned = value, None

    def step(self, x: Tensor, inputs: Mapping[str, Tensor] | None = None) -> Tensor:
        """Reads one time step of each row, and returns its output.

        Args:
            x: the input of the step.
            inputs: the further inputs of a cell that declares ``inputs``: (B, H) or (B, 1) by name.
        """
        self._returned = None
        if self._live is not None:
            y = self._live.run(x, inputs, self._state, is_step=True)
            if y is not None:
                return y
            self._check_may_call(x, inputs, is_step=True)
        # A layer, unlike a model of tokens, also reads sequences (T, I) without a batch.
        is_single = x.dim() == 1 and hasattr(self.module, "input_size")
        time = 1 if self.batch_first and not is_single else 0
        if inputs is not None:
            inputs = {name: value.unsqueeze(time) for name, value in inputs.items()}
        return self._call(x.unsqueeze(time), inputs).squeeze(time)

    def read(self, x: Tensor, inputs: Mapping[str, Tensor] | None = None) -> Tensor:
        """Reads a piece of any number of steps, and returns its outputs; see :meth:`step`."""
        self._returned = None
        if self._live is not None:
            y = self._live.run(x, inputs, self._state, is_step=False)
            if y is not None:
                return y
            self._check_may_call(x, inputs, is_step=False)
        return self._call(x, inputs)

    def advance(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Reads one step from a state that the caller keeps.

        Any earlier state may be passed. It takes the least time to go on from the state that the
        last call has returned, and more if the number of rows changes: then the bytes of the
        weights are compared, as at the beginning of a sequence.

        Args:
            x: the input of the step.
            state: the module's state before the step.

        Returns:
            The output, and the state after the step.
        """
        live = self._live
        if not self._is_present(state) and not (live is not None and live.replace_states(state)):
            self.state = state
        y = self.step(x)
        if live is not None and live.has_states:
            states = live.copied_states()
            state = states[0] if len(states) == 1 else states
        else:
            state = self._state
        self._returned, self._versions = state, _versions(state)
        return y, state

    def _is_present(self, state: Any) -> bool:
        """Whether a state is what the last call has returned, and nothing has changed since."""
        if state is None or state is not self._returned or self._versions is None:
            return False
        return _versions(state) == self._versions

    def _check_may_call(self, x: Any, inputs: Any, is_step: bool) -> None:
        """Raises a ValueError if a call of the module would use other weights than the plan."""
        if self._weights is None or self._live is None:
            return
        why = self._live.refusal(x, inputs, self._state, is_step) or "a token has no embedding"
        raise ValueError(f'Stream: weights="{self._weights}" cannot run this: {why}.')

    def _call(self, x: Tensor, inputs: Mapping[str, Tensor] | None) -> Tensor:
        """Calls the module with a piece of a sequence."""
        more = {} if inputs is None else {"inputs": inputs}
        # Evaluation mode, because dropout would make the outputs random.
        with evaluating(self.module):
            y, self.state = self.module(x, self.state, **more)
        return y

    def fork(self) -> Stream:
        """A second, independent stream that continues from the present state."""
        other = Stream(self.module, self.batch_first, self._describe, self._weights)
        # Shared without a copy: a step creates a new state and never writes into the old one.
        other._state = self._state
        other._live = None if self._live is None else self._live.fork()
        return other

    def reset(self, rows: Tensor | None = None) -> None:
        """Discards the state, so that the next step begins a new sequence.

        Args:
            rows: (B) bool, True for each row that begins a new sequence; None for all rows.

        Raises:
            ValueError: if ``rows`` is not a mask of the rows, or the module is not made of
                recurrent layers, whose initial states are known.
        """
        if rows is None:
            self.state = None
            return
        self._returned = None
        if self._live is None:
            raise ValueError(
                f"Stream.reset: single rows of a {type(self.module).__name__} cannot be reset, "
                "because their initial state is not known. Call reset() for all rows."
            )
        if self._live.has_states:
            self._live.reset_rows(rows)
        elif self._state is not None:
            self._state = self._live.with_rows_reset(self._state, rows)

    def explain(self, x: Tensor, inputs: Mapping[str, Tensor] | None = None) -> Explanation:
        """Tells whether the compiled plan would run this step, and why not.

        Args:
            x, inputs: the arguments of :meth:`step`.

        Returns:
            The backend is ``plan``, or ``module`` for a call of the module; ``explain`` of a layer
            tells which backend runs that.
        """
        if self._live is None:
            why = f"a {type(self.module).__name__} is not made of recurrent layers"
        else:
            why = self._live.refusal(x, inputs, self._state, is_step=True)
        return Explanation("module", {"plan": [why]}) if why else Explanation("plan", {})

    def __getstate__(self) -> dict[str, Any]:
        # A copy, or a process that unpickles the stream, makes a plan of its own.
        state = self.state
        return {**vars(self), "_live": None, "_state": state}

    def __setstate__(self, values: dict[str, Any]) -> None:
        vars(self).update(values)
        if self._describe is not None:
            self._live = Live(self.module, self._describe, self._weights)

    def save(self, path: str | Path) -> None:
        """Writes the state into a safetensors file.

        Raises:
            ValueError: if there is no state yet, before the first step.
        """
        state = self.state
        if state is None:
            raise ValueError("Stream.save: there is no state before the first step.")
        states = [state] if isinstance(state, Tensor) else list(state)
        named = {f"state.{i}": s.contiguous() for i, s in enumerate(states)}
        about = {"stream": json.dumps({"is_tuple": not isinstance(state, Tensor)})}
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


def _versions(state: Any) -> list[int] | None:
    """How often each tensor of a state has been written to; None if PyTorch does not count that."""
    states = [state] if isinstance(state, Tensor) else state
    if not isinstance(states, (tuple, list)) or any(s.is_inference() for s in states):
        return None
    return [s._version for s in states]


def _metadata(content: bytes) -> dict[str, str]:
    """The metadata strings in the header of a safetensors file.

    The file begins with the size of the header, eight bytes in little-endian order. The header is
    JSON, with the strings under ``__metadata__``.
    """
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]).get("__metadata__", {})

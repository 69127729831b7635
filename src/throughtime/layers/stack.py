"""The weights of stacked layers of one cell, and the kernel call of each layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.cells.cell import Cell, get
from throughtime.cells.owned import has_own, own_tensors
from throughtime.checks import ShapeError
from throughtime.kernels import Call, Weights, dispatch
from throughtime.layers import options, parameters, starts
from throughtime.layers.attributes import WithSpec
from throughtime.layers.sequence import Steps
from throughtime.layers.spec import LayerSpec
from throughtime.layers.weights import weight_of

__all__ = ["Incoming", "Stack"]


@dataclass(frozen=True)
class Incoming(Steps):
    """The checked arguments of a layer's call, time first.

    Args:
        x, lengths, resets, layout: see :class:`throughtime.layers.sequence.Steps`.
        state: the initial states in the cell's order, each (L*D, B, H).
        inputs: the further inputs of the cell in its order, each (T, B, H).
    """

    state: tuple[Tensor, ...]
    inputs: tuple[Tensor, ...]


class Stack(WithSpec):
    """Owns the weights of stacked layers of one cell, and builds the call that runs one of them.

    :class:`throughtime.Recurrent` runs the layers in turn, and documents the parameters.

    Args:
        cell: the equations, or their name.
        spec: the sizes and options.
        device, dtype: the device and dtype of the parameters.

    Raises:
        TypeError: if ``cell`` is not a Cell, or a size is not a whole number.
        ValueError: if an option is out of range, does not fit the cell, or has no effect.
    """

    def __init__(
        self,
        cell: Cell | str,
        spec: LayerSpec,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.cell = get(cell) if isinstance(cell, str) else cell
        options.check_cell(self.cell, cell)
        self.spec = spec
        self._changes = 0
        self._follow_options()

        for name, shape in self._shapes.items():
            empty = torch.empty(shape, device=device, dtype=dtype)
            # A copy of a tensor of the cell is a buffer or frozen if the tensor is.
            own = self._copied_tensors.get(name.rsplit("_l", 1)[0])
            if own is not None and own.kind == "buffer":
                self.register_buffer(name, empty)
                continue
            learns = own is None or own.value.requires_grad
            self.register_parameter(name, nn.Parameter(empty, requires_grad=learns))
        self.reset_parameters()

    def __setattr__(self, name: str, value: Any) -> None:
        before: Any = vars(self).get(name)
        super().__setattr__(name, value)
        # The cell or an option was replaced after construction. Keep the old one if it is invalid.
        if name in ("cell", "spec") and "_equations" in vars(self):
            try:
                self._follow_options(before if name == "spec" else None)
            except (TypeError, ValueError):
                super().__setattr__(name, before)
                raise

    def _follow_options(self, before: LayerSpec | None = None) -> None:
        """Checks the cell and the options, and derives from them the values that calls read.

        Args:
            before: the previous options; None if the cell changed as well.
        """
        cell, spec = self.cell, self.spec
        spec.check(self.who)
        if before is None or options.changes_equations(before, spec):
            options.check(self.who, cell, spec)
            self._equations = {
                learns: options.equations(cell, spec, learns) for learns in (False, True)
            }
            self._changes += 1
        self._shapes = parameters.shapes(cell, spec)
        self._copied_tensors = parameters.copied_tensors(cell)
        self._has_own_tensors = has_own(cell)
        # Calls compare no floats, because torch.compile would make them symbols and recompile.
        self._drops_outputs, self._drops_weights = spec.dropout > 0, spec.weight_drop > 0

    @property
    def num_directions(self) -> int:
        """D: 2 if bidirectional, else 1."""
        return self.spec.num_directions

    @property
    def equations(self) -> Cell:
        """The cell that the backends run: the layer's cell with its options applied."""
        return self._equations[self.training]

    @property
    def output_size(self) -> int:
        """The number of output features per time step."""
        return self.spec.output_size

    @property
    def state_sizes(self) -> dict[str, int]:
        """The number of units of each state by name."""
        return parameters.state_sizes(self.cell, self.spec)

    @property
    def who(self) -> str:
        """The name of the layer in error messages."""
        return type(self).__name__

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return self._weight("weight_ih_l0", None).dtype

    def _suffixes(self, layer: int) -> list[str]:
        return parameters.suffixes(self.spec, layer)

    def _weight(self, name: str, x: Tensor | None) -> Any:
        """The weight ``name``, checked against the input x; None if the layer has none."""
        shape = self._shapes.get(name)
        return None if shape is None else weight_of(self, name, shape, x)

    def learned_states(self, x: Tensor | None = None) -> list[list[Tensor]]:
        """The learned initial states: for each state a list over all layers and directions.

        Args:
            x: the input, whose device and dtype they must have; None checks their shapes only.
        """
        names = parameters.initial_names(self.cell, self.spec)
        states = [self._weight(name, x) for name in names]
        rows = self.num_layers * self.num_directions
        return [states[i : i + rows] for i in range(0, len(states), rows)]

    def reset_parameters(self) -> None:
        """Draws all weights anew, uniformly from -1/sqrt(H) to 1/sqrt(H).

        Exceptions are the weights for which the cell declares other initial values
        (``Cell.initial_weights``, ``Parameter.initial``), and those that the options
        ``forget_bias`` and ``recurrent_init`` set.

        With an equal seed, ``lstm``, ``gru`` and ``rnn-*`` get exactly the weights that the layers
        of ``torch.nn`` get.
        """
        starts.draw(self, self.cell, self.spec)

    def _call(
        self, incoming: Incoming, x: Tensor, layer: int, direction: int, seed: Tensor | None = None
    ) -> Call:
        """The call that asks a backend to run one layer in one direction.

        Args:
            incoming: the checked arguments of the whole layer.
            x: the input of this layer, (T, B, features).
            layer, direction: counted from 0; direction 1 is the reverse.
            seed: the seed of the random numbers that the cell draws, if it draws any.
        """
        cell, suffix = self.equations, self._suffixes(layer)[direction]
        row = layer * self.num_directions + direction
        # A projected state has P units; the kernels see H, of which the last H - P are zero.
        missing = {k: self.hidden_size - size for k, size in self.state_sizes.items()}
        return Call(
            cell=cell,
            x=x,
            weights=self._weights(suffix, x),
            state=tuple(
                F.pad(s[row], (0, n)) if n and self.proj_size else s[row]
                for s, n in zip(incoming.state, missing.values(), strict=True)
            ),
            inputs=incoming.inputs,
            lengths=incoming.lengths,
            resets=incoming.resets,
            seed=seed,
            reverse=direction == 1,
            save=self.save,
            identity=self._identity(self._changes) if torch.compiler.is_compiling() else None,
        )

    def _identity(self, changes: int) -> str:
        """The text by which torch.compile identifies the cell; empty if no kernel runs the cell.

        torch.compile keeps the result as a constant; another value of ``changes``, the number of
        changes to the cell and options, makes it call this method again.
        """
        weight = self._weight("weight_ih_l0", None)
        return dispatch.compiled_identity(self.equations, weight, self.backend, self.strict)

    # The decorator torch.compiler.assume_constant_result sets this attribute too, but its use would
    # import the whole compiler.
    _identity._dynamo_marked_constant = True  # type: ignore[attr-defined]

    def _weights(self, suffix: str, x: Tensor | None = None) -> Weights:
        """The weights of one layer and direction, checked against the input x."""

        def named(name: str) -> Any:
            return self._weight(f"{name}{suffix}", x)

        return Weights(
            named("weight_ih"),
            self._recurrent(suffix, x),
            *(named("bias_ih"), named("bias_hh")),
            {name: named(name) for name in self.cell.parameter_specs} | self._own(suffix, x),
        )

    def _own(self, suffix: str, x: Tensor | None) -> dict[str, Tensor]:
        """The values of the cell's own tensors for one layer and direction; see ``Cell.owning``.

        Args:
            suffix: the suffix of the layer and direction, such as ``_l0``.
            x: the input, whose device and dtype the values must have; None checks shapes only.
        """
        if not self._has_own_tensors:
            return {}
        values: dict[str, Tensor] = {}
        like = self._weight("weight_ih_l0", None) if x is None else x
        for name, own in own_tensors(self.cell).items():
            is_copied = name in self._copied_tensors
            value = self._weight(f"{name}{suffix}", x) if is_copied else own.value.to(like)
            # Kernels read one number for each unit, so a single number is repeated.
            is_one = value.dim() < 2 and value.numel() == 1
            values[name] = value.expand(self.hidden_size) if is_one else value
        return values

    def _recurrent(self, suffix: str, x: Tensor | None = None) -> Tensor | None:
        """The recurrent matrix of one layer and direction as the step reads it.

        ``weight_drop`` is applied, the projection of ``proj_size`` is appended, and the cell's
        transformation is applied. None if the cell has no recurrent matrix.
        """
        learned: Tensor | None = self._weight(f"weight_hh{suffix}", x)
        if learned is not None and self._drops_weights:
            learned = F.dropout(learned, self.weight_drop, self.training)
        cell, H, P = self.equations, self.hidden_size, self.proj_size
        if P:
            # Kernels expect square blocks. The state has zeros after its P units, so the added
            # columns multiply zeros; the rows added to the projection keep those units zero.
            before = [] if learned is None else [F.pad(learned, (0, H - P))]
            projection = F.pad(self._weight(f"weight_hr{suffix}", x), (0, 0, 0, H - P))
            learned = torch.cat([*before, projection])
        if learned is None or not cell.has_transform:
            return learned
        names = cell.recurrent_block_names
        blocks = cell.transform(dict(zip(names, learned.split(H), strict=True)))
        shapes = {name: tuple(block.shape) for name, block in blocks.items()}
        if shapes != dict.fromkeys(names, (H, H)):
            raise ShapeError(
                f"{type(self.cell).__name__}.transform: expected the blocks {', '.join(names)}, "
                f"each of shape ({H}, {H}), got {shapes}."
            )
        return torch.cat([blocks[name] for name in names])

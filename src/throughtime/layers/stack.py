"""A cell in layers, one on another: the weights of all, and the call that runs one of them."""

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
    """Everything that comes into the layers, in one form.

    Args:
        x, lengths, resets, layout: see :class:`throughtime.layers.sequence.Steps`.
        state: in the cell's order, each (L*D, B, H).
        inputs: what enters each step besides x, in the cell's order, each (T, B, H).
    """

    state: tuple[Tensor, ...]
    inputs: tuple[Tensor, ...]


class Stack(WithSpec):
    """The weights of layers of one cell, and the call that runs one layer in one direction.

    :class:`throughtime.Recurrent` runs the layers in turn, and documents the parameters.

    Args:
        cell: the equations, or their name.
        spec: the sizes and options.
        device, dtype: of the parameters.

    Raises:
        TypeError: for a cell that is none, or a size that is no whole number.
        ValueError: for an option that is out of range, does not go with the cell, or has no effect.
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
            own = self._kept.get(name.rsplit("_l", 1)[0])
            if own is not None and own.kind == "buffer":
                self.register_buffer(name, empty)
                continue
            learns = own is None or own.value.requires_grad
            self.register_parameter(name, nn.Parameter(empty, requires_grad=learns))
        self.reset_parameters()

    def __setattr__(self, name: str, value: Any) -> None:
        before: Any = vars(self).get(name)
        super().__setattr__(name, value)
        # A cell or an option that is set later holds from then on.
        if name in ("cell", "spec") and "_equations" in vars(self):
            try:
                self._follow_options(before if name == "spec" else None)
            except (TypeError, ValueError):
                super().__setattr__(name, before)
                raise

    def _follow_options(self, before: LayerSpec | None = None) -> None:
        """Checks the cell and the options, and makes of them what every call needs.

        Args:
            before: the options of before; None where the cell is another, too.
        """
        cell, spec = self.cell, self.spec
        spec.check(self.who)
        if before is None or options.changes_equations(before, spec):
            options.check(self.who, cell, spec)
            self._equations = {
                learns: options.equations(cell, spec, learns) for learns in (False, True)
            }
            self._changes += 1
        self._shapes, self._kept = parameters.shapes(cell, spec), parameters.kept(cell)
        self._holds_tensors = has_own(cell)
        # A float that every call compares is a symbol to torch.compile, which then begins again.
        self._drops_outputs, self._drops_weights = spec.dropout > 0, spec.weight_drop > 0

    # What it is made of.

    @property
    def num_directions(self) -> int:
        """D: 2 where bidirectional, else 1."""
        return self.spec.num_directions

    @property
    def equations(self) -> Cell:
        """The cell that runs: the layer's, and around it what its options change of it."""
        return self._equations[self.training]

    @property
    def output_size(self) -> int:
        """The features of one step of the output."""
        return self.spec.output_size

    @property
    def state_sizes(self) -> dict[str, int]:
        """The units of each state."""
        return parameters.state_sizes(self.cell, self.spec)

    @property
    def who(self) -> str:
        """What error messages call it."""
        return type(self).__name__

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self._weight("weight_ih_l0", None).dtype

    def _suffixes(self, layer: int) -> list[str]:
        return parameters.suffixes(self.spec, layer)

    def _weight(self, name: str, x: Tensor | None) -> Any:
        """A weight that a call with the input x can read; None where the layer has none."""
        shape = self._shapes.get(name)
        return None if shape is None else weight_of(self, name, shape, x)

    def learned_states(self, x: Tensor | None = None) -> list[list[Tensor]]:
        """The learned initial states: for each state those of all layers and directions.

        Args:
            x: the input whose device and type they must have; None checks their shapes only.
        """
        names = parameters.initial_names(self.cell, self.spec)
        found = [self._weight(name, x) for name in names]
        rows = self.num_layers * self.num_directions
        return [found[i : i + rows] for i in range(0, len(found), rows)]

    def reset_parameters(self) -> None:
        """Draws all weights anew, uniformly from -1/sqrt(H) to 1/sqrt(H).

        Excepted are the weights for which the cell declares another start
        (``Cell.initial_weights``, ``Parameter.initial``), and those that the options
        ``forget_bias`` and ``recurrent_init`` set.

        With the same seed ``lstm``, ``gru`` and ``rnn-*`` start from the very weights with which
        the layers of ``torch.nn`` start.
        """
        starts.draw(self, self.cell, self.spec)

    # What it does.

    def _call(
        self, given: Incoming, x: Tensor, layer: int, direction: int, seed: Tensor | None = None
    ) -> Call:
        """One layer in one direction, as a backend is asked to run it."""
        cell, suffix = self.equations, self._suffixes(layer)[direction]
        row = layer * self.num_directions + direction
        missing = {k: self.hidden_size - size for k, size in self.state_sizes.items()}
        return Call(
            cell=cell,
            x=x,
            weights=self._weights(suffix, x),
            state=tuple(
                F.pad(s[row], (0, n)) if n and self.proj_size else s[row]
                for s, n in zip(given.state, missing.values(), strict=True)
            ),
            inputs=given.inputs,
            lengths=given.lengths,
            resets=given.resets,
            seed=seed,
            reverse=direction == 1,
            save=self.save,
            identity=self._identity(self._changes) if torch.compiler.is_compiling() else None,
        )

    def _identity(self, changes: int) -> str:
        """The cell as torch.compile may know it: a text; empty where no kernel runs the cell.

        It is asked again when the number of changes is another.
        """
        weight = self._weight("weight_ih_l0", None)
        return dispatch.compiled_identity(self.equations, weight, self.backend, self.strict)

    # What torch.compiler.assume_constant_result does, which would import the whole compiler here.
    _identity._dynamo_marked_constant = True  # type: ignore[attr-defined]

    def _weights(self, suffix: str, x: Tensor | None = None) -> Weights:
        def named(name: str) -> Any:
            return self._weight(f"{name}{suffix}", x)

        return Weights(
            named("weight_ih"),
            self._recurrent(suffix, x),
            *(named("bias_ih"), named("bias_hh")),
            {name: named(name) for name in self.cell.parameter_specs} | self._own(suffix, x),
        )

    def _own(self, suffix: str, x: Tensor | None) -> dict[str, Tensor]:
        """The tensors that the cell holds, as the step uses them; see ``Cell.owning``."""
        if not self._holds_tensors:
            return {}
        found: dict[str, Tensor] = {}
        like = self._weight("weight_ih_l0", None) if x is None else x
        for name, own in own_tensors(self.cell).items():
            is_kept = own.kind != "constant"
            value = self._weight(f"{name}{suffix}", x) if is_kept else own.value.to(like)
            # One number for all units is, to a kernel, the same number for each.
            is_one = value.dim() < 2 and value.numel() == 1
            found[name] = value.expand(self.hidden_size) if is_one else value
        return found

    def _recurrent(self, suffix: str, x: Tensor | None = None) -> Tensor | None:
        """The blocks of R as the step uses them."""
        learned: Tensor | None = self._weight(f"weight_hh{suffix}", x)
        if learned is not None and self._drops_weights:
            learned = F.dropout(learned, self.weight_drop, self.training)
        cell, H, P = self.equations, self.hidden_size, self.proj_size
        if P:
            # Square blocks: h has zeros after its P units, and the projection makes no more.
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

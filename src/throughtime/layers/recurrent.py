"""Any cell through time: layers, directions, ragged rows, resets, state in and out."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from throughtime.cells.cell import Cell, get
from throughtime.checks import ShapeError, integer_lengths, shape_is, unknown
from throughtime.kernels import Call, Explanation, Weights, dispatch, operators
from throughtime.layers.stream import Stream

__all__ = ["Recurrent", "RecurrentState"]

RecurrentState = Tensor | tuple[Tensor, ...]
"""One state: a tensor. Several: a tuple. Each of shape (L*D, B, H)."""

_MERGES: dict[str, Callable[[list[Tensor]], Tensor]] = {
    "concat": lambda outputs: torch.cat(outputs, -1),
    "sum": lambda outputs: outputs[0] + outputs[1],
    "mean": lambda outputs: (outputs[0] + outputs[1]) / 2,
    "product": lambda outputs: outputs[0] * outputs[1],
}


def _rows_of_f(bias: Tensor, names: tuple[str, ...]) -> Tensor:
    return bias.detach().chunk(len(names))[names.index("f")]


class Recurrent(nn.Module):
    r"""A cell applied through time, with everything that ``torch.nn.LSTM`` has.

    Layer l reads the output of layer l - 1. With ``bidirectional`` a second set of weights reads
    the sequence from its end, and each layer gives out both directions, merged.

    Args:
        cell: the equations, or their name (``throughtime.cells.names()``).
        input_size: I, the features of one step.
        hidden_size: H, the units of one layer in one direction.
        num_layers: L, how many layers are stacked.
        bias: whether the blocks have biases.
        batch_first: whether sequences come and go as (B, T, …) rather than (T, B, …).
            The states are (L*D, B, H) either way.
        dropout: the probability to drop an output of a layer before the next layer reads it.
        bidirectional: whether there is a reverse direction (D is then 2).
        merge: how two directions become one output: ``concat``, ``sum``, ``mean``, ``product``.
        backend: ``auto``, or the one backend that must run it (``cpp``, ``torch``, ``reference``).
        save: what is kept for the backward pass: ``gates``, all that it needs; or ``states``, a
            few states only, from which the gates are computed again: less memory, more time.
        locked_dropout: whether ``dropout`` drops the same features at all steps of a sequence (Gal
            and Ghahramani, arXiv 1512.05287).
        weight_drop: the probability to drop a weight of the recurrent matrices, drawn anew for each
            call (DropConnect; Merity et al., arXiv 1708.02182).
        learned_state: whether the initial states, where none are given, are parameters
            (``initial_h_l{k}``), which start from the cell's own.
        residual: whether each layer but the first adds its input to its output.
        independent: whether the two directions run through all layers apart, and are merged at the
            end only.
        strict: whether ``backend="auto"`` refuses what no kernel can run, rather than taking the
            slow reference.
        forget_bias: the bias from which the forget gate (block f) starts; 1 makes a long memory
            the beginning rather than the end of learning.
        recurrent_init: ``uniform`` as torch.nn draws it, or ``orthogonal``, block by block.
        device, dtype: of the parameters.

    Shapes:
        input: (T, B, I); (B, T, I) where ``batch_first``; (T, I) for one sequence alone; or a
            ``PackedSequence``.
        output: as the input, with D*H features (H for the merges that are not ``concat``); zero
            past a row's end.
        states: (L*D, B, H), or (L*D, H) for one sequence alone, layer by layer, in each the
            forward direction first: of each row's last valid step. The reverse direction starts
            at a row's own last step and ends at its first.

    Parameters are named, ordered and drawn as those of ``torch.nn``: ``weight_ih_l{k}`` (G*H, I),
    ``weight_hh_l{k}`` (G*H, H), ``bias_ih_l{k}``, ``bias_hh_l{k}`` (G*H), then the cell's own
    (``p_i_l{k}``), all with ``_reverse`` for the other direction.

    Raises:
        ShapeError: for an input, a state or lengths of the wrong shape.
        ValueError: for an unknown name, or an option that the cell has no use for.

    >>> layer = Recurrent("lstm-peephole", 3, 5, bidirectional=True, merge="sum")
    >>> output, (h, c) = layer(torch.zeros(7, 2, 3), lengths=[7, 4])
    >>> output.shape, h.shape
    (torch.Size([7, 2, 5]), torch.Size([2, 2, 5]))
    """

    def __init__(
        self,
        cell: Cell | str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        merge: str = "concat",
        backend: str = "auto",
        save: str = "gates",
        strict: bool = False,
        locked_dropout: bool = False,
        weight_drop: float = 0.0,
        learned_state: bool = False,
        residual: bool = False,
        independent: bool = False,
        forget_bias: float | None = None,
        recurrent_init: str = "uniform",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.cell = get(cell) if isinstance(cell, str) else cell
        self._check_options(cell, input_size, hidden_size, num_layers, dropout)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bool(bias)
        self.batch_first = bool(batch_first)
        self.dropout = float(dropout)
        self.bidirectional = bool(bidirectional)
        self.merge = merge
        self.backend = dispatch.check(backend)
        self.save = save
        self.strict = bool(strict)
        self.locked_dropout = bool(locked_dropout)
        self.weight_drop = float(weight_drop)
        self.learned_state = bool(learned_state)
        self.residual = bool(residual)
        self.independent = bool(independent)
        self.forget_bias = forget_bias
        self.recurrent_init = recurrent_init
        self._check_choices()

        for layer in range(num_layers):
            width = input_size if layer == 0 else hidden_size if independent else self.output_size
            for suffix in self._suffixes(layer):
                for name, shape in self._parameter_shapes(width).items():
                    empty = torch.empty(shape, device=device, dtype=dtype)
                    self.register_parameter(f"{name}{suffix}", nn.Parameter(empty))
        for name in self._initial_names() if learned_state else ():
            empty = torch.empty(hidden_size, device=device, dtype=dtype)
            self.register_parameter(name, nn.Parameter(empty))
        self.reset_parameters()

    # What it is made of.

    @property
    def weight_drop(self) -> float:
        """The probability to drop a weight of the recurrent matrices."""
        return self._weight_drop

    @weight_drop.setter
    def weight_drop(self, probability: float) -> None:
        # A float that every call compares is a symbol to torch.compile, which then begins again.
        self._weight_drop, self._drops_weights = float(probability), probability > 0

    @property
    def num_directions(self) -> int:
        """D: 2 where bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """The features of one step of the output."""
        return self.hidden_size * (self.num_directions if self.merge == "concat" else 1)

    @property
    def _dtype(self) -> torch.dtype:
        # Not get_parameter: torch.func.functional_call puts plain tensors in its place.
        weight: Any = self.weight_ih_l0
        return weight.dtype

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"][: self.num_directions]

    def _initial_names(self) -> dict[str, float]:
        """The parameters of the learned initial states, and what each starts from."""
        suffixes = [s for layer in range(self.num_layers) for s in self._suffixes(layer)]
        specs = self.cell.state_specs
        return {f"initial_{k}{s}": spec.initial for k, spec in specs.items() for s in suffixes}

    def _parameter_shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        cell, H = self.cell, self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (len(cell.gates) * H, input_size)}
        if cell.recurrent_block_names:
            shapes["weight_hh"] = (len(cell.recurrent_block_names) * H, H)
        if self.bias:
            shapes["bias_ih"] = (len(cell.gates) * H,)
            if cell.recurrent_bias_names:
                shapes["bias_hh"] = (len(cell.recurrent_bias_names) * H,)
        return shapes | {k: (p.size or H,) for k, p in cell.parameter_specs.items()}

    def reset_parameters(self) -> None:
        """Draws all weights anew, uniformly from -1/sqrt(H) to 1/sqrt(H) but for the options.

        With the same seed ``lstm``, ``gru`` and ``rnn-*`` start from the very weights with which
        the layers of ``torch.nn`` start.
        """
        bound = 1 / math.sqrt(self.hidden_size)
        learned = self._initial_names() if self.learned_state else {}
        for name, parameter in self.named_parameters():
            if name in learned:
                nn.init.constant_(parameter, learned[name])
                continue
            spec = self.cell.parameter_specs.get(name.rsplit("_l", 1)[0])
            if spec is None or spec.initial is None:
                nn.init.uniform_(parameter, -bound, bound)
            else:
                nn.init.constant_(parameter, spec.initial)
        H = self.hidden_size
        for suffix in [s for layer in range(self.num_layers) for s in self._suffixes(layer)]:
            if self.recurrent_init == "orthogonal":
                for block in getattr(self, f"weight_hh{suffix}").detach().split(H):
                    # The decomposition behind it knows no half precision.
                    wide = torch.promote_types(block.dtype, torch.float32)
                    block.copy_(nn.init.orthogonal_(torch.empty_like(block, dtype=wide)))
            if self.forget_bias is not None:
                bias = getattr(self, f"bias_ih{suffix}")
                _rows_of_f(bias, self.cell.gates).fill_(self.forget_bias)
                if "f" in (names := self.cell.recurrent_bias_names):
                    _rows_of_f(getattr(self, f"bias_hh{suffix}"), names).zero_()

    # What it does.

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: RecurrentState | None = None,
        *,
        lengths: Tensor | list[int] | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Any, RecurrentState]:
        """Runs the sequence.

        Args:
            input: see the class.
            hx: the initial states; None is the cell's own (zero, for most).
            lengths: (B,) whole numbers in any order, how many steps of each row are valid.
            resets: (T, B), or (B, T) where ``batch_first``: True where a row is set back to its
                initial state before step t.

        Returns:
            The output, and the last states.
        """
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx, lengths, resets)
        x, state, lengths, resets = self._prepared(input, hx, lengths, resets)
        x, last = self._through_layers(x, state, lengths, resets)
        if input.dim() == 2:
            return x.squeeze(1), self._joined([s.squeeze(1) for s in last])
        return (x.transpose(0, 1) if self.batch_first else x), self._joined(last)

    def stream(self) -> Stream:
        """A running sequence, which is given its steps as they come.

        Raises:
            ValueError: with two directions, of which one begins at the end.
        """
        if self.bidirectional:
            raise ValueError(
                f"{self._who}: bidirectional=True reads a sequence from its end too, which a "
                f"stream does not know. Use one direction."
            )
        return Stream(self, self.batch_first)

    def explain(
        self,
        input: Tensor | PackedSequence,
        hx: RecurrentState | None = None,
        *,
        lengths: Tensor | list[int] | None = None,
        resets: Tensor | None = None,
    ) -> Explanation:
        """Which backend would run this input, and why the faster ones would not."""
        if isinstance(input, PackedSequence):
            self._refuse_twice(lengths, resets)
            padded, lengths = pad_packed_sequence(input)
            x, state, lengths, resets = self._prepared(padded, hx, lengths, None, time_first=True)
        else:
            x, state, lengths, resets = self._prepared(input, hx, lengths, resets)
        first = tuple(s[0] for s in state)
        call = Call(self.cell, x, self._weights("_l0"), first, lengths, resets)
        return dispatch.explain(call, self.backend, self.strict)

    def _through_layers(
        self,
        x: Tensor,
        state: tuple[Tensor, ...],
        lengths: Tensor | None,
        resets: Tensor | None,
    ) -> tuple[Tensor, list[Tensor]]:
        last: list[tuple[Tensor, ...]] = []
        # What each direction reads: the same, unless they run apart.
        inputs = [x] * self.num_directions
        for layer in range(self.num_layers):
            if layer > 0:
                inputs = self._dropped(inputs)
            outputs = []
            for direction, suffix in enumerate(self._suffixes(layer)):
                row = layer * self.num_directions + direction
                call = Call(
                    cell=self.cell,
                    x=inputs[direction],
                    weights=self._weights(suffix),
                    state=tuple(s[row] for s in state),
                    lengths=lengths,
                    resets=resets,
                    reverse=direction == 1,
                    save=self.save,
                    identity=self._identity() if torch.compiler.is_compiling() else None,
                )
                output, states = dispatch.run(call, self.backend, self.strict)
                outputs.append(output)
                last.append(states)
            is_apart = self.independent and layer + 1 < self.num_layers
            if self.bidirectional and not self.independent:
                outputs = [_MERGES[self.merge](outputs)]
            if self.residual and layer > 0:
                outputs = [y + x for x, y in zip(inputs, outputs, strict=False)]
            if self.independent and not is_apart:
                outputs = [_MERGES[self.merge](outputs)]
            inputs = outputs if is_apart else outputs * self.num_directions
        x = inputs[0]
        if len(last) == 1:
            return x, [rows.unsqueeze(0) for rows in last[0]]
        return x, [torch.stack(rows) for rows in zip(*last, strict=True)]

    def _dropped(self, inputs: list[Tensor]) -> list[Tensor]:
        """What the next layer reads, less what dropout takes; the directions read the same."""
        if not self.training or self.dropout == 0:
            return inputs
        apart = inputs if self.independent else inputs[:1]
        if self.locked_dropout:
            # One draw for all steps.
            kept = [F.dropout(x.new_ones(1, *x.shape[1:]), self.dropout) for x in apart]
            dropped = [x * mask for x, mask in zip(apart, kept, strict=True)]
        else:
            dropped = [F.dropout(x, self.dropout) for x in apart]
        return dropped if self.independent else dropped * self.num_directions

    def _identity(self) -> str:
        """The cell as torch.compile may know it: a text; empty where no kernel runs the cell."""
        return operators.traced_identity(self.cell, self._weights("_l0").weight_ih)

    # What torch.compiler.assume_constant_result does, which would import the whole compiler here.
    _identity._dynamo_marked_constant = True  # type: ignore[attr-defined]

    def _weights(self, suffix: str) -> Weights:
        def named(name: str) -> Any:
            return getattr(self, f"{name}{suffix}", None)

        own = {name: named(name) for name in self.cell.parameter_specs}
        bias_ih, bias_hh = named("bias_ih"), named("bias_hh")
        return Weights(named("weight_ih"), self._recurrent(suffix), bias_ih, bias_hh, own)

    def _recurrent(self, suffix: str) -> Tensor | None:
        """The blocks of R as the step uses them."""
        learned: Tensor | None = getattr(self, f"weight_hh{suffix}", None)
        if learned is not None and self._drops_weights:
            learned = F.dropout(learned, self.weight_drop, self.training)
        if learned is None or type(self.cell).transform is Cell.transform:
            return learned
        names, H = self.cell.recurrent_block_names, self.hidden_size
        blocks = self.cell.transform(dict(zip(names, learned.split(H), strict=True)))
        shapes = {name: tuple(block.shape) for name, block in blocks.items()}
        if shapes != dict.fromkeys(names, (H, H)):
            raise ShapeError(
                f"{type(self.cell).__name__}.transform: expected the blocks {', '.join(names)}, "
                f"each of shape ({H}, {H}), got {shapes}."
            )
        return torch.cat([blocks[name] for name in names])

    def _joined(self, states: list[Tensor]) -> RecurrentState:
        return states[0] if len(states) == 1 else tuple(states)

    def _forward_packed(
        self,
        packed: PackedSequence,
        hx: RecurrentState | None,
        lengths: Any,
        resets: Any,
    ) -> tuple[PackedSequence, RecurrentState]:
        self._refuse_twice(lengths, resets)
        x, lengths = pad_packed_sequence(packed)
        x, state, lengths, _ = self._prepared(x, hx, lengths, None, time_first=True)
        output, last = self._through_layers(x, state, lengths, None)
        if packed.sorted_indices is not None:
            output = output.index_select(1, packed.sorted_indices)
            lengths = lengths[packed.sorted_indices.cpu()]
        data = pack_padded_sequence(output, lengths).data
        return packed._replace(data=data), self._joined(last)

    # What it refuses.

    @property
    def _who(self) -> str:
        name = type(self).__name__
        cell = f'"{self.cell.name}"' if self.cell.name else f"{type(self.cell).__name__}()"
        return f"{name}({cell})" if type(self) is Recurrent else name

    def _refuse_twice(self, lengths: Any, resets: Any) -> None:
        if lengths is not None or resets is not None:
            raise ValueError(
                f"{self._who}: a PackedSequence brings its own lengths; "
                f"lengths and resets go with a padded tensor."
            )

    def _prepared(
        self,
        x: Tensor,
        hx: RecurrentState | None,
        lengths: Any,
        resets: Any,
        time_first: bool = False,
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None, Tensor | None]:
        """Everything that comes in: checked, time first, with a batch and an initial state."""
        batch_first = self.batch_first and not time_first
        for name, value in (("x", x), ("resets", resets)):
            if not isinstance(value, Tensor) and (value is not None or name == "x"):
                raise TypeError(f"{self._who}: expected {name} as a tensor, got {value!r}.")
        alone = x.dim() == 2
        leading = () if alone else ("B", "T") if batch_first else ("T", "B")
        expected = (*leading, self.input_size) if leading else ("T", self.input_size)
        shape_is(self._who, "x", x, expected, f"input_size={self.input_size}")
        if x.dtype != self._dtype and not (
            torch.is_autocast_enabled(x.device.type) and x.is_floating_point()
        ):
            raise ValueError(
                f"{self._who}: expected x of {self._dtype} as the weights are, got "
                f"{x.dtype}. Convert one of them, for example layer.to(x.dtype)."
            )
        x = x.unsqueeze(1) if alone else x.transpose(0, 1) if batch_first else x
        T, B, _ = x.shape
        if T == 0:
            raise ShapeError(f"{self._who}: expected at least one time step, got x with none.")
        if lengths is not None:
            lengths = integer_lengths(self._who, lengths, B, T)
        if resets is not None:
            if resets.dtype != torch.bool:
                raise ValueError(f"{self._who}: expected resets of torch.bool, got {resets.dtype}.")
            rows = ("T",) if alone else (B, T) if batch_first else (T, B)
            shape_is(self._who, "resets", resets, rows, "x has these steps and rows")
            resets = resets.unsqueeze(1) if alone else resets.T if batch_first else resets
        return x, self._initial(x, hx, alone), lengths, resets

    def _initial(self, x: Tensor, hx: RecurrentState | None, alone: bool) -> tuple[Tensor, ...]:
        specs = self.cell.state_specs
        rows, B = self.num_layers * self.num_directions, x.shape[1]
        shapes = [(rows, B, spec.size or self.hidden_size) for spec in specs.values()]
        if hx is None and self.learned_state:
            names, B = list(self._initial_names()), x.shape[1]
            all_rows = [getattr(self, name) for name in names]
            of_state = [all_rows[i : i + rows] for i in range(0, len(names), rows)]
            return tuple(torch.stack(r).unsqueeze(1).expand(-1, B, -1) for r in of_state)
        if hx is None:
            return tuple(
                torch.full(shape, spec.initial, dtype=self._dtype, device=x.device)
                for shape, spec in zip(shapes, specs.values(), strict=True)
            )
        if not isinstance(hx, (Tensor, tuple, list)):
            raise TypeError(f"{self._who}: expected hx as a tensor or a tuple, got {hx!r}.")
        states = (hx,) if isinstance(hx, Tensor) else tuple(hx)
        if len(states) != len(specs) or (len(specs) > 1 and isinstance(hx, Tensor)):
            wanted = ", ".join(specs)
            raise ValueError(
                f"{self._who}: expected {len(specs)} initial state(s) ({wanted}), "
                f"{'a tuple' if len(specs) > 1 else 'a tensor'}, got "
                f"{'a tensor' if isinstance(hx, Tensor) else f'a tuple of {len(states)}'}."
            )
        why = f"num_layers={self.num_layers}, bidirectional={self.bidirectional}, x has {B} rows"
        for (name, value), shape in zip(zip(specs, states, strict=True), shapes, strict=True):
            if not isinstance(value, Tensor):
                raise ValueError(
                    f"{self._who}: expected the initial state {name} as a tensor, got {value!r}."
                )
            if value.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type):
                raise ValueError(
                    f"{self._who}: expected the initial state {name} of {x.dtype} as x is, got "
                    f"{value.dtype}."
                )
            expected = (shape[0], shape[2]) if alone else shape
            shape_is(self._who, f"the initial state {name}", value, expected, why)
        return tuple(s.unsqueeze(1) for s in states) if alone else states

    def _check_options(
        self, cell: Any, input_size: Any, hidden_size: Any, num_layers: Any, dropout: Any
    ) -> None:
        if not isinstance(self.cell, Cell):
            hint = f" Write {cell.__name__}()." if isinstance(cell, type) else ""
            raise TypeError(f"Recurrent: expected a cell or the name of one, got {cell!r}.{hint}")
        self.cell.check()
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
        for name, size in sizes.items():
            if isinstance(size, bool) or not isinstance(size, int):
                raise TypeError(f"{self._who}: expected {name} as a whole number, got {size!r}.")
            if size < 1:
                raise ValueError(f"{self._who}: expected {name} of at least 1, got {size}.")
        if isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise ValueError(
                f"{self._who}: expected dropout as a probability from 0 to 1, got {dropout!r}."
            )
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                f"{self._who}: dropout={dropout} acts between layers, and num_layers is 1: "
                f"nothing will be dropped.",
                stacklevel=3,
            )

    def _check_choices(self) -> None:
        if not 0 <= self.weight_drop < 1:
            raise ValueError(
                f"{self._who}: expected weight_drop as a probability from 0 to below 1, got "
                f"{self.weight_drop!r}."
            )
        without_effect = {
            "weight_drop": self.weight_drop > 0 and not self.cell.recurrent_block_names,
            "locked_dropout": self.locked_dropout and self.dropout == 0,
            "residual": self.residual and self.num_layers == 1,
            "independent": self.independent and (self.num_layers == 1 or not self.bidirectional),
        }
        why = {
            "weight_drop": "the cell has no recurrent matrix",
            "locked_dropout": "dropout is 0",
            "residual": "num_layers is 1, and the first layer adds nothing",
            "independent": "there are not two directions and several layers",
        }
        for name, has_none in without_effect.items():
            if has_none:
                raise ValueError(f"{self._who}: {name} would have no effect, as {why[name]}.")
        if self.learned_state and any(s.size is not None for s in self.cell.state_specs.values()):
            raise ValueError(f"{self._who}: learned_state=True needs states of H units.")
        if self.merge not in _MERGES:
            raise unknown("merge", self.merge, _MERGES)
        if self.merge != "concat" and not self.bidirectional:
            raise ValueError(
                f'{self._who}: merge="{self.merge}" merges two directions; set bidirectional=True.'
            )
        if self.save not in ("gates", "states"):
            raise unknown("save", self.save, ("gates", "states"))
        if self.recurrent_init not in ("uniform", "orthogonal"):
            raise unknown("recurrent_init", self.recurrent_init, ("uniform", "orthogonal"))
        if self.recurrent_init == "orthogonal" and not self.cell.recurrent_block_names:
            raise ValueError(f"{self._who}: the cell has no recurrent block to be orthogonal.")
        if self.forget_bias is not None:
            if "f" not in self.cell.gates:
                raise ValueError(
                    f"{self._who}: forget_bias is the bias of block f, and the cell's blocks are "
                    f"{', '.join(self.cell.gates)}."
                )
            if not self.bias:
                raise ValueError(f"{self._who}: forget_bias needs bias=True.")

    def extra_repr(self) -> str:
        parts = [repr(self.cell), str(self.input_size), str(self.hidden_size)]
        defaults = {
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
            "merge": "concat",
            "backend": "auto",
            "save": "gates",
            "strict": False,
            "locked_dropout": False,
            "weight_drop": 0.0,
            "learned_state": False,
            "residual": False,
            "independent": False,
            "forget_bias": None,
            "recurrent_init": "uniform",
        }
        for name, default in defaults.items():
            if getattr(self, name) != default:
                parts.append(f"{name}={getattr(self, name)!r}")
        return ", ".join(parts)

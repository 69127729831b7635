"""Any cell through time: layers, directions, ragged rows, resets, state in and out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from throughtime.cells.cell import Cell, get
from throughtime.checks import ShapeError
from throughtime.kernels import Call, Explanation, Weights, dispatch, operators
from throughtime.kernels.random import new_seed
from throughtime.layers import options, parameters
from throughtime.layers.incoming import Incoming, prepared
from throughtime.layers.stream import Stream

__all__ = ["Recurrent", "RecurrentState"]

RecurrentState = Tensor | tuple[Tensor, ...]
"""One state: a tensor. Several: a tuple. Each of shape (L*D, B, H)."""


def _copied(value: Any) -> Any:
    """What the caller does to a dict later changes nothing here."""
    return dict(value) if isinstance(value, Mapping) else value


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
        recurrent_dropout: the probability to drop a unit of what the recurrent matrices are
            applied to, the same units at all steps of a sequence (arXiv 1512.05287, with one mask
            for all gates).
        zoneout: the probability that a unit keeps its value of the step before: for all states,
            or by name, ``{"h": 0.05, "c": 0.5}`` (Krueger et al., arXiv 1606.01305).
        weight_drop: the probability to drop a weight of the recurrent matrices, drawn anew for each
            call (DropConnect; Merity et al., arXiv 1708.02182).
        learned_state: whether the initial states, where none are given, are parameters
            (``initial_h_l{k}``), which start from the cell's own.
        residual: whether each layer but the first adds its input to its output.
        independent: whether the two directions run through all layers apart, and are merged at the
            end only.
        proj_size: P; more than 0 projects the output, and what is fed back, to P units
            (``weight_hr_l{k}`` (P, H), as in ``torch.nn.LSTM``), for cells in which h enters the
            equations through products alone.
        activations: other activation functions, ``{"tanh": "relu", "sigmoid": "hardsigmoid"}``;
            see :data:`throughtime.cells.wrapped.ACTIVATIONS`.
        clip: a limit to what activation functions are given, from -clip to clip.
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
            past a row's end. With ``proj_size`` P stands for H, as in the states that are h.
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

    MERGES: ClassVar[dict[str, Callable[[list[Tensor]], Tensor]]] = {
        "concat": lambda outputs: torch.cat(outputs, -1),
        "sum": lambda outputs: outputs[0] + outputs[1],
        "mean": lambda outputs: (outputs[0] + outputs[1]) / 2,
        "product": lambda outputs: outputs[0] * outputs[1],
    }

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
        recurrent_dropout: float = 0.0,
        zoneout: float | Mapping[str, float] = 0.0,
        weight_drop: float = 0.0,
        learned_state: bool = False,
        residual: bool = False,
        independent: bool = False,
        proj_size: int = 0,
        activations: Mapping[str, str | Callable[[Tensor], Tensor]] | None = None,
        clip: float | None = None,
        forget_bias: float | None = None,
        recurrent_init: str = "uniform",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.cell = get(cell) if isinstance(cell, str) else cell
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.proj_size = proj_size
        options.check_sizes(self, cell)
        self.bias = bool(bias)
        self.batch_first = bool(batch_first)
        self.dropout = dropout
        self.bidirectional = bool(bidirectional)
        self.merge = merge
        self.backend = dispatch.check(backend)
        self.save = save
        self.strict = bool(strict)
        self.locked_dropout = bool(locked_dropout)
        self.recurrent_dropout = recurrent_dropout
        self.zoneout: float | Mapping[str, float] = _copied(zoneout)
        self.weight_drop = weight_drop
        self.learned_state = bool(learned_state)
        self.residual = bool(residual)
        self.independent = bool(independent)
        self.activations = _copied(activations or {})
        self.clip = clip
        self.forget_bias = forget_bias
        self.recurrent_init = recurrent_init
        options.check(self)
        self._changes = 0
        self._equations = {learns: options.equations(self, learns) for learns in (False, True)}

        for name, shape in parameters.shapes(self).items():
            empty = torch.empty(shape, device=device, dtype=dtype)
            self.register_parameter(name, nn.Parameter(empty))
        self.reset_parameters()

    def __setattr__(self, name: str, value: Any) -> None:
        before: Any = vars(self).get(name)
        super().__setattr__(name, value)
        # An option that is changed later holds from then on.
        if name in options.OF_EQUATIONS and "_equations" in vars(self):
            try:
                options.check(self)
            except ValueError:
                super().__setattr__(name, before)
                raise
            self._equations = {learns: options.equations(self, learns) for learns in (False, True)}
            self._changes += 1

    # What it is made of.

    @property
    def weight_drop(self) -> float:
        """The probability to drop a weight of the recurrent matrices."""
        return self._weight_drop

    @weight_drop.setter
    def weight_drop(self, probability: float) -> None:
        # A float that every call compares is a symbol to torch.compile, which then begins again.
        self._weight_drop, self._drops_weights = probability, probability != 0

    @property
    def num_directions(self) -> int:
        """D: 2 where bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    @property
    def equations(self) -> Cell:
        """The cell that runs: the layer's, and around it what its options change of it."""
        return self._equations[self.training]

    @property
    def output_size(self) -> int:
        """The features of one step of the output."""
        return (self.proj_size or self.hidden_size) * (
            self.num_directions if self.merge == "concat" else 1
        )

    @property
    def state_sizes(self) -> dict[str, int]:
        """The units of each state."""
        sizes = {k: spec.size or self.hidden_size for k, spec in self.cell.state_specs.items()}
        return sizes | ({self.cell.output_name: self.proj_size} if self.proj_size else {})

    @property
    def who(self) -> str:
        """What error messages call it."""
        name = type(self).__name__
        cell = f'"{self.cell.name}"' if self.cell.name else f"{type(self.cell).__name__}()"
        return f"{name}({cell})" if type(self) is Recurrent else name

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        # Not get_parameter: torch.func.functional_call puts plain tensors in its place.
        weight: Any = self.weight_ih_l0
        return weight.dtype

    def _suffixes(self, layer: int) -> list[str]:
        return parameters.suffixes(self, layer)

    def learned_states(self) -> list[list[Tensor]]:
        """The learned initial states: for each state those of all layers and directions."""
        found = [getattr(self, name) for name in parameters.initial_names(self)]
        rows = self.num_layers * self.num_directions
        return [found[i : i + rows] for i in range(0, len(found), rows)]

    def reset_parameters(self) -> None:
        """Draws all weights anew, uniformly from -1/sqrt(H) to 1/sqrt(H) but for the options.

        With the same seed ``lstm``, ``gru`` and ``rnn-*`` start from the very weights with which
        the layers of ``torch.nn`` start.
        """
        parameters.draw(self)

    # What it does.

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: RecurrentState | None = None,
        *,
        lengths: Tensor | list[int] | None = None,
        resets: Tensor | None = None,
        inputs: Mapping[str, Tensor] | None = None,
        return_trace: bool = False,
    ) -> Any:
        """Runs the sequence.

        Args:
            input: see the class.
            hx: the initial states; None is the cell's own (zero, for most).
            lengths: (B,) whole numbers in any order, how many steps of each row are valid.
            resets: (T, B), or (B, T) where ``batch_first``: True where a row is set back to its
                initial state before step t.
            inputs: what enters each step besides x, of cells that declare ``inputs``: by name,
                each as x but with H features, or one, or none at all where one is meant.
            return_trace: whether to give out all gates and states of all steps as well.

        Returns:
            The output, and the last states. With ``return_trace`` a third: by name
            (``f_l0``, ``c_l0_reverse``) what the step returned at each step, (T, B, H) or as the
            input has them; zero past a row's end, and without a gradient.
        """
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx, lengths, resets, inputs, return_trace)
        given = prepared(self, input, hx, lengths, resets, inputs)
        seen: dict[str, Tensor] | None = {} if return_trace else None
        x, last = self._through_layers(given, seen)
        found = [self._as_given(x, input.dim()), self._joined(last)]
        if input.dim() == 2:
            found[1] = self._joined([s.squeeze(1) for s in last])
        if seen is not None:
            found.append({name: self._as_given(v, input.dim()) for name, v in seen.items()})
        return tuple(found)

    def _as_given(self, sequence: Tensor, dim: int) -> Tensor:
        """A sequence (T, B, …) in the form in which the input came."""
        if dim == 2:
            return sequence.squeeze(1)
        return sequence.transpose(0, 1) if self.batch_first else sequence

    def stream(self) -> Stream:
        """A running sequence, which is given its steps as they come.

        Raises:
            ValueError: with two directions, of which one begins at the end.
        """
        if self.bidirectional:
            raise ValueError(
                f"{self.who}: bidirectional=True reads a sequence from its end too, which a "
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
        inputs: Mapping[str, Tensor] | None = None,
    ) -> Explanation:
        """Which backend would run this input, and why the faster ones would not."""
        if isinstance(input, PackedSequence):
            self._refuse_twice(lengths, resets, inputs)
            padded, lengths = pad_packed_sequence(input)
            given = prepared(self, padded, hx, lengths, time_first=True)
        else:
            given = prepared(self, input, hx, lengths, resets, inputs)
        # The weights that weight_drop takes away are drawn; the next call draws the same anew.
        with torch.random.fork_rng([given.x.device] if given.x.is_cuda else []):
            call = self._call(given, given.x, 0, 0)
        return dispatch.explain(call, self.backend, self.strict)

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
            weights=self._weights(suffix),
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

    def _through_layers(
        self, given: Incoming, seen: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """The output of the last layer, and the last states of all; notes the trace in seen."""
        last: list[tuple[Tensor, ...]] = []
        # What each direction reads: the same, unless they run apart.
        inputs = [given.x] * self.num_directions
        for layer in range(self.num_layers):
            if layer > 0:
                inputs = self._dropped(inputs)
            outputs = []
            for direction, suffix in enumerate(self._suffixes(layer)):
                seed = new_seed(given.x.device) if self.equations.drawn_inputs else None
                call = self._call(given, inputs[direction], layer, direction, seed)
                output, states = dispatch.run(call, self.backend, self.strict)
                if seen is not None:
                    seen |= self._trace(call, suffix)
                if self.proj_size:
                    output = output[..., : self.proj_size]
                    sizes = self.state_sizes.values()
                    states = tuple(s[:, :n] for s, n in zip(states, sizes, strict=True))
                outputs.append(output)
                last.append(states)
            is_apart = self.independent and layer + 1 < self.num_layers
            merged = self.MERGES[self.merge]
            if self.bidirectional and not self.independent:
                outputs = [merged(outputs)]
            if self.residual and layer > 0:
                outputs = [y + x for x, y in zip(inputs, outputs, strict=False)]
            if self.independent and not is_apart:
                outputs = [merged(outputs)]
            inputs = outputs if is_apart else outputs * self.num_directions
        x = inputs[0]
        if len(last) == 1:
            return x, [rows.unsqueeze(0) for rows in last[0]]
        return x, [torch.stack(rows) for rows in zip(*last, strict=True)]

    def _trace(self, call: Call, suffix: str) -> dict[str, Tensor]:
        """All that the step returns, of all steps."""
        found = dispatch.trace(call, self.backend)
        narrow = self.state_sizes if self.proj_size else {}
        return {f"{k}{suffix}": v[..., : narrow.get(k, v.shape[-1])] for k, v in found.items()}

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
            # The numbers of torch.nn, under the same seed.
            dropped = [F.dropout(x, self.dropout) for x in apart]
        return dropped if self.independent else dropped * self.num_directions

    def _identity(self, changes: int) -> str:
        """The cell as torch.compile may know it: a text; empty where no kernel runs the cell.

        It is asked again when the number of changes is another.
        """
        if self.backend not in ("auto", "cpp"):
            return ""
        return operators.traced_identity(self.equations, self._weights("_l0").weight_ih)

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
        cell, H, P = self.equations, self.hidden_size, self.proj_size
        if P:
            # Square blocks: h has zeros after its P units, and the projection makes no more.
            before = [] if learned is None else [F.pad(learned, (0, H - P))]
            projection = F.pad(getattr(self, f"weight_hr{suffix}"), (0, 0, 0, H - P))
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

    def _joined(self, states: list[Tensor]) -> RecurrentState:
        return states[0] if len(states) == 1 else tuple(states)

    def _forward_packed(
        self,
        packed: PackedSequence,
        hx: RecurrentState | None,
        lengths: Any,
        resets: Any,
        inputs: Any,
        return_trace: bool,
    ) -> Any:
        self._refuse_twice(lengths, resets, inputs)
        x, lengths = pad_packed_sequence(packed)
        given = prepared(self, x, hx, lengths, time_first=True)
        seen: dict[str, Tensor] | None = {} if return_trace else None
        output, last = self._through_layers(given, seen)

        def as_packed(sequence: Tensor) -> PackedSequence:
            order, of_row = packed.sorted_indices, lengths
            if order is not None:
                sequence, of_row = sequence.index_select(1, order), lengths[order.cpu()]
            return packed._replace(data=pack_padded_sequence(sequence, of_row).data)

        found = [as_packed(output), self._joined(last)]
        if seen is not None:
            found.append({name: as_packed(v) for name, v in seen.items()})
        return tuple(found)

    def _refuse_twice(self, lengths: Any, resets: Any, inputs: Any) -> None:
        if lengths is not None or resets is not None or inputs is not None:
            raise ValueError(
                f"{self.who}: a PackedSequence brings its own lengths; "
                f"lengths, resets and inputs go with a padded tensor."
            )

    def extra_repr(self) -> str:
        parts = [repr(self.cell), str(self.input_size), str(self.hidden_size)]
        for name, parameter in inspect.signature(Recurrent).parameters.items():
            is_told = name in ("cell", "input_size", "hidden_size", "device", "dtype")
            default = {} if name == "activations" else parameter.default
            if not is_told and getattr(self, name) != default:
                parts.append(f"{name}={getattr(self, name)!r}")
        return ", ".join(parts)

"""The layer that applies any cell through time, in stacked layers and both directions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from throughtime.cells.cell import Cell
from throughtime.kernels import Call, Explanation, dispatch
from throughtime.kernels.graph.random import new_seed
from throughtime.layers.dropout import dropout
from throughtime.layers.incoming import prepared
from throughtime.layers.planning import Network
from throughtime.layers.small import Small
from throughtime.layers.small_training import RunLayer, SmallTraining
from throughtime.layers.spec import OPTIONS, LayerSpec, default_of
from throughtime.layers.stack import Incoming, Stack
from throughtime.layers.stream import Stream

__all__ = ["Recurrent", "RecurrentState"]

RecurrentState = Tensor | tuple[Tensor, ...]
"""One state: a tensor. Several: a tuple. Each of shape (L*D, B, H)."""


class Recurrent(Stack):
    r"""A cell applied through time, with everything that ``torch.nn.LSTM`` has.

    Layer l reads the output of layer l - 1. With ``bidirectional`` a second set of weights reads
    the sequence from its end, and the output of each layer merges both directions.

    Args:
        cell: the equations, or their name (``throughtime.cells.names()``).
        input_size: I, the features of one step.
        hidden_size: H, the units of one layer in one direction.
        num_layers: L, how many layers are stacked.
        bias: whether the blocks of the weight matrices have biases.
        batch_first: whether sequences have the layout (B, T, …) instead of (T, B, …). The states
            are (L*D, B, H) either way.
        dropout: the probability of dropping an output of a layer before the next layer reads it.
        bidirectional: whether the layer also reads the sequence in reverse (D is then 2).
        merge: how the outputs of two directions are merged: ``concat``, ``sum``, ``mean`` or
            ``product``.
        backend: ``auto``, or the backend that must run it (``cpp``, ``torch``, ``reference``).
        save: which values are stored for the backward pass: ``gates`` stores all that it needs;
            ``states`` stores a few states and recomputes the gates, which takes less memory and
            more time.
        locked_dropout: whether ``dropout`` drops the same features at all steps of a sequence (Gal
            and Ghahramani, arXiv 1512.05287).
        recurrent_dropout: the probability of dropping a unit of the values that the recurrent
            matrices multiply, the same units at all steps of a sequence (arXiv 1512.05287, with one
            mask for all gates).
        zoneout: the probability that a unit keeps its value of the previous step: one number for
            all states, or by name, ``{"h": 0.05, "c": 0.5}`` (Krueger et al., arXiv 1606.01305).
        weight_drop: the probability of dropping a weight of the recurrent matrices, drawn once per
            call (DropConnect; Merity et al., arXiv 1708.02182).
        learned_state: whether the initial states of calls without ``hx`` are parameters
            (``initial_h_l{k}``). They start with the initial values that the cell declares.
        residual: whether each layer but the first adds its input to its output.
        independent: whether the two directions run through all layers separately and are merged
            only after the last.
        proj_size: P; more than 0 projects the output, and the state that is fed back, to P units
            (``weight_hr_l{k}`` (P, H), as in ``torch.nn.LSTM``). The cell may use h in matrix
            products only.
        activations: replacements for activation functions, ``{"tanh": "relu"}``; see
            :data:`throughtime.cells.wrapped.ACTIVATIONS`.
        clip: the arguments of activation functions are clipped to the range from -clip to clip.
        strict: whether ``backend="auto"`` raises an error instead of using the slow reference when
            no kernel can run the call.
        forget_bias: the initial bias of the forget gate (block f); 1 lets the network remember
            from the start of training. ``chrono`` draws the biases of all gates that control how
            long a state is kept (arXiv 1804.11188); it needs ``chrono_steps``.
        chrono_steps: T_max of ``forget_bias="chrono"``: the longest dependency expected, in steps.
        recurrent_init: the initial values of each block of the recurrent matrix: ``uniform`` as in
            torch.nn, ``orthogonal`` or ``identity``; None uses those that the cell declares, which
            are ``uniform`` for most cells.
        device, dtype: the device and dtype of the parameters.

    Shapes:
        input: (T, B, I); (B, T, I) with ``batch_first``; (T, I) for one sequence without a batch;
            or a ``PackedSequence``.
        output: as the input, with D*H features (H unless ``merge`` is ``concat``); zero past a
            row's end. With ``proj_size``, P replaces H here and in the projected state.
        states: (L*D, B, H), or (L*D, H) for one sequence without a batch: the state after each
            row's last valid step, layer by layer, the forward direction of a layer first. The
            reverse direction starts at a row's own last step and ends at its first.

    Parameters are named, ordered and drawn as those of ``torch.nn``: ``weight_ih_l{k}`` (G*H, I),
    ``weight_hh_l{k}`` (G*H, H), ``bias_ih_l{k}``, ``bias_hh_l{k}`` (G*H), then the cell's own
    (``p_i_l{k}``), all with ``_reverse`` for the other direction.

    Raises:
        ShapeError: for an input, a state or lengths of the wrong shape.
        ValueError: for an unknown name, or an option that has no effect with this cell.

    >>> layer = Recurrent("lstm-peephole", 3, 5, bidirectional=True, merge="sum")
    >>> output, (h, c) = layer(torch.zeros(7, 2, 3), lengths=[7, 4])
    >>> output.shape, h.shape
    (torch.Size([7, 2, 5]), torch.Size([2, 2, 5]))
    """

    _draws_as_torch: ClassVar[bool] = False
    """Whether dropout between layers draws the numbers that torch.nn draws with an equal seed; on a
    CPU that takes five times as long."""

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
        forget_bias: float | str | None = None,
        chrono_steps: float | None = None,
        recurrent_init: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        arguments: dict[str, Any] = locals() | {"activations": activations or {}}
        # Every option of LayerSpec is an argument of the same name.
        spec = LayerSpec(**{name: arguments[name] for name in OPTIONS})
        super().__init__(cell, spec, device, dtype)
        self._small, self._training = Small(), SmallTraining()

    @property
    def who(self) -> str:
        """The name of the layer in error messages."""
        name = type(self).__name__
        cell = f'"{self.cell.name}"' if self.cell.name else f"{type(self.cell).__name__}()"
        return f"{name}({cell})" if type(self) is Recurrent else name

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
        """Runs the layer on whole sequences, or on the next pieces of sequences.

        Args:
            input: the sequences; see the class for their layouts.
            hx: the initial states; None uses those of the cell (zero for most cells).
            lengths: (B,) whole numbers in any order: the number of valid steps of each row.
            resets: (T, B), or (B, T) with ``batch_first``: True where a row is set back to its
                initial state before step t.
            inputs: the further inputs of cells that declare ``inputs``, by name. Each has the
                layout of x with H features, one feature, or without the feature dimension if it
                has one feature.
            return_trace: whether to return all gates and states of all steps as well.

        Returns:
            The output and the last states. With ``return_trace`` also a dict: for each name that
            the cell's step returns (``f_l0``, ``c_l0_reverse``) its values at all steps, (T, B, H)
            or in the layout of the input; zero past a row's end, and without a gradient.
        """
        is_usual = lengths is None and resets is None and inputs is None and not return_trace
        # An object may have methods of its own; see `throughtime.inspection.measures.unrolled`.
        # torch.compile cannot trace this question, so it is asked last.
        if (
            is_usual
            and not torch.compiler.is_compiling()
            and _COMPUTING.keys().isdisjoint(vars(self))
        ):
            results = None
            if not torch.is_grad_enabled():
                results = self._small.run(self, self.network, input, hx)
            if results is None:
                results = self._training.run(self, self.network, self._through_layers, input, hx)
            if results is not None:
                output, last = results
                return output, last[0] if len(last) == 1 else tuple(last)
        incoming = prepared(self, input, hx, lengths, resets, inputs)
        recording: dict[str, Tensor] | None = {} if return_trace else None
        results = self._completed(incoming, partial(self._run, incoming, recording))
        if recording is None:
            return results
        return *results, {name: incoming.layout.restored(v) for name, v in recording.items()}

    def _completed(self, incoming: Incoming, run: RunLayer) -> tuple[Tensor, RecurrentState]:
        """The output and the last states of all layers, in the layout of the caller.

        Args:
            incoming: the checked arguments of the whole layer.
            run: runs one layer in one direction.
        """
        output, rows = self._through_layers(incoming.x, run)
        if output.requires_grad:
            # The caller may write into the result, and the backward pass reads the output again.
            output = output.clone()
        layout = incoming.layout
        last = [torch.cat(s) for s in zip(*rows, strict=True)]
        state = tuple(layout.without_batch(s, 1) for s in last)
        return layout.restored(output), state[0] if len(state) == 1 else state

    def _through_layers(self, x: Tensor, run: RunLayer) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
        """The output of the last layer, and for each layer and direction its last states.

        Args:
            x: the input, (T, B, I).
            run: runs one layer in one direction.
        """
        spec, D = self.spec, self.spec.num_directions
        last: list[tuple[Tensor, ...]] = []
        # One input for each direction; they are equal unless the directions are independent.
        inputs = [x] * D
        for layer in range(spec.num_layers):
            if layer > 0:
                inputs = self._dropped(inputs)
            outputs = []
            for direction in range(D):
                output, states = run(inputs[direction], layer, direction)
                if spec.proj_size:
                    output = output[..., : spec.proj_size]
                    sizes = self.state_sizes.values()
                    states = tuple(s[..., :n] for s, n in zip(states, sizes, strict=True))
                outputs.append(output)
                last.append(states)
            if spec.bidirectional and not spec.independent:
                outputs = [self.MERGES[spec.merge](outputs)]
            if spec.residual and layer > 0:
                outputs = [y + x for x, y in zip(inputs, outputs, strict=False)]
            is_apart = spec.independent and layer + 1 < spec.num_layers
            if spec.independent and not is_apart:
                outputs = [self.MERGES[spec.merge](outputs)]
            inputs = outputs if is_apart else outputs * D
        return inputs[0], last

    def _run(
        self,
        incoming: Incoming,
        recording: dict[str, Tensor] | None,
        x: Tensor,
        layer: int,
        direction: int,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Runs one layer in one direction, and adds its values to ``recording`` unless it is None.

        Args:
            incoming: the checked arguments of the whole layer.
            recording: the values of all steps by name.
            x: the input of this layer, (T, B, features).
            layer, direction: counted from 0; direction 1 is the reverse.

        Returns:
            The output (T, B, H), and the last states, each (1, B, H).
        """
        seed = new_seed(x.device) if self.equations.drawn_inputs else None
        call = self._call(incoming, x, layer, direction, seed)
        output, states = self._run_call(call, self._suffixes(layer)[direction], recording)
        return output, tuple(s.unsqueeze(0) for s in states)

    def _run_call(
        self, call: Call, suffix: str, recording: dict[str, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Runs a call of one layer; ``suffix`` is added to the names of its recorded values."""
        if recording is None:
            return dispatch.run(call, self.backend, self.strict)
        output, states, values = dispatch.run_and_record(call, self.backend, self.strict)
        recording |= self._narrowed(values, suffix)
        return output, states

    def _narrowed(self, values: Mapping[str, Tensor], suffix: str) -> dict[str, Tensor]:
        """The values of a layer without the units that a projection leaves zero.

        Args:
            values: all values that the step returns, by name.
            suffix: the suffix of the layer, which is added to the names.
        """
        narrow = self.state_sizes if self.proj_size else {}
        return {f"{k}{suffix}": v[..., : narrow.get(k, v.shape[-1])] for k, v in values.items()}

    def _dropped(self, inputs: list[Tensor]) -> list[Tensor]:
        """Applies dropout to the inputs of the next layer, one for each direction."""
        if not self.training or not self._drops_outputs:
            return inputs
        # Directions that are not independent read one input, so it is dropped once for both.
        sources = inputs if self.independent else inputs[:1]
        if self.locked_dropout:
            # One draw for all steps.
            masks = [F.dropout(x.new_ones(1, *x.shape[1:]), self.dropout) for x in sources]
            dropped = [x * mask for x, mask in zip(sources, masks, strict=True)]
        else:
            draw = F.dropout if self._draws_as_torch else dropout
            dropped = [draw(x, self.dropout) for x in sources]
        return dropped if self.independent else dropped * self.num_directions

    def stream(self, weights: str | None = None) -> Stream:
        """A stream, which reads a sequence step by step and keeps the state between the steps.

        Args:
            weights: ``bfloat16`` or ``int8`` for smaller, less precise weights; see
                :class:`Stream`.

        Raises:
            ValueError: for another type of weights, or if the layer is bidirectional: the reverse
                direction begins at the end.
        """
        if self.bidirectional:
            raise ValueError(
                f"{self.who}: bidirectional=True reads a sequence from its end too, which a "
                f"stream does not know. Use one direction."
            )
        return Stream(self, self.batch_first, self.network, weights)

    def network(self) -> Network:
        """The parts of the layer that the compiled plan of a stream runs."""
        kind, own = type(self), vars(self)
        changed = [
            name
            for name, method in _COMPUTING.items()
            if name in own or getattr(kind, name) is not method
        ]
        return Network(self, refusal=f"{changed[0]} is overridden" if changed else "")

    def explain(
        self,
        input: Tensor | PackedSequence,
        hx: RecurrentState | None = None,
        *,
        lengths: Tensor | list[int] | None = None,
        resets: Tensor | None = None,
        inputs: Mapping[str, Tensor] | None = None,
    ) -> Explanation:
        """Tells which backend would run this input, and why the faster ones would not."""
        incoming = prepared(self, input, hx, lengths, resets, inputs)
        # weight_drop draws random numbers; restore the generator, so that explaining changes none.
        with torch.random.fork_rng([incoming.x.device] if incoming.x.is_cuda else []):
            call = self._call(incoming, incoming.x, 0, 0)
        return dispatch.explain(call, self.backend, self.strict)

    def extra_repr(self) -> str:
        parts = [repr(self.cell), str(self.input_size), str(self.hidden_size)]
        for name, option in OPTIONS.items():
            is_listed = name in ("input_size", "hidden_size")
            if not is_listed and getattr(self.spec, name) != default_of(option):
                parts.append(f"{name}={getattr(self.spec, name)!r}")
        return ", ".join(parts)


def _computing() -> dict[str, Any]:
    """The methods and properties by which a layer computes its output."""
    telling = ("who", "extra_repr", "explain", "stream", "network", "reset_parameters")
    spaces = {**vars(Stack), **vars(Recurrent)}
    return {
        name: value
        for name, value in spaces.items()
        if (callable(value) or isinstance(value, property))
        and not name.startswith("__")
        and name not in telling
    }


_COMPUTING = _computing()

"""Makes the compiled plan of a module's recurrent layers, and notices when it is out of date."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.autograd import forward_ad
from torch.nn.modules import module as every_module
from torch.optim.optimizer import register_optimizer_step_post_hook

from throughtime.cells.owned import own_tensors
from throughtime.kernels import BACKENDS, Call
from throughtime.kernels.cpp.fingerprint import Fingerprint
from throughtime.kernels.cpp.plan import Head, Plan, PlannedLayer, reasons
from throughtime.kernels.cpp.scratch import lasting
from throughtime.kernels.graph.cell_keys import cell_key
from throughtime.kernels.transforms import is_direct, is_intercepted
from throughtime.layers.evaluation import evaluating
from throughtime.layers.incoming import prepared
from throughtime.layers.stack import Stack

__all__ = ["Network", "Planned", "fits", "is_plain", "planned"]

# A fused optimizer changes weights without raising their versions, so steps are counted.
_optimizer_steps = [0]


def _count_step(*_: Any) -> None:
    _optimizer_steps[0] += 1


register_optimizer_step_post_hook(_count_step)


@dataclass(frozen=True)
class Network:
    """The parts of a module that a plan runs one after the other.

    Args:
        recurrent: the recurrent layers.
        embedding: the embedding of the tokens that the layers read, which takes rows of its
            ``weight``; or None.
        head: the linear map of their outputs, or None.
        refusal: why a call of the module is more than its parts one after the other; else empty.
    """

    recurrent: Stack
    embedding: nn.Module | None = None
    head: nn.Linear | None = None
    refusal: str = ""

    def reasons(self) -> list[str]:
        """Why no plan can be made, whatever the cell is; empty if nothing is known against it."""
        layer, why = self.recurrent, [self.refusal] if self.refusal else []
        if layer.bidirectional:
            why.append("the layer reads in both directions")
        why += BACKENDS["cpp"].missing()
        if layer.backend not in ("auto", "cpp"):
            why.append(f'backend="{layer.backend}" is set')
        # A weight that is computed for each call, by a parametrization, has no place of its own.
        for name in layer._shapes:
            if name not in layer._parameters and name not in layer._buffers:
                why.append(f"{name} is computed anew for each call")
        if self.head is not None and type(self.head) is not nn.Linear:
            why.append(f"the head is a {type(self.head).__name__}")
        if getattr(self.embedding, "max_norm", None) is not None:
            why.append("the embedding has max_norm, which changes its weights as they are read")
        if self.embedding is not None and layer.cell.given_inputs:
            why.append("the cell has further inputs")
        if any("forward" in vars(p) for p in (self.embedding, self.head) if p is not None):
            why.append("the forward of a part is overridden")
        weights: list[Any] = [p.weight for p in (self.embedding, self.head) if p is not None]
        if any(w.dtype != layer.dtype or w.device.type != "cpu" for w in weights):
            why.append("the weights of the module differ in dtype or device")
        return why

    def layers(self) -> list[PlannedLayer]:
        """The recurrent layers with the weights that they have now."""
        layer = self.recurrent
        incoming = prepared(layer, *self._zeros(1))
        layers = []
        for number in range(layer.num_layers):
            width = layer.input_size if number == 0 else layer.output_size
            call: Call = layer._call(incoming, incoming.x.new_zeros(1, 1, width), number, 0)
            layers.append(PlannedLayer(call, layer.output_size, layer.residual and number > 0))
        return layers

    def initial(self, rows: int) -> tuple[Tensor, ...]:
        """The initial states of so many rows, each (L, B, size)."""
        return prepared(self.recurrent, *self._zeros(rows)).state

    def _zeros(self, rows: int) -> tuple[Any, ...]:
        """The arguments of :func:`prepared` for one step without a state."""
        layer = self.recurrent
        leading = (rows, 1) if layer.batch_first else (1, rows)
        weight: Tensor = layer._weight("weight_ih_l0", None)
        x = weight.new_zeros(*leading, layer.input_size)
        specs, H = layer.cell.given_inputs, layer.hidden_size
        inputs = {name: x.new_zeros(*leading, spec.size or H) for name, spec in specs.items()}
        return x, None, None, None, inputs


class Planned:
    """The plan of a module, or the reasons why it has none, and whether they still hold.

    Args:
        module: the module.
        network: its parts.
        weights: the type of packed weights; see :data:`throughtime.kernels.cpp.plan.WEIGHTS`.

    Attributes:
        layer: the recurrent layers of the module.
        plan: the plan, or None.
        why: the reasons why there is no plan.
        like: a tensor of the device and dtype of the outputs.
        batch_first, is_token, dtype, input_size: the layout and dtype of x, whether it consists of
            tokens, and its number of features if not.
        has_inputs: whether the cell has further inputs.
        runs_in_training: whether the layer computes the same in training mode.
    """

    def __init__(self, module: nn.Module, network: Network, weights: str | None) -> None:
        self.network, layer = network, network.recurrent
        self.layer, self._spec, self._key = layer, layer.spec, _key(layer)
        self._num_steps = _optimizer_steps[0]
        self._hooks: list[Mapping[int, Any]] = [
            every_module._global_forward_hooks,
            every_module._global_forward_pre_hooks,
        ]
        # Attributes, and the forward of each part, which others may replace.
        self._values: list[tuple[Mapping[str, Any], str, Any]] = []
        self._forwards: list[tuple[nn.Module, Any]] = []
        if network.embedding is not None:
            self._values.append((vars(network.embedding), "max_norm", None))
        self._tensors: list[tuple[Mapping[str, Any], str, Tensor, int, int]] = []
        readable, refusals = [], []
        for part in module.modules():
            self._hooks += [part._forward_hooks, part._forward_pre_hooks]
            self._values += [(part._modules, *item) for item in part._modules.items()]
            self._values.append((vars(part), "forward", vars(part).get("forward")))
            self._forwards.append((part, type(part).forward))
            own = own_tensors(layer.cell) if part is layer else {}
            constants = {name: tensor.value for name, tensor in own.items()}
            for space in (part._parameters, part._buffers, constants):
                for name, tensor in space.items():
                    if tensor is None:
                        continue
                    if tensor.is_inference():
                        refusals.append(f"{name} is an inference tensor, which counts no changes")
                        continue
                    address = 0
                    if is_direct((tensor,)) and tensor.layout is torch.strided:
                        address = tensor.data_ptr()
                        # It keeps the memory, so that no later tensor gets the same address.
                        readable.append(tensor.detach())
                    else:
                        kind = f"{type(tensor).__name__} on {tensor.device.type}"
                        refusals.append(f"{name} is a {kind}, which code cannot read")
                    self._tensors.append((space, name, tensor, tensor._version, address))
        self._readable = readable
        self.like: Tensor = layer._weight("weight_ih_l0", None).detach()
        self.batch_first, self.is_token = layer.batch_first, network.embedding is not None
        self.dtype = torch.int64 if self.is_token else self.like.dtype
        self.input_size, self.has_inputs = layer.input_size, bool(layer.cell.given_inputs)
        drops = max(layer.dropout, layer.weight_drop) > 0
        self.runs_in_training = not drops and cell_key(layer._equations[True]) == self._key
        self.plan: Plan | None = None
        self._bytes: Fingerprint | None = None
        self.why = network.reasons() + refusals
        if not self.why:
            with evaluating(module), lasting():
                layers = network.layers()
                self.why = reasons(layers, weights)
                if not self.why:
                    embedding, head = network.embedding, network.head
                    table: Any = None if embedding is None else embedding.weight
                    self.plan = Plan(
                        layers,
                        table,
                        None if head is None else Head(head.weight, head.bias),
                        weights,
                    )
                    self._bytes = Fingerprint(readable)

    def has_hooks(self) -> bool:
        """Whether a hook waits for a call of the module or of a part."""
        return any(self._hooks)

    def is_current(self) -> bool:
        """Whether the module has the same parts, options and weights as when the plan was made.

        A write that PyTorch does not count is noticed by :meth:`has_equal_bytes` only.
        """
        layer = self.layer
        if self._num_steps != _optimizer_steps[0]:
            return False
        if layer.spec is not self._spec or _key(layer) != self._key:
            return False
        for space, name, tensor, version, address in self._tensors:
            if space.get(name) is not tensor or tensor._version != version:
                return False
            if address != 0 and tensor.data_ptr() != address:
                return False
        for space, name, value in self._values:
            if space.get(name) is not value:
                return False
        for part, forward in self._forwards:
            if type(part).forward is not forward:
                return False
        return True

    def has_equal_bytes(self) -> bool:
        """Whether the weights have the bytes that they had when the plan was made.

        It reads all weights once. Call it if :meth:`is_current`: then they are where they were.
        """
        return self._bytes is None or self._bytes.is_equal()


def _key(layer: Stack) -> Any:
    """The key of the cell that the layer runs in evaluation mode."""
    return cell_key(layer._equations[False])


# Streams of one module share its plan, which is freed with the last of them.
_plans: WeakKeyDictionary[nn.Module, dict[str | None, ref[Planned]]] = WeakKeyDictionary()


def planned(
    module: nn.Module, describe: Callable[[], Network], weights: str | None = None
) -> Planned:
    """The plan of a module as it is now.

    Args:
        module: the module.
        describe: returns its parts.
        weights: the type of packed weights.
    """
    of_module = _plans.setdefault(module, {})
    reference = of_module.get(weights)
    known = None if reference is None else reference()
    if known is None or not (known.is_current() and known.has_equal_bytes()):
        known = Planned(module, describe(), weights)
        of_module[weights] = ref(known)
    return known


def is_plain(x: Tensor) -> bool:
    """Whether nothing but the results of a call, and their gradients, is asked for."""
    return not (
        not x.is_cpu
        or is_intercepted()
        or torch._C._is_any_autocast_enabled()
        or forward_ad._current_level >= 0
        or x.layout is not torch.strided
        or is_functorch_wrapped_tensor(x)
    )


def fits(state: Any, layer: Stack, rows: int | None) -> bool:
    """Whether a state of a layer can be that of a plan; if not, the layer raises the error.

    Args:
        state: the state.
        layer: the layer.
        rows: the size of the batch; None for one sequence without a batch.
    """
    states = (state,) if isinstance(state, Tensor) else state
    of_each = layer.num_layers * layer.num_directions
    batch = () if rows is None else (rows,)
    expected = [(of_each, *batch, size) for size in layer.state_sizes.values()]
    return (
        isinstance(states, (tuple, list))
        and len(states) == len(expected)
        and all(isinstance(s, Tensor) for s in states)
        and is_direct(states)
        and all(
            s.shape == shape and s.dtype is layer.dtype and not s.is_neg()
            for s, shape in zip(states, expected, strict=True)
        )
    )

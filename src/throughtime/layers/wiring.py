"""Layers in which only some units are connected: masks of their weights, and drawn circuits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from throughtime.checks import shape_is, unknown, whole_number
from throughtime.layers import parameters
from throughtime.layers.recurrent import Recurrent

__all__ = ["Circuit", "circuit", "wire"]

_Layer = TypeVar("_Layer", bound=Recurrent)


class _Masked(nn.Module):
    """Computes a weight with zeros wherever a mask is False.

    Args:
        mask: of the shape of the weight.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        # Not a product with the mask: a weight that is infinite there would give NaN.
        return torch.where(self.mask, weight, 0.0)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight


def wire(layer: _Layer, **masks: Tensor) -> _Layer:
    """Removes connections of a layer: its weights are zero, and stay zero, where a mask is False.

    A mask is applied once in each call, as a parametrization of ``torch.nn.utils.parametrize``: the
    learned weight is ``layer.parametrizations.weight_hh_l0.original``, and the mask is a buffer, so
    that both are in the state dict. ``remove_parametrizations`` makes the masked weight a parameter
    again. A file that ``save_onnx`` or ``save_pretrained`` writes has the masked weights.

    Args:
        layer: the layer, which is changed.
        masks: for each weight to be masked, by its name, where it has connections. A mask with the
            rows of one block, such as (H, H) for ``weight_hh_l0``, holds for all blocks.

    Returns:
        The layer.

    Raises:
        ValueError: for an unknown weight, a mask that is not of bool or has another shape, and for
            ``weight_hh`` if the cell computes its recurrent matrix from it, so that zeros would not
            remain zeros.

    >>> layer = Recurrent("gru", 2, 3)
    >>> _ = wire(layer, weight_hh_l0=torch.eye(3, dtype=torch.bool))
    >>> int((layer.weight_hh_l0 != 0).sum())
    9
    """
    shapes = parameters.shapes(layer.cell, layer.spec)
    whole: dict[str, Tensor] = {}
    # All masks are checked before the first is applied, so that an error leaves the layer as it is.
    for name, mask in masks.items():
        if name not in shapes:
            raise unknown(f"weight of {layer.who}", name, shapes)
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            got = mask.dtype if isinstance(mask, Tensor) else repr(mask)
            raise ValueError(
                f"wire: expected the mask of {name} as a tensor of torch.bool, True where there is "
                f"a connection, got {got}."
            )
        if name.startswith("weight_hh_l") and layer.cell.has_transform:
            raise ValueError(
                f"wire: {layer.who} computes its recurrent matrix from {name}, in which zeros do "
                f"not stay zeros. Mask another weight, or choose another cell."
            )
        shape = shapes[name]
        H = layer.hidden_size
        if mask.shape == (H, *shape[1:]) and shape[0] % H == 0:
            mask = mask.repeat(shape[0] // H, *(1 for _ in shape[1:]))
        shape_is("wire", f"the mask of {name}", mask, shape, f"{name} of {layer.who} has it")
        whole[name] = mask
    for name, mask in whole.items():
        weight: Tensor = getattr(layer, name)
        parametrize.register_parametrization(layer, name, _Masked(mask.to(weight.device)))
    return layer


@dataclass(frozen=True)
class Circuit:
    """The connections of a circuit of inputs, inter, command and motor neurons.

    The first units are the motor neurons, then come the command neurons, and the inter neurons.

    Args:
        inputs: where an input reaches a unit, (H, I).
        units: where a unit (the column) reaches a unit (the row), (H, H).
        motors: the number of motor neurons, which are the units 0 to motors - 1.
    """

    inputs: Tensor
    units: Tensor
    motors: int


def circuit(
    input_size: int, hidden_size: int, motors: int, *, sparsity: float = 0.5, seed: int = 0
) -> Circuit:
    """Draws a neural circuit policy, in which few connections lead from the inputs to the motors.

    Each input reaches some inter neurons, each inter neuron some command neurons; some pairs of
    command neurons are connected; each motor neuron is reached by some command neurons. A neuron
    that would not be reached, or reach none, gets a connection.

    Args:
        input_size: I, the number of inputs.
        hidden_size: H, the number of all units, at least motors + 3.
        motors: the number of motor neurons.
        sparsity: the fraction of connections that are missing between two kinds of neurons, from
            0.1 to 0.9.
        seed: of the draw, which does not touch PyTorch's own generator.

    Source: Lechner et al., "Neural circuit policies enabling auditable autonomy", Nature Machine
    Intelligence 2 (2020); the numbers of neurons and connections are those of AutoNCP in the
    package ncps.
    """
    I = whole_number("circuit", "input_size", input_size)
    motors = whole_number("circuit", "motors", motors)
    H = whole_number("circuit", "hidden_size", hidden_size, least=motors + 3)
    if not 0.1 <= sparsity <= 0.9:
        raise ValueError(f"circuit: expected sparsity from 0.1 to 0.9, got {sparsity!r}.")
    density, generator = 1 - sparsity, torch.Generator().manual_seed(seed)
    commands = max(int(0.4 * (H - motors)), 1)
    inters = H - motors - commands
    to_inter = _fan_out(I, inters, max(int(inters * density), 1), generator)
    to_command = _fan_out(inters, commands, max(int(commands * density), 1), generator)
    to_motor = _fan_out(motors, commands, max(int(commands * density), 1), generator).T
    units = torch.zeros(H, H, dtype=torch.bool)
    command, inter = slice(motors, motors + commands), slice(motors + commands, H)
    units[command, inter] = to_command
    units[:motors, command] = to_motor
    for _ in range(max(int(2 * commands * density), 1)):
        pair = torch.randint(commands, (2,), generator=generator) + motors
        units[pair[0], pair[1]] = True
    inputs = torch.zeros(H, I, dtype=torch.bool)
    inputs[inter] = to_inter
    return Circuit(inputs, units, motors)


def _fan_out(sources: int, targets: int, fan: int, generator: torch.Generator) -> Tensor:
    """Connections from each source to ``fan`` targets, and to each target at least one; (targets,
    sources)."""
    mask = torch.zeros(targets, sources, dtype=torch.bool)
    for source in range(sources):
        mask[torch.randperm(targets, generator=generator)[:fan], source] = True
    for target in (~mask.any(1)).nonzero().flatten().tolist():
        mask[target, int(torch.randint(sources, (), generator=generator))] = True
    return mask

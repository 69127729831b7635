"""What cells read at each step besides x, for the tests that run every cell.

A layer of :func:`fed` is called as any other: it then reads numbers that are functions of its x, so
that what is shown of x (padding that does not leak, pieces that are the whole, gradients) is shown
of them as well. :func:`drawn` gives numbers of their own.
"""

import torch
from torch.nn.utils.rnn import PackedSequence

import throughtime as tt

# What a number stands for bounds it: a mass is not negative, a share is below 1.
RANGES = {
    "mass": (0.1, 2.0),
    "time": (0.0, 10.0),
    "decay": (0.1, 1.0),
    "log_period": (0.0, 3.0),
    "shift": (0.0, 1.0),
    "open": (0.3, 0.9),
}

WITHOUT = [name for name in tt.cells.names() if not tt.cells.get(name).given_inputs]
"""The cells that read x alone: what embeds words, or packs its rows, has nothing else to give."""


def drawn(name, *shape, dtype=torch.float64, generator=None):
    """An input, or a parameter, of that name."""
    low, high = RANGES[name]
    return low + (high - low) * torch.rand(*shape, dtype=dtype, generator=generator)


def inputs_of(layer, x):
    """The further inputs of the layer as functions of its x.

    Linear ones: where x is NaN so are they, and yet no gradient is that had none before.
    """
    mean = x.mean(-1, keepdim=True)
    inputs = {}
    for name, spec in layer.cell.given_inputs.items():
        low, high = RANGES[name]
        unlike = torch.linspace(0.4, 0.6, spec.size or layer.hidden_size, dtype=x.dtype)
        inputs[name] = low + (high - low) * (unlike + 0.1 * mean)
    return inputs


def _feed(layer, args, kwargs):
    x = args[0] if args else kwargs["input"]
    if not isinstance(x, PackedSequence):
        kwargs = {"inputs": inputs_of(layer, x), **kwargs}
    return args, kwargs


def fed(layer):
    """The layer, which from now on gives itself what its cell reads besides x."""
    if layer.cell.given_inputs:
        layer.register_forward_pre_hook(_feed, with_kwargs=True)
    return layer


def bounded(layer):
    """The layer, of whose parameters those that stand for something bounded are drawn anew."""
    with torch.no_grad():
        for key, parameter in layer.named_parameters():
            if key.rsplit("_l", 1)[0] in RANGES:
                parameter.uniform_(*RANGES[key.rsplit("_l", 1)[0]])
    return layer

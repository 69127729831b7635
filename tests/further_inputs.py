"""Further inputs of cells besides x, for the tests that run every cell.

A layer from :func:`fed` is called like a layer without further inputs: it computes them from its x.
So a test of x (padding that does not leak, pieces that equal the whole, gradients) tests them as
well. :func:`drawn` returns random inputs that are independent of x.
"""

import torch
from torch.nn.utils.rnn import PackedSequence

import throughtime as tt

# The ranges of values that have a meaning: a mass is not negative, a share is below 1.
RANGES = {
    "mass": (0.1, 2.0),
    "time": (0.0, 10.0),
    "decay": (0.1, 1.0),
    "gap": (0.1, 2.0),
    "log_period": (0.0, 3.0),
    "shift": (0.0, 1.0),
    "open": (0.3, 0.9),
}

WITHOUT = [name for name in tt.cells.names() if not tt.cells.get(name).given_inputs]
"""The cells without further inputs, for tests whose inputs come from embeddings or packing."""


def drawn(name, *shape, dtype=torch.float64, generator=None):
    """An input, or a parameter, of that name, drawn at random in its range."""
    low, high = RANGES[name]
    return low + (high - low) * torch.rand(*shape, dtype=dtype, generator=generator)


def inputs_of(layer, x):
    """The further inputs of the layer as linear functions of its x.

    Linear, so that they are NaN where x is NaN, but their gradients are not.
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
    """Makes the layer compute its further inputs from its x, and returns the layer."""
    if layer.cell.given_inputs:
        layer.register_forward_pre_hook(_feed, with_kwargs=True)
    return layer


def bounded(layer):
    """Draws the parameters of the layer that have a range anew, and returns the layer."""
    with torch.no_grad():
        for key, parameter in layer.named_parameters():
            if key.rsplit("_l", 1)[0] in RANGES:
                parameter.uniform_(*RANGES[key.rsplit("_l", 1)[0]])
    return layer

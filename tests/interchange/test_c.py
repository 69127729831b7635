"""A C file computes what the layer or model computes."""


import numpy as np
import pytest
import torch
from torch import nn

import throughtime as tt
from throughtime.models.classifier import Classifier
from throughtime.models.language_model import LanguageModel
from throughtime.models.stepwise import StepwiseNetwork
from throughtime.models.tagger import Tagger

from ..further_inputs import bounded, inputs_of
from .c_runs import compiled, ran

CELLS = [name.replace("-", "_") for name in tt.cells.names()]
T = 30


class Mixed(tt.Cell):
    """A cell with every map between rows, sums over units, masks, and values of several stages."""

    gates, states = ("a", "b"), {"h": tt.State(), "m": tt.State(initial=0.5), "old": tt.State()}
    output = "y"

    def __init__(self):
        self.parameters = {"scale": tt.Parameter(), "A": tt.Parameter((6, 6))}

    def step(self, x, W, R, s, p):
        a = W.a(x) + R.a(s.h) + s.h @ p.A.T
        low, high = a[..., :3], a[..., 3:]
        turned = torch.cat([high, torch.roll(low, 1, -1)], -1).flip(-1)
        summed = torch.softmax(turned, -1).cumsum(-1)
        picked = a[..., [5, 0, 3, 3, -1, 2]]
        mask = (turned > 0.1) & ~(picked < -0.2) | (a == 0)
        b = torch.tanh(R.b(summed * p.scale) + W.b(x))
        m = torch.where(mask, 0.9 * s.m, torch.maximum(b, a - a.mean(-1, keepdim=True)))
        h = torch.tanh(
            b + torch.remainder(m, 0.7) - torch.fmod(a, 0.3) + torch.cat([a[..., ::2], -low], -1)
        )
        every = torch.zeros_like(h) + h.sum(-1, keepdim=True) / h.shape[-1]
        return {"h": h, "m": m, "old": s.h, "y": every + s.old * summed}


class Functions(tt.Cell):
    """A cell that calls every function."""

    gates, states = ("a",), ("h",)

    def step(self, x, W, R, s, p):
        a = W.a(x) + 0.5 * s.h
        near = torch.sin(a) * torch.cos(a) + torch.erf(a) + torch.expm1(a.clamp(-2, 2))
        roots = torch.sqrt(a.abs()) + torch.rsqrt(1 + a * a) + torch.log(a.abs() + 0.5)
        steps = torch.floor(a) + torch.ceil(a) + torch.round(3 * a) + torch.trunc(a)
        smooth = torch.nn.functional.softplus(a) + torch.nn.functional.logsigmoid(a)
        rest = torch.log1p(a * a) + torch.pow(a.abs(), 1.7) + torch.sign(a) + torch.relu(a)
        rest = rest + torch.minimum(a, -a) + torch.reciprocal(2 + a.abs()) + torch.exp(-a * a)
        return {"h": torch.tanh(near + 0.1 * (roots + steps + smooth + rest))}


def layer(cell, *args, **options):
    return tt.Recurrent(cell, *(args or (3, 6)), dtype=torch.float64, **options)


def moved(module):
    """The module with all weights moved, so that those that start at zero have an effect."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return module


MODULES = {
    **{name.replace("-", "_"): lambda n=name: layer(n, num_layers=2) for name in tt.cells.names()},
    "mixed": lambda: moved(layer(Mixed())),
    "functions": lambda: layer(Functions(), num_layers=2),
    "projected": lambda: layer("lstm", 3, 6, num_layers=2, proj_size=4),
    "residual": lambda: layer("gru", 6, 6, num_layers=3, residual=True),
    "learned": lambda: moved(layer("lstm", learned_state=True)),
    "zoned": lambda: layer("lstm-peephole", zoneout={"c": 0.2}, recurrent_dropout=0.3),
    "clipped": lambda: layer("lstm", clip=0.1, activations={"tanh": "softsign"}),
    "no_bias": lambda: layer("gru", bias=False, num_layers=2, dropout=0.5),
    "one_unit": lambda: layer("lstm", 1, 1),
    "wide": lambda: layer("gru", 37, 33),
    "normed": lambda: nn.utils.parametrizations.weight_norm(layer("gru"), "weight_hh_l0"),
    "torch_like": lambda: tt.LSTM(3, 6, 2, batch_first=True, dtype=torch.float64),
    "language": lambda: LanguageModel(11, hidden_size=6, embedding_size=5).double(),
    "tied": lambda: LanguageModel(11, hidden_size=20, tied=True, num_layers=1).double(),
    "stepwise": lambda: StepwiseNetwork(3, 2, hidden_size=6, cell="lem").double(),
    "last": lambda: Classifier(4, input_size=3, hidden_size=6, pooling="last").double(),
    "mean": lambda: Classifier(4, vocab_size=9, hidden_size=6, pooling="mean").double(),
    "largest": lambda: Classifier(4, input_size=3, hidden_size=6, pooling="max").double(),
    "tagger": lambda: Tagger(
        9, 4, letter_feature="none", output="softmax", hidden_size=6, bidirectional=False
    ).double(),
}


def of_layer(module, x, **more):
    """The outputs of a recurrent layer on the reference backend."""
    x = x[None] if module.batch_first else x[:, None]
    inputs = {n: v for n, v in inputs_of(module, x).items()}
    module.backend = "reference"
    y = module(x, inputs=inputs, **more)[0]
    return y.squeeze(0 if module.batch_first else 1), [v[:, 0] for v in inputs.values()]


def expected(module, x):
    """The outputs of a module in evaluation mode, and its further inputs."""
    module.eval()
    with torch.no_grad():
        if isinstance(module, tt.Recurrent):
            return of_layer(module, x)
        module.recurrent.backend = "reference"
        if isinstance(module, LanguageModel):
            return module(x[None])[0][0], []
        if isinstance(module, StepwiseNetwork):
            return module(x[None])[0], []
        if isinstance(module, Tagger):
            return module(x[None], [len(x)]).words[0], []
        # A classifier's output is that of the sequence until now.
        lengths = torch.arange(1, len(x) + 1)
        return module(x[None].expand(len(x), *x.shape), lengths), []


def input_of(module):
    embedding = getattr(module, "embedding", None)
    if embedding is not None:
        return torch.randint(embedding.num_embeddings, (T,))
    recurrent = module if isinstance(module, tt.Recurrent) else module.recurrent
    return torch.randn(T, recurrent.input_size, dtype=torch.float64)


@pytest.fixture(scope="module")
def modules():
    torch.manual_seed(0)
    built = {name: bounded(make()) for name, make in MODULES.items()}
    # Training mode: a file contains the module in evaluation mode all the same.
    return {name: module.train() for name, module in built.items()}


@pytest.fixture(scope="module")
def library(modules, tmp_path_factory):
    """All modules in one library: one call of the compiler, without a warning."""
    folder = tmp_path_factory.mktemp("c")
    headers = [
        tt.save_c(module, folder, name=name, weights="double")[0]
        for name, module in modules.items()
    ]
    assert all(module.training for module in modules.values())
    return compiled(folder, headers)


@pytest.mark.parametrize("name", MODULES)
def test_the_c_file_computes_what_the_module_computes(name, modules, library):
    torch.manual_seed(1)
    x = input_of(modules[name])
    wanted, further = expected(modules[name], x)
    arrays = [v.numpy() for v in (x, *further)]
    got = ran(library, name, arrays, wanted.shape[1], np.float64)
    scale = wanted.abs().max()
    torch.testing.assert_close(got / scale, wanted / scale, rtol=0, atol=1e-12)

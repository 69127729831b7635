"""A C file computes what the layer or model computes."""

import ctypes
import re
import subprocess

import numpy as np
import pytest
import torch
from torch import nn

import throughtime as tt
from throughtime.kernels.printing.c_functions import functions
from throughtime.models.cloze import Cloze
from throughtime.models.frame_model import FrameModel
from throughtime.models.language_model import LanguageModel
from throughtime.models.one_network import OneNetwork
from throughtime.models.performer_model import PerformerModel
from throughtime.models.stepwise import StepwiseNetwork
from throughtime.models.tagger import Tagger
from throughtime.models.transcriber import Transcriber

from ..further_inputs import bounded, inputs_of
from .c_runs import STRICT, built, compiled, compiler, ran
from .streamed_models import MODELS

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


class Numbers(tt.Cell):
    """A further input of one number as a whole row, values of parameters alone, and other names."""

    gates, states, inputs = ("a",), ("h", "größe"), {"time": tt.Input(size=1)}

    def __init__(self):
        self.parameters = {"W_a": tt.Parameter(), "c3": tt.Parameter()}

    def step(self, x, W, R, s, p, u):
        decay = torch.nn.functional.softplus(p.c3)
        late = u.time.sum(-1, keepdim=True) / 100
        a = torch.tanh(W.a(x) + R.a(u.time) + decay * (p.W_a > 0) + late)
        size = s.größe * torch.sigmoid(p.W_a) + a
        return {"h": a * u.time + torch.exp(-decay) * s.h, "größe": size}


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
    "numbers": lambda: moved(layer(Numbers())),
    "functions": lambda: layer(Functions(), num_layers=2),
    "projected": lambda: layer("lstm", 3, 6, num_layers=2, proj_size=4),
    "residual": lambda: layer("gru", 6, 6, num_layers=3, residual=True),
    "learned": lambda: moved(layer("lstm", learned_state=True)),
    "zoned": lambda: layer("lstm-peephole", zoneout={"c": 0.2}, recurrent_dropout=0.3),
    "clipped": lambda: layer("lstm", clip=0.1, activations={"tanh": "softsign"}),
    "no_bias": lambda: layer("gru", bias=False, num_layers=2, dropout=0.5),
    "one_unit": lambda: layer("lstm", 1, 1),
    "wide": lambda: layer("gru", 37, 33),
    "blocks": lambda: layer("lstm", 5, 70),  # more rows than a block of a stored matrix has
    "normed": lambda: nn.utils.parametrizations.weight_norm(layer("gru"), "weight_hh_l0"),
    "torch_like": lambda: tt.LSTM(3, 6, 2, batch_first=True, dtype=torch.float64),
    **{n.replace("-", "_"): lambda m=make: m().double() for n, make in MODELS.items()},
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
        for layer in module.modules():
            if isinstance(layer, tt.Recurrent):
                layer.backend = "reference"
        if isinstance(module, LanguageModel):
            return module(x[None])[0][0], []
        if isinstance(module, StepwiseNetwork):
            return module(x[None])[0], []
        if isinstance(module, Tagger):
            return module(x[None], [len(x)]).words[0], []
        if isinstance(module, Cloze):
            # The scores of the word after each token, which are those at the next place.
            return module(torch.cat([x[1:], x[:1]])[None])[0], []
        if isinstance(module, OneNetwork):
            # Those of the first token that is written, after the source until now.
            rows = [module.step(torch.tensor([1]), module.encode(x[None, :t]).state, None)[0]
                    for t in range(1, len(x))]  # fmt: skip
            return torch.cat(rows), []
        if isinstance(module, PerformerModel):
            h, _ = module(module.coding.radix.decode(x)[None])
            return module.coding.scores(h)[0], []
        if isinstance(module, FrameModel):
            return module.head.scores(module(x[None])[0])[0], []
        if isinstance(module, Transcriber):
            return module(x.view(1, T * module.stack, -1), torch.tensor([T * module.stack]))[0], []
        # A classifier's output is that of the sequence until now.
        lengths = torch.arange(1, len(x) + 1)
        return module(x[None].expand(len(x), *x.shape), lengths), []


def input_of(module):
    if getattr(module, "embedding", None) is not None:
        tokens = torch.randint(module.embedding.num_embeddings, (T,))
        # A sentence of a Cloze begins with its begin token.
        tokens[0] = module.bos if isinstance(module, Cloze) else tokens[0]
        return tokens
    if isinstance(module, PerformerModel):
        return torch.randint(module.coding.radix.num_symbols, (T,))
    if isinstance(module, Transcriber):
        return torch.randn(T, module.blocks[0].input_size, dtype=torch.float64)
    if getattr(module, "has_gaps", False):
        return torch.rand(T, module.input_size + 1, dtype=torch.float64)
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
    if getattr(modules[name], "has_gaps", False):
        x, further = x[:, :-1], [x[:, -1:]]
    arrays = [v.numpy() for v in (x, *further)]
    got = ran(library, name, arrays, wanted.shape[1], np.float64)
    if isinstance(modules[name], OneNetwork):
        got = torch.cat([ran(library, name, [np.append(arrays[0][:t], 1)], 8, np.float64)[-1:]
                         for t in range(1, T)])  # fmt: skip
    scale = wanted.abs().max()
    torch.testing.assert_close(got / scale, wanted / scale, rtol=0, atol=1e-12)


# What a file may store.


def test_the_types_of_the_weights_and_where_they_are(tmp_path):
    torch.manual_seed(0)
    model = LanguageModel(11, hidden_size=24, embedding_size=20, cell="lem").eval()
    tokens, headers, files = torch.randint(11, (T,)), [], {}
    for weights in ("float", "double", "int8"):
        for binary in (False, True):
            name = f"{weights}_{'file' if binary else 'array'}"
            files[name] = tt.save_c(model, tmp_path, name=name, weights=weights, binary=binary)
            headers.append(files[name][0])
    library = compiled(tmp_path, headers)
    with torch.no_grad():
        wanted = model(tokens[None])[0][0].double()
        exact = model.double()(tokens[None])[0][0]
    results = {}
    for name, paths in files.items():
        dtype = np.float64 if name.startswith("double") else np.float32
        content = paths[2].read_bytes() if len(paths) == 3 else None
        results[name] = ran(library, name, [tokens.numpy()], 11, dtype, content).double()
    for weights in ("float", "double", "int8"):
        assert torch.equal(results[f"{weights}_array"], results[f"{weights}_file"])
    torch.testing.assert_close(results["double_array"], exact, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(results["float_array"], wanted, rtol=0, atol=1e-6)
    error = (results["int8_array"] - exact).abs().max() / exact.abs().max()
    assert 1e-5 < error < 0.02
    size = {n: p[0].read_text().partition("_WEIGHT_BYTES ")[2].split()[0] for n, p in files.items()}
    assert int(size["float_array"]) == 4 * sum(p.numel() for p in model.parameters())
    assert int(size["int8_array"]) < 0.4 * int(size["float_array"])
    assert files["int8_file"][2].stat().st_size == 32 + int(size["int8_file"])
    hashes = [p[0].read_text().partition("_WEIGHTS_HASH ")[2].split()[0] for p in files.values()]
    assert len(set(hashes)) == 3


def test_the_header_tells_what_a_step_costs(tmp_path):
    layer = tt.LSTM(3, 40)
    text = tt.save_c(layer, tmp_path, name="amp")[0].read_text()
    assert f"AMP_MULTIPLICATIONS {4 * 40 * (3 + 40)}\n" in text
    assert "120 of sigmoid, 80 of tanh" in " ".join(text.split())
    assert f"AMP_WEIGHT_BYTES {4 * sum(p.numel() for p in layer.parameters())}\n" in text


# Programs that use a file.

PROGRAM = """
#include <math.h>
#include <stdio.h>
#include <string.h>
int main(void)
{
    LAYER_state state, other;
    float x[3] = {0.5f, -1.0f, 2.0f}, first[6], y[6];
    int k, failed = 0;
    LAYER_init(&state);
    LAYER_step(&state, x, first);
    LAYER_step(&state, x, y);
    failed |= memcmp(first, y, sizeof y) == 0;
    LAYER_reset(&state);
    LAYER_step(&state, x, y);
    failed |= 2 * (memcmp(first, y, sizeof y) != 0);
    other = state;
    x[1] = (float)NAN;
    LAYER_step(&state, x, y);
    for (k = 0; k < 6; ++k) failed |= 4 * !isnan(y[k]);
    x[1] = -1.0f;
    LAYER_step(&other, x, y);
    for (k = 0; k < 6; ++k) failed |= 8 * isnan(y[k]);
    LAYER_reset(&state);
    LAYER_step(&state, x, y);
    failed |= 16 * (memcmp(first, y, sizeof y) != 0);
    printf("%d", failed);
    return 0;
}
"""


@pytest.mark.parametrize("flags", [["-O1"], ["-O1", "-fsanitize=address,undefined"]])
def test_a_state_is_reset_and_copied_and_nan_passes_through(flags, tmp_path):
    layer = tt.Recurrent("lstm-layer-norm", 3, 6, num_layers=2)
    tt.save_c(layer, tmp_path, name="layer")
    program = tmp_path / "program"
    main = tmp_path / "main.c"
    main.write_text('#include "layer.h"\n' + PROGRAM.replace("LAYER", "layer"))
    built([main, tmp_path / "layer.c"], program, flags)
    done = subprocess.run([program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("0", "")


def test_a_token_that_is_none_and_weights_of_another_model_are_refused(tmp_path):
    for seed, name in enumerate(("one", "two")):
        torch.manual_seed(seed)
        model = LanguageModel(11, hidden_size=6, num_layers=1)
        tt.save_c(model, tmp_path, name=name, binary=True)
    library = compiled(tmp_path, [tmp_path / "one.h"])
    memory = [
        ctypes.create_string_buffer((tmp_path / f"{n}.bin").read_bytes()) for n in ("one", "two")
    ]
    state, y = ctypes.create_string_buffer(4096), (ctypes.c_float * 11)()
    size = ctypes.c_size_t(len(memory[0]) - 1)
    assert library.one_init(state, memory[1], size) == 1
    assert library.one_init(state, memory[0], ctypes.c_size_t(size.value - 4)) == 1
    assert library.one_init(state, ctypes.byref(memory[0], 1), size) == 1
    assert library.one_init(state, memory[0], size) == 0
    assert [library.one_step(state, token, y) for token in (-1, 11, 2**31 - 1)] == [1, 1, 1]
    assert list(y) == [0.0] * 11
    assert library.one_step(state, 10, y) == 0
    assert any(y)


@pytest.mark.parametrize("command", ["arm-none-eabi-gcc", "arm-linux-gnueabihf-gcc", "clang"])
@pytest.mark.parametrize("weights", ["float", "int8"])
def test_whole_blocks_of_rows_and_columns_compile_without_a_warning(weights, command, tmp_path):
    """Compilers look into loops whose length is known to be zero."""
    model = LanguageModel(16, hidden_size=32, embedding_size=32)
    tt.save_c(model, tmp_path, name="net", weights=weights, binary=True)
    # Without the libraries of the processor: the file is compiled only.
    words = [compiler(command), *STRICT, "-O3", "-c", str(tmp_path / "net.c")]
    done = subprocess.run([*words, "-o", str(tmp_path / "net.o")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:4000]


# Errors of the functions, in units in the last place.


@pytest.mark.parametrize("weights", ["float", "double"])
def test_the_errors_of_exp_and_tanh_are_those_that_the_header_states(weights, tmp_path):
    limits = {"exp": 2, "tanh": 3, "sigmoid": 3, "softplus": 3, "log_sigmoid": 3}
    text = "".join(f"real my_{name}_(real x) {{ return my_{name}(x); }}\n" for name in limits)
    real = f"typedef {weights} real;\n#include <math.h>\n#include <stdint.h>\n#include <stddef.h>\n"
    source = functions(text.replace("my_", "f_"), "f_", weights, weights)
    declared = "".join(f"real f_{name}_(real x);\n" for name in limits)
    (tmp_path / "f.c").write_text(real + source + "\n" + declared + text.replace("my_", "f_"))
    loops = "".join(
        f"void many_{n}(int count, const {weights} *x, {weights} *y);\n"
        f"void many_{n}(int count, const {weights} *x, {weights} *y)\n"
        f"{{ int i; for (i = 0; i < count; ++i) y[i] = f_{n}(x[i]); }}\n"
        for n in limits
    )
    with (tmp_path / "f.c").open("a") as file:
        file.write(loops)
    built([tmp_path / "f.c"], tmp_path / "f.so", ["-O2", "-shared", "-fPIC"])
    library = ctypes.CDLL(str(tmp_path / "f.so"))
    dtype = np.float32 if weights == "float" else np.float64
    generator = np.random.default_rng(0)
    x = np.concatenate([
        generator.uniform(-120, 120, 100_000),
        generator.uniform(-2, 2, 100_000),
        generator.uniform(-1, 1, 100_000) * 10.0 ** generator.uniform(-30, 0, 100_000),
    ]).astype(dtype)  # fmt: skip
    wide = x.astype(np.longdouble)
    small = np.log1p(np.exp(-np.abs(wide)))
    exact = {
        "exp": np.exp(wide),
        "tanh": np.tanh(wide),
        "sigmoid": 1 / (1 + np.exp(-wide)),
        "softplus": np.where(wide > 20, wide, np.maximum(wide, 0) + small),
        "log_sigmoid": np.minimum(wide, 0) - small,
    }
    for name, limit in limits.items():
        y = np.zeros_like(x)
        getattr(library, f"many_{name}")(
            len(x), *(a.ctypes.data_as(ctypes.c_void_p) for a in (x, y))
        )
        with np.errstate(over="ignore"):
            nearest = exact[name].astype(dtype)
        finite = np.isfinite(nearest)
        unit = np.spacing(np.abs(nearest[finite])).astype(np.longdouble)
        assert (np.abs(y[finite] - exact[name][finite]) / unit).max() <= limit
        assert np.array_equal(y[~finite], nearest[~finite])
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], dtype)
    y = np.zeros_like(special)
    log2 = float(dtype(np.log(2)))
    for name, values in {
        "exp": [np.inf, 0, 1, 1],
        "tanh": [1, -1, 0, -0.0],
        "sigmoid": [1, 0, 0.5, 0.5],
        "softplus": [np.inf, 0, log2, log2],
        "log_sigmoid": [0, -np.inf, -log2, -log2],
    }.items():
        pointers = (a.ctypes.data_as(ctypes.c_void_p) for a in (special, y))
        getattr(library, f"many_{name}")(len(special), *pointers)
        assert np.isnan(y[0])
        assert y[1:].tolist() == values
        assert np.signbit(y[4]) == np.signbit(values[3])


@pytest.mark.parametrize("cell", ["lstm", "slstm", "sgu", "rnn-relu"])
def test_gcc_makes_vector_instructions_of_the_equations(cell, tmp_path):
    """It makes none of a loop with a branch, which float comparisons with constants become."""
    tt.save_c(tt.Recurrent(cell, 32, 64), tmp_path, name="net", binary=True)
    lines = (tmp_path / "net.c").read_text().splitlines()
    loops = {i for i, line in enumerate(lines, 1) if line == "    for (k = 0; k < 64; ++k) {"}
    flags = ["-std=c99", "-O3", "-fopt-info-vec-optimized", "-c", "net.c"]
    words = [compiler(), *flags]
    told = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True).stderr
    vectorized = re.findall(r"^net\.c:(\d+):\d+: optimized: +loop vectorized", told, re.MULTILINE)
    assert loops
    assert loops <= set(map(int, vectorized))

"""Files that the exporters of PyTorch and the tools of ONNX Runtime write, of whole models: the
loaded module computes what the original and ONNX Runtime compute."""

import contextlib
import io
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from throughtime.interchange.onnx import load_onnx

from ..few import one_of

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

T, B, I, H = 5, 3, 2, 4
LAYERS = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "rnn": nn.RNN,
    "relu": lambda *sizes, **options: nn.RNN(*sizes, nonlinearity="relu", **options),
}
OPTIONS = {
    "plain": {},
    "batch first": {"batch_first": True, "num_layers": 2},
    "both ways": {"bidirectional": True, "num_layers": 2, "dropout": 0.5},
    "no bias": {"bias": False, "bidirectional": True, "batch_first": True},
}


class Packed(nn.Module):
    """A layer that takes the lengths of the rows."""

    def __init__(self, layer, is_sorted=True):
        super().__init__()
        self.layer, self.is_sorted = layer, is_sorted

    def forward(self, x, lengths):
        first = self.layer.batch_first
        packed = pack_padded_sequence(x, lengths, first, enforce_sorted=self.is_sorted)
        output, last = self.layer(packed)
        return pad_packed_sequence(output, first)[0], last


def flat(values):
    """The tensors of nested tuples in order."""
    if isinstance(values, torch.Tensor):
        return [values]
    return [one for value in values for one in flat(value)]


def exported(model, inputs, path, dynamo, opset, **options):
    """Writes a file and returns its path."""
    if dynamo:
        pytest.importorskip("onnxscript", reason="onnxscript is not installed")
        options |= {"verbose": False}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(model, inputs, path, dynamo=dynamo, opset_version=opset, **options)
    return path


def ran(path, inputs):
    """The outputs of ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    return session.run(None, dict(zip(names, [v.numpy() for v in flat(inputs)], strict=True)))


def compare(path, model, inputs, tolerance=1e-5):
    """Asserts that the loaded module, the original and ONNX Runtime compute equal results."""
    # Other tests compare compiled kernels with the reference.
    module = load_onnx(path, backend="reference")
    with torch.no_grad():
        got, wanted = module(*flat(inputs)), flat(model(*inputs))
    theirs = ran(path, inputs)
    assert len(got) == len(wanted) == len(theirs)
    for a, b, c in zip(got, wanted, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance)
        np.testing.assert_allclose(a, c, rtol=0, atol=tolerance)
        assert a.numpy().dtype == c.dtype
    return module


def layer_and_inputs(kind, options, call):
    """A layer, its export arguments, and inputs of other sizes where the sizes are variable."""
    layer = LAYERS[kind](I, H, **options).eval()
    rows = layer.num_layers * (2 if layer.bidirectional else 1)

    def inputs(T, B):
        x = torch.randn(B, T, I) if layer.batch_first else torch.randn(T, B, I)
        state = torch.randn(rows, B, H)
        if call == "packed":
            return (x, torch.arange(T, T - B, -1))
        if call == "states":
            return (x, (state, state.flip(0)) if kind == "lstm" else state)
        return (x,)

    model = Packed(layer) if call == "packed" else layer
    return model.eval(), inputs(T, B), inputs(7, 2) if call != "plain" else inputs(T, B)


def axes(inputs, batch_first, call):
    """The names of the inputs, and their variable sizes."""
    names = [f"in{n}" for n in range(len(flat(inputs)))]
    if call == "plain":
        return {"input_names": names}
    free = {name: {1: "batch"} for name in names}
    free["in0"] = {0: "batch", 1: "time"} if batch_first else {0: "time", 1: "batch"}
    if call == "packed":
        free["in1"] = {0: "batch"}
    return {"input_names": names, "dynamic_axes": free}


@pytest.mark.parametrize("call", ["plain", "free sizes", "states", "packed"])
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("opset", range(9, 21))
def test_layers_of_the_exporter_without_dynamo(opset, kind, call, tmp_path):
    # Each option with each version and each call, with one layer or another.
    turn = list(LAYERS).index(kind) + opset
    options = OPTIONS[list(OPTIONS)[turn % len(OPTIONS)]]
    model, inputs, others = layer_and_inputs(kind, options, call)
    more = axes(inputs, options.get("batch_first", False), call)
    exported(model, inputs, tmp_path / "a.onnx", False, opset, **more)
    compare(tmp_path / "a.onnx", model, others)


@pytest.mark.parametrize("call", ["plain", "free sizes", "states", "packed"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("kind", LAYERS)
def test_all_options_of_the_layers(kind, options, call, tmp_path):
    model, inputs, others = layer_and_inputs(kind, options, call)
    more = axes(inputs, options.get("batch_first", False), call)
    exported(model, inputs, tmp_path / "a.onnx", False, 17, **more)
    compare(tmp_path / "a.onnx", model, others)


@pytest.mark.parametrize(
    "settings",
    [
        {"do_constant_folding": False},
        {"keep_initializers_as_inputs": True},
        {"training": torch.onnx.TrainingMode.PRESERVE},
        {"training": torch.onnx.TrainingMode.TRAINING, "do_constant_folding": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", LAYERS)
def test_settings_of_the_exporter(kind, settings, tmp_path):
    model, inputs, _ = layer_and_inputs(kind, {"bidirectional": True}, "plain")
    exported(model, inputs, tmp_path / "a.onnx", False, 13, **settings)
    module = load_onnx(tmp_path / "a.onnx", backend="reference")
    for a, b in zip(module(*inputs), flat(model(*inputs)), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", LAYERS)
def test_one_sequence_alone_in_any_dtype(kind, dtype, tmp_path):
    model = LAYERS[kind](I, H, bidirectional=True, dtype=dtype).eval()
    x = torch.randn(T, I, dtype=dtype)
    exported(model, (x,), tmp_path / "a.onnx", False, 17)
    module = load_onnx(tmp_path / "a.onnx", backend="reference")
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12}.get(dtype, 2e-2)
    for a, b in zip(module(x), flat(model(x)), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def test_weights_that_are_not_folded_can_be_trained(tmp_path):
    """The file computes the node's weights from those of the layer; gradients reach the latter."""
    model, (x,), _ = layer_and_inputs("gru", {}, "plain")
    settings = {"do_constant_folding": False, "training": torch.onnx.TrainingMode.TRAINING}
    exported(model.train(), (x,), tmp_path / "a.onnx", False, 13, **settings)
    module = load_onnx(tmp_path / "a.onnx")
    module(x)[0].square().sum().backward()
    model(x)[0].square().sum().backward()
    named = dict(module.stored.named_parameters())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(named[name].grad, parameter.grad)


@pytest.mark.parametrize("options", OPTIONS, ids=OPTIONS)
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_layers_of_the_exporter_with_dynamo(kind, options, tmp_path):
    # An export takes seconds, so each option is tested with one call of each layer.
    turn = list(OPTIONS).index(options) + ["lstm", "gru"].index(kind)
    call = ("plain", "free sizes", "states")[turn % 3]
    model, inputs, _ = layer_and_inputs(kind, OPTIONS[options], call)
    more = {}
    if call == "free sizes":
        batch = 0 if model.batch_first else 1
        more["dynamic_shapes"] = ({batch: torch.export.Dim.DYNAMIC},)
    exported(model, inputs, tmp_path / "a.onnx", True, 18, **more)
    compare(tmp_path / "a.onnx", model, inputs)


@pytest.mark.parametrize("opset", [9, 13, 16, 20, 23])
def test_versions_of_the_exporter_with_dynamo(opset, tmp_path):
    kind = ("lstm", "gru")[opset % 2]
    model, inputs, _ = layer_and_inputs(kind, OPTIONS["both ways"], "states")
    exported(model, inputs, tmp_path / "a.onnx", True, opset)
    compare(tmp_path / "a.onnx", model, inputs)


def test_steps_that_were_written_out_one_by_one_are_refused(tmp_path):
    model, inputs, _ = layer_and_inputs("rnn", {}, "plain")
    exported(model, inputs, tmp_path / "a.onnx", True, 18)
    with pytest.raises(ValueError, match=r"got one with none\. .* with dynamo=False it writes"):
        load_onnx(tmp_path / "a.onnx")


# Whole models.


class Network(nn.Module):
    """The parts of the models below."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(9, 6)
        self.lstm = nn.LSTM(6, H, 2, batch_first=True, bidirectional=True, dropout=0.1)
        self.gru = nn.GRU(2 * H, 2 * H, batch_first=True)
        self.layer_norm, self.batch_norm = nn.LayerNorm(2 * H), nn.BatchNorm1d(2 * H)
        self.attention = nn.MultiheadAttention(2 * H, 2, batch_first=True)
        self.query, self.scores = nn.Linear(2 * H, 2 * H), nn.Linear(2 * H, 5)
        self.slope, self.dropout = nn.PReLU(), nn.Dropout(0.1)

    def hidden(self, tokens):
        return self.lstm(self.embedding(tokens))[0]


class Tagger(Network):
    def forward(self, tokens):
        y = torch.relu(self.layer_norm(self.hidden(tokens)))
        return F.log_softmax(self.scores(self.dropout(y)), -1)


class Classifier(Network):
    def forward(self, tokens):
        y, (h, _) = self.lstm(self.embedding(tokens))
        both = self.batch_norm(torch.cat([h[-2], h[-1]], -1))
        return self.scores(both).softmax(-1), y[:, -1], y.max(1).values, y.mean(1), both.argmax(-1)


class Ragged(Network):
    def forward(self, tokens, lengths):
        packed = pack_padded_sequence(
            self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False
        )
        y, (h, c) = self.lstm(packed)
        return pad_packed_sequence(y, batch_first=True)[0], h, c


class Masked(Network):
    def forward(self, tokens, lengths):
        y = self.hidden(tokens)
        mask = torch.arange(tokens.shape[1]) < lengths[:, None]
        y = y.masked_fill(~mask[..., None], 0.0)
        last = y[torch.arange(tokens.shape[0]), lengths - 1]
        gathered = y.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, 2 * H))[:, 0]
        where = (y @ self.query(last)[..., None]).squeeze(-1)
        where = where.masked_fill(~mask, float("-inf")).softmax(-1)
        mean = (y * mask[..., None].float()).sum(1) / lengths[:, None].float()
        return (where[..., None] * y).sum(1), mean, gathered


class Deep(Network):
    def forward(self, tokens):
        y = self.hidden(tokens)
        z, _ = self.gru(y)
        y = self.batch_norm((y + z).transpose(1, 2)).transpose(1, 2)
        a, b = y.chunk(2, -1)
        total = F.gelu(y) * F.silu(y) + F.elu(y) - F.leaky_relu(y) + F.softplus(y) + self.slope(y)
        total = total + F.hardsigmoid(y) + F.hardtanh(y) + F.selu(y) + F.mish(y) + F.relu6(y)
        return F.glu(y), a * torch.sigmoid(b), total + F.hardswish(y) + F.softsign(y)


class Attentive(Network):
    def forward(self, tokens):
        y = self.hidden(tokens)
        z, weights = self.attention(y, y, y)
        return self.layer_norm(y + z), weights


class Writer(Network):
    def forward(self, tokens, target):
        _, state = self.lstm(self.embedding(tokens))
        y, _ = self.lstm(self.embedding(target), state)
        return self.scores(y)


class Shapes(Network):
    def forward(self, tokens):
        y = self.hidden(tokens)
        z = torch.cat([y, y.flip(1)], -1).reshape(tokens.shape[0], -1)
        best = y.topk(2, -1)
        moved = torch.zeros_like(y)
        moved[:, 0], moved[:, 1:] = y[:, 0], y[:, :-1]
        return (
            *(z, best.values, best.indices, moved, y.cumsum(1), F.pad(y, (0, 0, 1, 2))),
            *(y.unsqueeze(2).repeat(1, 1, 2, 1).flatten(2), F.one_hot(tokens, 9).float()),
            *(torch.tril(y @ y.transpose(1, 2)), torch.einsum("btf,bsf->bts", y, y)),
            *(F.normalize(y, dim=-1), torch.stack([y, y], 0), y.pow(2).sum().sqrt()),
            *(y.std(-1), y.var(1, keepdim=True), y.clamp(-0.1, 0.1), y.logsumexp(-1)),
            *(y.amax(-1), y.prod(-1), torch.where(y > 0, y, y.abs()), y[:, ::2], y[:, 1:-1]),
            *(torch.floor(y * 10) % 3, y.norm(dim=-1), torch.round(y), y.min(), y.exp().log()),
            *((tokens == 3) & (tokens > 2) | (tokens < 1), tokens // 2, tokens % 4),
        )


TOKENS = torch.tensor([[3, 1, 4, 1, 5], [8, 2, 6, 5, 3], [5, 0, 7, 1, 2]])
MODELS = {
    "tagger": (Tagger, (TOKENS,)),
    "classifier": (Classifier, (TOKENS,)),
    "ragged": (Ragged, (TOKENS, torch.tensor([2, 5, 3]))),
    "masked": (Masked, (TOKENS, torch.tensor([2, 5, 3]))),
    "deep": (Deep, (TOKENS,)),
    "attentive": (Attentive, (TOKENS,)),
    "writer": (Writer, (TOKENS, TOKENS[:, :4])),
    "shapes": (Shapes, (TOKENS,)),
}


def model_named(name):
    torch.manual_seed(0)
    kind, inputs = MODELS[name]
    model = kind().eval()
    with torch.no_grad():
        model.batch_norm.running_mean.uniform_(-1, 1)
        model.batch_norm.running_var.uniform_(0.5, 2)
    return model, inputs


@pytest.mark.parametrize("opset", [14, 17, 20])
@pytest.mark.parametrize("is_free", [False, True], ids=["fixed", "free"])
@pytest.mark.parametrize("name", MODELS)
def test_models_of_the_exporter_without_dynamo(name, is_free, opset, tmp_path):
    model, inputs = model_named(name)
    more = {"input_names": [f"in{n}" for n in range(len(inputs))]}
    if is_free:
        more["dynamic_axes"] = {
            f"in{n}": {d: f"{d}of{n}" for d in range(v.dim())} for n, v in enumerate(inputs)
        }
    exported(model, inputs, tmp_path / "a.onnx", False, opset, **more)
    module = compare(tmp_path / "a.onnx", model, inputs)
    if is_free and name != "ragged":
        # The exporter fixes the sorting of a packed sequence to the rows of the example.
        fewer = tuple(v[1:] for v in inputs)
        for a, b in zip(module(*fewer), flat(model(*fewer)), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


@pytest.mark.parametrize("opset", [9, 11, 12])
@pytest.mark.parametrize("name", ["tagger", "classifier", "masked", "deep", "writer"])
def test_older_versions_of_the_exporter_without_dynamo(name, opset, tmp_path):
    model, inputs = model_named(name)
    exported(model, inputs, tmp_path / "a.onnx", False, opset)
    compare(tmp_path / "a.onnx", model, inputs)


# The export of the others by dynamo differs less from these than it takes long.
@pytest.mark.parametrize("name", one_of(2, [name for name in MODELS if name != "ragged"], 1))
def test_models_of_the_exporter_with_dynamo(name, tmp_path):
    model, inputs = model_named(name)
    free = tuple({0: torch.export.Dim.DYNAMIC} for _ in inputs)
    exported(model, inputs, tmp_path / "a.onnx", True, 20, dynamic_shapes=free)
    compare(tmp_path / "a.onnx", model, inputs)


# The tools of ONNX Runtime.


@pytest.fixture
def deep(tmp_path):
    model, inputs = model_named("deep")
    path = tmp_path / "a.onnx"
    free = {"dynamic_axes": {"in0": {0: "rows", 1: "steps"}}, "input_names": ["in0"]}
    exported(model, inputs, path, False, 17, **free)
    return path, model, inputs


@pytest.mark.parametrize("level", ["BASIC", "EXTENDED", "ALL"])
@pytest.mark.parametrize("name", ["tagger", "classifier", "masked", "deep", "attentive"])
@pytest.mark.parametrize("opset", [11, 17])
def test_an_optimised_file(opset, name, level, tmp_path):
    # PyTorch's limit, not ours: there is no file that could be read.
    if name == "attentive" and opset == 11:
        pytest.skip("The exporter does not know nn.MultiheadAttention in this version.")
    model, inputs = model_named(name)
    exported(model, inputs, tmp_path / "a.onnx", False, opset)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = getattr(
        onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}"
    )
    options.optimized_model_filepath = str(tmp_path / "b.onnx")
    onnxruntime.InferenceSession(
        str(tmp_path / "a.onnx"), options, providers=["CPUExecutionProvider"]
    )
    compare(tmp_path / "b.onnx", model, inputs)


@pytest.mark.parametrize("keep", [True, False], ids=["float32 around", "float16 all over"])
def test_a_file_in_half_precision(deep, keep):
    path, model, inputs = deep
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnxruntime.transformers.float16 import convert_float_to_float16

        half = convert_float_to_float16(onnx.load(path), keep_io_types=keep)
    onnx.save(half, path)
    module = load_onnx(path, backend="reference")
    got, theirs = module(*inputs), ran(path, inputs)
    for a, b in zip(got, theirs, strict=True):
        assert a.dtype == (torch.float32 if keep else torch.float16)
        np.testing.assert_allclose(a.detach(), b, rtol=0, atol=2e-2)
    # After the conversion back, all computation is in float32.
    wide = module.float()(*inputs)
    for a, b in zip(wide, flat(model(*inputs)), strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=0, atol=2e-2)


@pytest.mark.parametrize("name", ["tagger", "classifier", "masked", "deep"])
def test_a_module_that_is_converted_computes_in_its_new_type_throughout(name, tmp_path):
    """Constants, and types to which the file converts, change their dtype with the module."""
    model, inputs = model_named(name)
    free = {f"in{n}": {d: f"{d}of{n}" for d in range(v.dim())} for n, v in enumerate(inputs)}
    more = {"input_names": list(free), "dynamic_axes": free}
    exported(model, inputs, tmp_path / "a.onnx", False, 17, **more)
    module = load_onnx(tmp_path / "a.onnx", backend="reference").double()
    for a, b in zip(module(*inputs), flat(model.double()(*inputs)), strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_files_with_inferred_shapes(deep):
    path, model, inputs = deep
    from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference

    onnx.save(onnx.shape_inference.infer_shapes(onnx.load(path)), path.with_name("b.onnx"))
    compare(path.with_name("b.onnx"), model, inputs)
    symbolic = SymbolicShapeInference.infer_shapes(onnx.load(path), auto_merge=True)
    onnx.save(symbolic, path.with_name("c.onnx"))
    compare(path.with_name("c.onnx"), model, inputs)


@pytest.mark.parametrize("what", ["dynamic", "static"])
def test_a_quantised_file_is_refused(deep, what):
    path, _, inputs = deep
    from onnxruntime.quantization import CalibrationDataReader, quantize_dynamic, quantize_static

    class Once(CalibrationDataReader):
        def __init__(self):
            self.rest = iter([{"in0": inputs[0].numpy()}])

        def get_next(self):
            return next(self.rest, None)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if what == "dynamic":
            quantize_dynamic(path, path.with_name("b.onnx"))
        else:
            quantize_static(path, path.with_name("b.onnx"), Once())
    with pytest.raises(ValueError, match=r"the file is quantised, .* Load the file that was quant"):
        load_onnx(path.with_name("b.onnx"))

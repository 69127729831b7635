"""torch.compile around a transform of a layer: right outside the graph, or refused; never wrong."""

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap

from throughtime.kernels.cpp.build import missing

from .operator_layers import by_reference, close, layer_of, sequence

pytestmark = [
    pytest.mark.skipif(bool(missing()), reason="; ".join(missing())),
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
    # Of what torch.compile looks at when it has left the graph: Python functions, one by one.
    pytest.mark.filterwarnings("ignore:.*Dynamo detected a call to a `functools.lru_cache`"),
    pytest.mark.filterwarnings("ignore:.*attribute of a Tensor that is not a leaf Tensor"),
]

REFUSED = "cannot put a recurrence under torch.func or forward-mode differentiation into one graph"


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def output(layer):
    return lambda x: layer(x)[0]


def loss(layer):
    return lambda x: layer(x)[0].square().sum()


TRANSFORMS = {
    "vmap": lambda layer: vmap(output(layer)),
    "grad": lambda layer: vmap(grad(loss(layer))),
    "jvp": lambda layer: lambda x: jvp(output(layer), (x[0],), (x[1],)),
    "jacrev": lambda layer: lambda x: jacrev(output(layer))(x[0]),
    "jacfwd": lambda layer: lambda x: jacfwd(output(layer))(x[0]),
    "hessian": lambda layer: lambda x: hessian(loss(layer))(x[0]),
}


@pytest.mark.parametrize(
    "is_frozen", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["trainable", "frozen"]
)
@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_inside_is_run_outside_the_graph_or_refused(name, is_frozen):
    layer, x = layer_of("lstm", backend="auto").requires_grad_(not is_frozen), sequence(2)
    transformed = TRANSFORMS[name]
    expected = transformed(by_reference(layer))(x)
    ours = torch.compile(transformed(layer), backend="aot_eager")(x)
    torch.testing.assert_close(ours, expected)
    torch._dynamo.reset()
    with pytest.raises(torch._dynamo.exc.Unsupported, match=REFUSED):
        torch.compile(transformed(layer), backend="aot_eager", fullgraph=True)(x)


@pytest.mark.parametrize("is_frozen", [False, True], ids=["trainable", "frozen"])
def test_a_tangent_that_enters_a_compiled_layer_leaves_it(is_frozen):
    layer, x, v = layer_of("lstm", backend="auto"), sequence(), sequence()
    layer.requires_grad_(not is_frozen)
    expected = jvp(output(by_reference(layer)), (x,), (v,))
    compiled = torch.compile(output(layer), backend="eager")
    # What was compiled before knows of no tangent, and is compiled again.
    close([compiled(x)], [expected[0]])
    with forward_ad.dual_level():
        unpacked = forward_ad.unpack_dual(compiled(forward_ad.make_dual(x, v)))
    close(unpacked, expected)
    close([compiled(x)], [expected[0]])
    torch._dynamo.reset()
    whole = torch.compile(output(layer), backend="eager", fullgraph=True)
    with (
        forward_ad.dual_level(),
        pytest.raises(torch._dynamo.exc.Unsupported, match=REFUSED),
    ):
        whole(forward_ad.make_dual(x, v))

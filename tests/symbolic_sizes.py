"""How often torch.compile begins again when the sizes of the calls change."""

import torch
import torch._dynamo.testing

SIZES = ((3, 6), (2, 7), (8, 9), (4, 10))
"""B and T of several calls; no size is one of a layer (2, 5 or 12), which PyTorch would fix."""


def tensors(tree):
    return [v for v in torch.utils._pytree.tree_leaves(tree) if isinstance(v, torch.Tensor)]


def assert_compiles_once(module, calls, function=None, settles=0, **options):
    """Each call gives what it gives without torch.compile, and none but the first compiles.

    Args:
        module: whose parameters' gradients are compared too, where gradients are recorded.
        calls: arguments and keyword arguments of each call.
        function: what is compiled, where it is not the module.
        settles: the number of the last call that may compile.
        options: of torch.compile.
    """
    function = module if function is None else function
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(function, backend=counter, fullgraph=True, **options)
    expected_count = None
    for number, (args, kwargs) in enumerate(calls):
        results = []
        for each in (compiled, function):
            torch.manual_seed(number)
            values = tensors(each(*args, **kwargs))
            if torch.is_grad_enabled():
                total = sum(v.square().sum() for v in values)
                values += [
                    g
                    for g in torch.autograd.grad(
                        total, list(module.parameters()), allow_unused=True
                    )
                    if g is not None
                ]
            results.append(values)
        for ours, theirs in zip(*results, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        # PyTorch counts twice where a module has floats, as nn.Embedding has.
        if number == settles:
            expected_count = counter.frame_count
    assert number >= settles + 2
    assert counter.frame_count == expected_count
    torch._dynamo.reset()

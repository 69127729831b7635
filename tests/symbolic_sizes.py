"""Counts how often torch.compile recompiles when the sizes of the calls change."""

import torch
import torch._dynamo.testing

SIZES = ((3, 6), (2, 7), (8, 9), (4, 10))
"""B and T of several calls; none equals a size of the layer (2, 5 or 12), which is constant."""


def tensors(tree):
    return [v for v in torch.utils._pytree.tree_leaves(tree) if isinstance(v, torch.Tensor)]


def assert_compiles_once(module, calls, function=None, settles=0, **options):
    """Asserts that compiled calls give the results of eager ones, and only the first compiles.

    Args:
        module: the module; the gradients of its parameters are compared too, unless gradients are
            disabled.
        calls: arguments and keyword arguments of each call.
        function: the function to compile, if it is not the module.
        settles: the number of the last call that may compile.
        options: options of torch.compile.
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
        # PyTorch counts a module with floats, such as nn.Embedding, twice.
        if number == settles:
            expected_count = counter.frame_count
    assert number >= settles + 2
    assert counter.frame_count == expected_count
    torch._dynamo.reset()

"""Small calls of a layer on whole sequences, beside torch.nn: training steps and inference.

    python benchmarks/small_calls.py [--rounds N]

Bars: an LSTM of 128 units that reads 100 steps of one row infers at least 1.5 times as fast as
nn.LSTM, and trains at least 1.2 times as fast. Outside the kernel a training step takes at most
120 microseconds, and a call without gradients at most 40.

`outside` is our layer with compiled functions that return at once. `nothing` is a module with the
same weights and results that computes nothing: its step is what autograd itself takes.

A training step is the forward call, a sum, and the backward pass, which finds no gradients of
an earlier step. All contenders run on one thread and take turns; medians of the processor's time
of that thread. Before they are timed, their outputs and gradients are compared.

Writes results/small_calls.json.
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import throughtime as tt
from throughtime.kernels.cpp.runner import runner_of
from throughtime.kernels.cpp.training_code import code_of
from throughtime.measuring.live import alternate
from throughtime.measuring.machine import write_results

RESULT = Path(__file__).parent / "results" / "small_calls.json"
CELLS = ("lstm", "gru", "rnn-tanh", "lstm-peephole", "lem", "min-gru")
SIZES = ((16, 3), (32, 20), (64, 100), (128, 100), (256, 100))
SAME = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn-tanh": nn.RNN}


class _Nothing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, hidden: int, *weights: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(*weights)
        return x.new_empty(*x.shape[:2], hidden), x.new_empty(1, x.shape[1], hidden)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        return None, None, *(w.new_empty(w.shape) for w in ctx.saved_tensors)


class Nothing(nn.Module):
    """Has the weights of a layer and computes nothing."""

    def __init__(self, layer: tt.Recurrent) -> None:
        super().__init__()
        self.hidden, self.weights = layer.hidden_size, nn.ParameterList(layer.parameters())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return _Nothing.apply(x, self.hidden, *self.weights)


def training_step(layer: nn.Module, x: Tensor) -> Callable[[], None]:
    weights = list(layer.parameters())

    def step() -> None:
        for weight in weights:
            weight.grad = None
        layer(x)[0].sum().backward()

    return step


def inference(layer: nn.Module, x: Tensor) -> Callable[[], None]:
    def call() -> None:
        with torch.no_grad():
            layer(x)

    return call


def outside(call: Callable[[], None]) -> Callable[[], None]:
    """The call without its kernels: the compiled functions that it calls do nothing."""
    code, runner = code_of("float"), runner_of("float", None)
    compiled = code.forward, code.backward, runner.piece

    def nothing(*_: Any) -> int:
        return 0

    def without_kernels() -> None:
        code.forward = code.backward = runner.piece = nothing
        try:
            call()
        finally:
            code.forward, code.backward, runner.piece = compiled

    return without_kernels


def check(layer: tt.Recurrent, x: Tensor) -> None:
    """The gradients are those of the reference in float64."""
    exact = tt.Recurrent(layer.cell, x.shape[2], layer.hidden_size, backend="reference").double()
    exact.load_state_dict({name: value.double() for name, value in layer.state_dict().items()})
    for _ in range(2):
        training_step(layer, x[:20])()
    training_step(exact, x[:20].double())()
    for ours, theirs in zip(layer.parameters(), exact.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        error = (ours.grad.double() - theirs.grad).norm() / theirs.grad.norm()
        assert error < 1e-4, error


def measured(cell: str, hidden: int, steps: int, rounds: int) -> dict[str, Any]:
    torch.manual_seed(0)
    layer, x = tt.Recurrent(cell, hidden, hidden), torch.randn(steps, 1, hidden)
    check(layer, x)
    modules: dict[str, nn.Module] = {"ours": layer}
    if cell in SAME:
        modules["torch"] = SAME[cell](hidden, hidden)
    row: dict[str, Any] = {"cell": cell, "hidden": hidden, "steps": steps}
    for mode, call in (("training", training_step), ("inference", inference)):
        contenders = {name: call(module, x) for name, module in modules.items()}
        contenders["ours"]()
        contenders["outside"] = outside(contenders["ours"])
        if mode == "training":
            contenders["nothing"] = call(Nothing(layer), x)
        times = alternate(contenders, rounds)
        us = {
            name: round(1e6 * statistics.median(t.processor for t in blocks), 1)
            for name, blocks in times.items()
        }
        row[mode] = us
        if "torch" in us:
            row[f"{mode}_ratio"] = round(us["torch"] / us["ours"], 2)
    print(row, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    rows = [measured(cell, *size, rounds) for cell in CELLS for size in SIZES]
    write_results(RESULT, rows=rows)


if __name__ == "__main__":
    main()

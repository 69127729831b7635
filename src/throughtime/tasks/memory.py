"""memory: generated problems that show what a recurrent network can remember."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from throughtime.data.problems import PROBLEMS, Examples, GeneratedBatches, Graded, Problem
from throughtime.layers.evaluation import evaluating
from throughtime.models.stepwise import StepwiseNetwork, WindowNetwork
from throughtime.tasks.network import NetworkConfig, check_range
from throughtime.tasks.run_data import first_of
from throughtime.tasks.shown import Shown, Table
from throughtime.tasks.task import WHOLE, BatchTask, Evaluation, Figure, Loss, NoOptions, Share
from throughtime.tasks.uses import Observation, Prediction

__all__ = ["MemoryConfig", "MemoryTask"]

_EVALUATED_STEPS = 50_000
"""Steps of a batch of an evaluation, which bounds its memory."""


@dataclass
class MemoryConfig(NetworkConfig):
    """The problem, the network, and the batches.

    Args:
        problem: what is to be remembered: adding, two marked numbers; copying, ten symbols;
            temporal-order, the order of two symbols; parity, of bits; reber, a symbol during a word
            of the Reber grammar; anbn and anbncn, a number; dyck-1, the depth of brackets.
        length: size of the training examples: steps, the delay of copying, bits, the largest n,
            brackets (default: that of the problem).
        test_length: size of the test examples (default: length; for anbn and anbncn 1000).
        start_length: size of the examples of the first epoch, from which it grows geometrically
            to length (default: length from the first epoch on).
        growing_epochs: epochs in which the size grows from start_length to length.
        network: recurrent; or window, a feed-forward network that reads the last steps only.
        window: steps that the network called window reads.
        batch_size: examples of a batch, summed over all processes.
        batches_per_epoch: number of batches in an epoch; their examples are never repeated.
        num_valid: number of examples for validation; anbn and anbncn are validated on all n.
        num_test: number of examples for the test.
        data_seed: seed of the examples.
    """

    problem: Literal[
        "adding", "copying", "temporal-order", "parity", "reber", "anbn", "anbncn", "dyck-1"
    ] = "adding"
    length: int | None = None
    test_length: int | None = None
    _: KW_ONLY
    start_length: int | None = None
    growing_epochs: int = 10
    network: Literal["recurrent", "window"] = "recurrent"
    window: int = 10
    hidden_size: int = 64
    batch_size: int = 32
    batches_per_epoch: int = 100
    num_valid: int = 500
    num_test: int = 2000
    data_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        names = ("length", "test_length", "start_length", "growing_epochs", "window", "batch_size")
        names += ("batches_per_epoch", "num_valid", "num_test")
        check_range(self, names, most=10**6)
        check_range(self, ("data_seed",), least=0, most=2**32 - 1)
        problem = PROBLEMS[self.problem]
        for name in ("length", "test_length", "start_length"):
            if not problem.measure and getattr(self, name) is not None:
                raise ValueError(
                    f"--{name} {getattr(self, name)}: the words of {problem.name} have no size. "
                    "Leave it out."
                )
        length = self.length = self.length or problem.length
        self.test_length = self.test_length or (1000 if isinstance(problem, Graded) else length)
        if self.start_length is not None and self.start_length > length:
            raise ValueError(
                f"--start_length: expected at most --length {length}, got {self.start_length}."
            )

    @property
    def lengths(self) -> list[int]:
        """The size of the examples in each epoch; the last one holds for all later epochs."""
        assert self.length is not None
        if self.start_length is None:
            return [self.length]
        ratio = self.length / self.start_length
        steps = range(self.growing_epochs)
        grown = [round(self.start_length * ratio ** (i / self.growing_epochs)) for i in steps]
        return [*grown, self.length]


class MemoryTask(BatchTask):
    """A generated problem that cannot be solved without memory.

    The network reads a sequence and has an output at each step. For ``adding`` the loss is the
    squared error of the last output; for the other problems it is the cross-entropy of the symbols
    at all steps that have a target.

    Metrics: ``accuracy``, the fraction of sequences that are right, from 0 to 1. A sequence of
    ``adding`` is right if the error is below 0.04. Another sequence is right if, at each judged
    step, every legal symbol has a higher probability than every other symbol. ``right_to`` (only
    anbn and anbncn, only in the test), the largest n up to which all words are right.

    Units: the loss is in nats per step with a target; that of ``adding`` is a mean squared error.

    Source: Hochreiter and Schmidhuber, "Long short-term memory" (1997); see the classes of
        :mod:`throughtime.data.problems`.
    """

    name = "memory"
    Config = MemoryConfig
    PredictionOptions = NoOptions
    reads = "a sequence: its symbols, or numbers with spaces between them"
    writes = "the likeliest output after each step, or the number after the last"
    unit = "steps"

    @property
    def problem(self) -> Problem:
        return PROBLEMS[self.config.problem]

    @property
    def figures(self) -> Mapping[str, Figure]:  # pyright: ignore[reportIncompatibleVariableOverride]
        unit = "nats per step" if self.problem.outputs else "squared error"
        graded = {"right_to": Figure("n", "higher")} if isinstance(self.problem, Graded) else {}
        return {"loss": Figure(unit), "accuracy": Figure(better="higher"), **graded}

    def new_assets(self) -> dict[str, Any]:
        return {"data": self.problem.name}

    @property
    def title(self) -> str:
        c = self.config
        network = f"{c.cell}-{c.num_layers}" if c.network == "recurrent" else f"window-{c.window}"
        size = f"-{c.length}" if self.problem.measure else ""
        return f"{c.problem}{size}-{network}x{c.hidden_size}"

    def batches(self, split: str, share: Share = WHOLE) -> GeneratedBatches:
        c = self.config
        return GeneratedBatches(
            self.problem,
            c.lengths,
            c.batches_per_epoch,
            c.batch_size,
            seed=c.data_seed,
            **share._asdict(),
        )

    def model(self) -> nn.Module:
        c, sizes = self.config, (self.problem.input_size, self.problem.output_size)
        if c.network == "recurrent":
            return StepwiseNetwork(*sizes, **c.recurrent())
        return WindowNetwork(
            *sizes, window=c.window, hidden_size=c.hidden_size, num_layers=c.num_layers
        )

    def loss(
        self, model: nn.Module, batch: Examples, carried: Any = None, progress: float = 0.0
    ) -> Loss:
        outputs = model(batch.inputs, batch.lengths)[batch.has_target]  # (N, O)
        return Loss(self._total(outputs, batch), len(outputs))

    def _total(self, outputs: Tensor, batch: Examples) -> Tensor:
        targets = batch.targets[batch.has_target]
        if not self.problem.outputs:
            return nn.functional.mse_loss(outputs.squeeze(-1), targets, reduction="sum")
        return nn.functional.cross_entropy(outputs, targets, reduction="sum")

    def evaluate(
        self, model: nn.Module, split: str | None = None, options: Any = None
    ) -> Evaluation:
        c, split = self.config, split or "valid"
        if split not in ("valid", "test"):
            raise ValueError(
                f'memory: expected the split "valid" or "test", got "{split}": the training '
                "examples are drawn anew for every batch."
            )
        length = c.length if split == "valid" else c.test_length
        total = count = number = num_right = 0
        with evaluating(model):
            for batch in self._examples(split, length):
                outputs = self._outputs(model, batch)
                total += self._total(outputs[batch.has_target], batch).item()
                count += int(batch.has_target.sum())
                is_right = self._is_right(outputs, batch)
                number, num_right = number + len(is_right), num_right + int(is_right.sum())
            figures = {"loss": total / count, "accuracy": num_right / number}
            if isinstance(self.problem, Graded) and split == "test":
                figures["right_to"] = float(self._right_to(model, length))
        return Evaluation(figures, {"split": split, "examples": number, "length": length})

    def _examples(self, split: str, length: int) -> Iterator[Examples]:
        """The examples of a split, in batches: all sizes, or a fixed number of random examples."""
        c = self.config
        per_batch = max(1, _EVALUATED_STEPS // (3 * length))
        problem = self.problem
        if isinstance(problem, Graded):
            for first in range(1, length + 1, per_batch):
                yield problem.graded(range(first, min(first + per_batch, length + 1)))
            return
        number = c.num_valid if split == "valid" else c.num_test
        # The fourth number tells these examples from those of the training, which have three.
        draw = np.random.default_rng([c.data_seed, 0, 0, 1 if split == "valid" else 2])
        for first in range(0, number, per_batch):
            yield self.problem.examples(draw, min(per_batch, number - first), length)

    @staticmethod
    def _outputs(model: nn.Module, batch: Examples) -> Tensor:
        device = next(model.parameters()).device
        return model(batch.inputs.to(device), batch.lengths).cpu()

    def _is_right(self, outputs: Tensor, batch: Examples) -> Tensor:
        """Whether each sequence of a batch is right (B)."""
        if not self.problem.outputs:
            errors = (outputs.squeeze(-1) - batch.targets).abs() * batch.has_target
            return (errors < 0.04).all(1)
        least_legal = outputs.where(batch.legal, torch.inf).amin(-1)
        most_illegal = outputs.where(~batch.legal, -torch.inf).amax(-1)
        is_judged = batch.legal.any(-1)
        return ((least_legal > most_illegal) | ~is_judged).all(1)

    def _right_to(self, model: nn.Module, most: int) -> int:
        """The largest n, at most ``most``, up to which the words of all n are right."""
        num_right = 0
        for batch in self._examples("test", most):
            is_right = self._is_right(self._outputs(model, batch), batch)
            if not is_right.all():
                return num_right + int(is_right.int().argmin())
            num_right += len(is_right)
        return most

    def show(self, model: nn.Module) -> list[Shown]:
        problem, length = self.problem, self.config.length
        examples = next(self._examples("valid", min(length, 20)))
        with evaluating(model):
            outputs = self._outputs(model, examples)
        rows = []
        for row in range(min(4, len(outputs))):
            last = int(examples.lengths[row]) - 1
            output, target = outputs[row, last], examples.targets[row, last]
            if problem.outputs:
                rows.append([problem.outputs[output.argmax()], problem.outputs[int(target)]])
            else:
                rows.append([f"{output.item():.3f}", f"{target.item():.3f}"])
        size = f" of {min(length, 20)} {problem.measure}" if problem.measure else ""
        return [Table(["output", "target"], rows, f"The last step of examples{size}")]

    def held_out(self, most: int) -> list[Tensor]:
        rows: list[Tensor] = []
        for batch in self._examples("valid", self.config.length):
            lengths = batch.lengths.tolist()
            rows += [x[:length] for x, length in zip(batch.inputs, lengths, strict=True)]
            if sum(map(len, rows)) >= most:
                break
        return first_of(rows, len, most)

    def observe(self, model: nn.Module, input: str | Tensor) -> Observation:
        problem = self.problem
        x = problem.parse(input.strip()) if isinstance(input, str) else input  # (T, I)
        if not len(x):
            raise ValueError("expected at least one symbol, got an empty line.")

        def run() -> Tensor | None:
            with evaluating(model):
                outputs = model(x[None].to(next(model.parameters()).device))[0].cpu()  # (T, O)
            return outputs.softmax(-1) if problem.outputs else None

        is_symbols = bool((x.sum(1) == 1).all() and ((x == 0) | (x == 1)).all())
        if is_symbols:
            steps = tuple(problem.inputs[i] for i in x.argmax(1).tolist())
            return Observation({"recurrent": steps}, run, problem.outputs)
        steps = tuple(str(t) for t in range(1, len(x) + 1))
        return Observation({"recurrent": steps}, run, problem.outputs, x, problem.inputs)

    def predictions(
        self,
        model: nn.Module,
        inputs: Iterable[Sequence[str]],
        options: NoOptions,
        say: Callable[[str], None],
    ) -> Iterator[Prediction]:
        problem = self.problem
        device = next(model.parameters()).device
        for number, line in enumerate((line for lines in inputs for line in lines), 1):
            if not line.strip():
                yield Prediction([""], {"outputs": []})
                continue
            try:
                x = problem.parse(line.strip())
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
            with evaluating(model):
                outputs = model(x[None].to(device))[0].cpu()  # (T, O)
            if not problem.outputs:
                last = outputs[-1].item()
                yield Prediction([f"{last:.4f}"], {"outputs": outputs[:, 0].tolist()})
                continue
            likeliest = [problem.outputs[i] for i in outputs.argmax(-1)]
            last = dict(zip(problem.outputs, outputs[-1].softmax(-1).tolist(), strict=True))
            yield Prediction([" ".join(likeliest)], {"outputs": likeliest, "last": last})

"""Writes the C of a network: the functions of its layers, and the step that calls them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from throughtime.interchange.c.arrays import Arrays
from throughtime.interchange.steps import StepWeights, further_inputs, traced
from throughtime.interchange.streamed import Streamed
from throughtime.kernels.graph.functions import Untraceable
from throughtime.kernels.graph.graph import Node, evaluate
from throughtime.kernels.printing.c import StepInC, step_in_c
from throughtime.kernels.printing.c_order import Layout, MatrixUse
from throughtime.kernels.printing.c_text import function_text, identifier, number

__all__ = ["Network"]


@dataclass
class Network:
    """The C of a network.

    Args:
        who: the name of the writing function, with which error messages begin.
        prefix: what the names of functions and arrays begin with.
        model: the parts of the network, with plain weights and in evaluation mode.
        arrays: the weights.

    Attributes:
        functions: the text of the function of each layer.
        fields: the recurrent states by name: their width, and the statements that give ``state->``
            their initial value.
        step, reset: the statements of the two functions.
        inputs: the further inputs that the program passes, by name, with their width.
        read: the arrays that the layers read as their further inputs, by name.
        scratch: the number of numbers that a step uses in passing.
        multiplications, operations: of one step: the multiplications of the products with matrices,
            each with an addition; the other additions, multiplications and divisions.
        calls: how often a step calls functions such as tanh, by name.
    """

    who: str
    prefix: str
    model: Streamed
    arrays: Arrays
    functions: list[str] = field(default_factory=list)
    fields: dict[str, int] = field(default_factory=dict)
    step: list[str] = field(default_factory=list)
    reset: list[str] = field(default_factory=list)
    inputs: dict[str, int] = field(default_factory=dict)
    read: dict[str, str] = field(default_factory=dict)
    scratch: int = 0
    multiplications: int = 0
    operations: int = 0
    calls: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        layer = self.model.recurrent
        widths = {
            name: layer.equations.input_specs[name].size or layer.hidden_size
            for name in further_inputs(self.who, layer.equations)
        }
        constants = self.model.constants(self.who, list(widths))
        self.inputs = {name: width for name, width in widths.items() if name not in constants}
        self.read = {name: f"u_{identifier(name)}" for name in widths}
        for name, value in constants.items():
            self.read[name] = self._buffer(widths[name])
            filled = f"{_at(self.read[name])} = {number(value, self.real)};"
            self.step.append(self._loop(widths[name], filled))
        source = "x"
        if self.model.embedding is not None:
            source = self._embedding(self.model.embedding)
        source = self._layers(source)
        if self.model.head is not None:
            self._head(self._pooled(source), self.model.head)

    @property
    def real(self) -> str:
        """The type of all numbers."""
        return self.arrays.real

    @property
    def input_size(self) -> int:
        """The number of features of x; 0 if the network reads tokens."""
        return 0 if self.model.embedding is not None else self.model.recurrent.input_size

    @property
    def tokens(self) -> int:
        """The number of tokens; 0 if the network reads numbers."""
        return 0 if self.model.embedding is None else self.model.embedding.num_embeddings

    @property
    def output_size(self) -> int:
        """The number of outputs."""
        head = self.model.head
        return self.model.recurrent.output_size if head is None else head.out_features

    # The weights as parameters of functions, if they are not arrays of the file.

    @property
    def weight_names(self) -> list[str]:
        """The names of the arguments of weights."""
        return ["weights", *["bytes"] * self.arrays.is_int8] * self.arrays.is_binary

    @property
    def weight_parameters(self) -> list[str]:
        """The parameters of weights of a function."""
        kinds = {"weights": self.real, "bytes": "int8_t"}
        return [f"const {kinds[name]} *restrict {name}" for name in self.weight_names]

    # The parts of a step.

    def _buffer(self, width: int) -> str:
        """The expression of an array that only one step uses."""
        self.scratch += width
        return f"state->scratch + {self.scratch - width}"

    def _loop(self, width: int, body: str) -> str:
        return f"for (k = 0; k < {width}; ++k) {body}"

    def _embedding(self, embedding: nn.Embedding) -> str:
        E = embedding.embedding_dim
        self.table = self.arrays.matrix("embedding", embedding.weight, in_blocks=False)
        table, scales = self.table
        target = self._buffer(E)
        scale = f" * {scales}[token]" if scales else ""
        value = (
            f"({self.real}){table}[(size_t)token * {E} + (size_t)k]"
            if scales
            else f"{table}[(size_t)token * {E} + (size_t)k]"
        )
        self.step.append(self._loop(E, f"{_at(target)} = {value}{scale};"))
        return target

    def _layers(self, source: str) -> str:
        """Writes all layers, and the calls that run them one after the other.

        Args:
            source: the array that the first layer reads.

        Returns:
            The array with the output of the last layer.
        """
        layer = self.model.recurrent
        learned = layer.learned_states() if layer.learned_state else None
        # The layers run one after the other, so that they can share the memory of a step.
        shared, written = self.scratch, [self._layer(l) for l in range(layer.num_layers)]
        self.scratch += max(step.scratch for step in written)
        for l in range(layer.num_layers):
            for i, (name, width) in enumerate(layer.state_sizes.items()):
                start = layer.cell.state_specs[name].initial if learned is None else learned[i][l]
                self._field(f"{identifier(name)}_l{l}", width, start)
            is_last = l + 1 == layer.num_layers and self.model.head is None
            target = "y" if is_last else self._buffer(layer.output_size)
            arguments = [
                source,
                *self.read.values(),
                *(f"state->{identifier(name)}_l{l}" for name in layer.state_sizes),
                *(target, f"state->scratch + {shared}"),
                *self.weight_names,
            ]
            self.step.append(f"{self.prefix}step_l{l}({', '.join(arguments)});")
            if layer.residual and l > 0:
                added = f"{_at(target)} += {_at(source)};"
                self.step.append(self._loop(layer.output_size, added))
                self.operations += layer.output_size
            source = target
        return source

    def _layer(self, l: int) -> StepInC:
        """Writes the function of one layer."""
        layer, suffix, real = self.model.recurrent, f"_l{l}", self.real
        step, weights = traced(self.who, layer), StepWeights(layer, suffix)

        def product(use: MatrixUse, operand: str, target: str) -> list[str]:
            matrix, bias = weights.blocks(use.letter, list(use.blocks))
            stored = self.arrays.matrix(use.name, matrix)
            return self._product(use.name, matrix.shape, stored, bias, operand, target)

        own = {("parameter", name): value.double() for name, value in weights.vectors.items()}

        def constant(node: Node) -> str:
            (value,) = evaluate([node], own)
            return self.arrays.vector(f"c{node.index}{suffix}", value)

        layout = Layout(
            H=layer.hidden_size,
            features=layer.input_size if l == 0 else layer.output_size,
            rows={(p.matrix, p.block): weights.rows(p.matrix, p.block) for p in step.products},
            states=layer.state_sizes,
            suffix=suffix,
            real=real,
            prefix=self.prefix,
            constant=constant,
            product=product,
        )
        try:
            written = step_in_c(step, layout)
        except Untraceable as reason:
            raise ValueError(
                f"{self.who}: the cell {layer.cell.title} cannot be exported: {reason}."
            ) from reason
        self.operations += written.operations
        self.calls += written.functions
        text = "\n".join(written.lines)
        pointers: list[str] = []
        for name, value in weights.vectors.items():
            pointer = f"p_{identifier(name)}"
            if _is_read(pointer, text):
                place = self.arrays.vector(f"{pointer}{suffix}", value)
                pointers.append(f"const {real} *const {pointer} = {place};")
        read = ["x", *(f"u_{identifier(name)}" for name in self.read)]
        changed = [*(f"s_{identifier(name)}" for name in layer.state_sizes), "y", "scratch"]
        parameters = [f"const {real} *restrict {name}" for name in read]
        parameters += [f"{real} *restrict {name}" for name in changed]
        parameters += self.weight_parameters
        text = "\n".join((text, *pointers))
        unused = [n for n in (*read, *changed, *self.weight_names) if not _is_read(n, text)]
        void = [f"(void){name};" for name in unused]
        head = f"static void {self.prefix}step{suffix}({', '.join(parameters)})"
        self.functions.append(function_text(head, ["int k;", *pointers, *void, *written.lines]))
        return written

    def _product(
        self,
        name: str,
        shape: Sequence[int],
        matrix: tuple[str, str],
        bias: Tensor | None,
        operand: str,
        target: str,
        in_blocks: bool = True,
    ) -> list[str]:
        """The statements of a product with a matrix, plus the bias.

        Args:
            name: the name of the matrix.
            shape: the number of its rows and of its columns.
            matrix: the expressions of the matrix and of its scales.
            bias: its bias.
            operand, target: the arrays that are read and written.
            in_blocks: how the matrix is stored; see :meth:`Arrays.matrix`.
        """
        (rows, columns), (place, scales) = shape, matrix
        zero = number(0.0, self.real)
        own = zero if bias is None else f"{self.arrays.vector(f'bias_{name}', bias)}[k]"
        self.multiplications += rows * columns
        self.operations += rows * ((bias is not None) + bool(scales))
        lines = [self._loop(rows, f"{_at(target)} = {zero if scales else own};")]
        function = "product" if in_blocks else "product_by_rows"
        lines.append(f"{self.prefix}{function}({rows}, {columns}, {place}, {operand}, {target});")
        if scales:
            plus = "" if bias is None else f" + {own}"
            lines.append(self._loop(rows, f"{_at(target)} = {_at(target)} * {scales}[k]{plus};"))
        return lines

    def _field(self, name: str, width: int, start: float | Tensor) -> str:
        """Adds a recurrent state with its initial value; returns the expression of its array."""
        self.fields[name] = width
        value = number(start, self.real) if isinstance(start, (int, float)) else ""
        if isinstance(start, Tensor):
            value = f"{self.arrays.vector(f'initial_{name}', start)}[k]"
        self.reset.append(self._loop(width, f"state->{name}[k] = {value};"))
        return f"state->{name}"

    def _pooled(self, source: str) -> str:
        """The value of all steps until now that the head reads."""
        pooling, width = self.model.pooling, self.model.recurrent.output_size
        if pooling in ("every", "last"):
            return source
        pooled = self._field("pooled", width, 0.0 if pooling == "mean" else -math.inf)
        if pooling == "max":
            self.operations += width
            largest = f"{self.prefix}maximum({pooled}[k], {_at(source)})"
            self.step.append(self._loop(width, f"{pooled}[k] = {largest};"))
            return pooled
        self.operations += 3 * width + 1
        steps = self._field("steps", 1, 0.0)
        # The mean itself is kept, as a sum would grow with the number of steps.
        moved = f"{pooled}[k] += ({_at(source)} - {pooled}[k]) / {steps}[0];"
        self.step += [f"{steps}[0] += {number(1.0, self.real)};", self._loop(width, moved)]
        return pooled

    def _head(self, source: str, head: nn.Linear) -> None:
        embedding = self.model.embedding
        is_tied = embedding is not None and head.weight is embedding.weight
        # The table of the tokens is stored row by row. A weight of two parts is stored once.
        matrix = self.table if is_tied else self.arrays.matrix("head", head.weight)
        self.step += self._product(
            *("head", head.weight.shape, matrix, head.bias, source, "y"), not is_tied
        )


def _at(array: str) -> str:
    """The unit k of an array."""
    place = array.removeprefix("state->scratch + ")
    return f"{array}[k]" if place == array else f"state->scratch[{place} + k]"


def _is_read(name: str, text: str) -> bool:
    return re.search(rf"\b{name}\b", text) is not None

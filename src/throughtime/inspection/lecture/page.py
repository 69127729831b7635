"""Writes the lecture page of a cell: one HTML file that works without a network."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from html import escape
from importlib.resources import files
from string import Template

from throughtime.cells.cell import Cell
from throughtime.inspection.lecture.diagram import diagram
from throughtime.inspection.lecture.drawing import drawn
from throughtime.inspection.lecture.network import SmallNetwork, small_network
from throughtime.kernels.graph.functions import Untraceable
from throughtime.kernels.printing.equations import Equations, equations_of, named_graphs
from throughtime.kernels.printing.expressions import Name
from throughtime.kernels.printing.gradients import NamedGradients
from throughtime.kernels.printing.javascript import arithmetic, identifier
from throughtime.kernels.printing.lines import Line
from throughtime.kernels.printing.mathml import MATHML, aligned, inline
from throughtime.kernels.printing.names import NamedStep
from throughtime.kernels.printing.text import as_text

__all__ = ["lecture_page"]


def lecture_page(cell: Cell, about: Sequence[str]) -> str:
    """The page of a cell.

    Args:
        cell: any cell, registered or not.
        about: what stands below its name: the publication, for example.

    Raises:
        Untraceable, AttributeError: if the step cannot become a graph.
    """
    step, back = named_graphs(cell)
    equations = equations_of(cell, step, back)
    network, scripts = _network(cell, equations, step, back)
    parts = {
        "title": escape(equations.title),
        "about": "\n".join(f'<p class="soft">{escape(line)}</p>' for line in about),
        "style": _file("page_style.css") + _file("lecture.css"),
        "notation": _notation(step, equations),
        "forward": _aligned(equations.forward_lines),
        "backward": _aligned(equations.backward_lines),
        "weight_gradients": _aligned(equations.gradient_lines),
        "graph": drawn(
            diagram(step, equations.forward_lines),
            f"The equations of {equations.title} as a graph, from the inputs and the previous "
            "states on the left to the next states on the right",
        ),
        "network": network,
        "scripts": scripts,
    }
    return Template(_file("lecture.html")).substitute(parts)


def _file(name: str) -> str:
    """A file of this folder, or one that all pages share."""
    folder = files("throughtime.inspection")
    is_shared = name.startswith("page_")
    return (folder if is_shared else folder / "lecture").joinpath(name).read_text("utf-8")


def _aligned(lines: Iterable[Line]) -> str:
    return aligned(line.written(MATHML) for line in lines)


def _notation(step: NamedStep, equations: Equations) -> str:
    """The sentences that explain the letters, with a gradient and a δ that the equations have."""
    names = [line.name for line in equations.backward_lines if isinstance(line.name, Name)]
    d = next(name for name in names if name.mark == "d" and not name.prime)
    sentences = [
        f"{inline(Name('W'))}, {inline(Name('R'))} are matrices, ⊙ multiplies element by element.",
        f"{inline(d)} is the gradient of the loss with respect to {inline(replace(d, mark=''))}.",
        f"{inline(step.loss)} comes from the loss at step {inline(Name('t'))}; a prime marks what "
        "comes from the step after it.",
    ]
    gates = {*step.cell.gates}
    delta = next((name for name in names if name.mark == "δ" and name.base in gates), None)
    if delta is not None:
        sentences.append(
            f"{inline(delta)} is the gradient of what enters the nonlinearity of gate "
            f"{inline(replace(delta, mark=''))}."
        )
    if equations.note:
        sentences.append(escape(equations.note))
    return " ".join(sentences)


# The network.


def _network(
    cell: Cell, equations: Equations, step: NamedStep, back: NamedGradients
) -> tuple[str, str]:
    """The section with the network, and the scripts; why there is none, if there is none."""
    theme = _file("page_theme.js")
    try:
        network = small_network(step, back, cell)
    except (Untraceable, ValueError) as reason:
        start = _module([theme], "startTheme();")
        return f"<p>No network is computed here: {escape(str(reason))}.</p>", start
    parts = {
        "sizes": _sizes(network),
        "inputs": "\n".join(_input_rows(step)),
        "forward": "\n".join(_forward_rows(step, equations)),
        "loss": _row(step.loss, **{"from": "loss", "key": ""}),
        "backward": "\n".join(_backward_rows(step, equations)),
        "weights": "\n".join(_weights(network, step)),
        "code": escape(network.code),
    }
    title = equations.title.partition(",")[0]
    data = {**network.data, "title": title, "labels": _state_labels(step)}
    modules = [_file("unfolded.js"), _file("figure.js"), theme, _file("lecture.js")]
    # The names of the arithmetic stay inside the function.
    compute = f"{arithmetic()}\n{network.code}"
    start = (
        f"const step = (() => {{\n{_without_modules(compute)}\nreturn step;\n}})();\nstart(step);"
    )
    scripts = [
        f'<script type="application/json" id="network-data">{_json(data)}</script>',
        _module(modules, start),
    ]
    return Template(_file("network.html")).substitute(parts), "\n".join(scripts)


def _sizes(network: SmallNetwork) -> str:
    layer, data = network.layer, network.data
    drawn = " Its random inputs are drawn once." if data["drawn"] else ""
    return (
        f"A layer with {layer.input_size} inputs and {layer.hidden_size} units reads "
        f"{data['steps']} steps.{drawn}"
    )


def _json(data: object) -> str:
    # Within a script element "</script>" and "<!--" have a meaning.
    return json.dumps(data, allow_nan=False, ensure_ascii=False).replace("<", "\\u003c")


def _module(modules: Iterable[str], last: str) -> str:
    """A script element with modules that need nothing from elsewhere."""
    text = "\n".join([*map(_without_modules, modules), last])
    return f'<script type="module">\n{text}\n</script>'


def _without_modules(text: str) -> str:
    """The text of a module without its imports and exports: all modules stand in one script."""
    text = re.sub(r"^import [^;]*;\n", "", text, flags=re.MULTILINE)
    return re.sub(r"^export ", "", text, flags=re.MULTILINE)


def _row(label: Name, **data: str) -> str:
    attributes = "".join(f' data-{key}="{escape(value)}"' for key, value in data.items())
    name = escape(as_text(label))
    head = f'<th scope="row" aria-label="{name}">{inline(label)}</th>'
    return f'<tr{attributes} data-name="{name}">{head}</tr>'


def _input_rows(step: NamedStep) -> Iterable[str]:
    yield _row(step.x, sliders="x")
    for name in step.cell.given_inputs:
        yield _row(step.inputs[name], sliders=identifier(step.inputs[name]))
    for name in step.cell.drawn_inputs:
        yield _row(step.inputs[name], **{"from": "drawn", "key": identifier(step.inputs[name])})


def _forward_rows(step: NamedStep, equations: Equations) -> Iterable[str]:
    for line in equations.forward_lines:
        assert isinstance(line.name, Name)
        yield _row(line.name, **{"from": "values", "key": as_text(line.name)})


def _backward_rows(step: NamedStep, equations: Equations) -> Iterable[str]:
    names = [line.name for line in equations.backward_lines if isinstance(line.name, Name)]
    written = {as_text(name) for name in names}
    flows = {}
    for name, state in step.state.items():
        flows[f"d{state.base}'_{{t-1}}"] = {"from": "before", "key": name}
        total = Name(state.base, "d", "t")
        if as_text(total) not in written:
            # No equation gives it: it is what arrives from the next step, or from the loss.
            yield _row(total, **{"from": "states", "key": name})
    flows[f"d{as_text(step.x)}"] = {"from": "inputs", "key": "x"}
    for name in step.cell.given_inputs:
        flows[f"d{as_text(step.inputs[name])}"] = {"from": "inputs", "key": name}
    for name in names:
        text = as_text(name)
        yield _row(name, **flows.get(text, {"from": "gradients", "key": text}))


def _state_labels(step: NamedStep) -> dict[str, str]:
    return {name: written.base for name, written in step.state.items()}


def _weights(network: SmallNetwork, step: NamedStep) -> Iterable[str]:
    """The weights as tables."""
    written = [*step.matrices.values(), *dict.fromkeys(step.of_bias.values())]
    for name in [*written, *step.parameters.values()]:
        values = network.data["weights"][identifier(name)]
        rows = values if values and isinstance(values[0], list) else [[v] for v in values]
        cells = "".join(
            f"<tr>{''.join(f'<td>{value:.3f}</td>' for value in row)}</tr>" for row in rows
        ).replace("-", "−")
        yield (
            f'<figure><figcaption>{inline(name)}</figcaption><table class="matrix numbers">'
            f"{cells}</table></figure>"
        )

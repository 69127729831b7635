"""All pictures of a model on one input, as files in a folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from throughtime.inspection.attention_map import attention_svg
from throughtime.inspection.measures.dynamics import spectra
from throughtime.inspection.measures.gradients import Decay
from throughtime.inspection.measures.trajectory import trajectory
from throughtime.inspection.measures.units import are_gates
from throughtime.inspection.measures.unrolled import States
from throughtime.inspection.pictures.drawing import write_figure
from throughtime.inspection.pictures.measures import (
    gradient_curves,
    saturation_scatter,
    spectrum,
)
from throughtime.inspection.pictures.texts import coloured_text, gate_map
from throughtime.inspection.pictures.unfolded import unfolded
from throughtime.inspection.recording import Name, Recording
from throughtime.tasks.run import written_whole
from throughtime.tasks.uses import AttentionMap

__all__ = ["write_pictures"]


def write_pictures(
    folder: Path,
    recording: Recording,
    decays: Mapping[str, list[Decay]],
    states: States,
    unit: tuple[str, int],
) -> Iterator[Path]:
    """Writes all pictures as SVG files, and yields the path of each.

    Args:
        folder: an existing folder.
        recording: what the model computed for the input.
        decays: the gradients against the lag of the model, and of those that it is compared with,
            by the name of the run.
        states: what the unrolled run of the model kept.
        unit: the name of a recorded value and the number of the unit that colours the text.
    """
    name, number = unit
    text = coloured_text(
        recording.tokens(name), recording.values[name][:, number], f"{name}, unit {number}"
    )
    figures = {f"text-{name}-{number}": text, "unfolded": unfolded(recording)}
    layers = dict.fromkeys(
        Name.of(value)._replace(value="")
        for value in recording.values
        if Name.of(value).layer is not None
    )
    figures |= {f"gates-{_file_name(layer)}": gate_map(recording, layer) for layer in layers}
    if are_gates(recording):
        figures["saturation"] = saturation_scatter(recording)
    curves = {
        f"{run} {_file_name(decay.name)}".strip(): decay.norms
        for run, of_run in decays.items()
        for decay in of_run
        if float(decay.norms.max()) > 0
    }
    if curves:
        figures["gradients"] = gradient_curves(curves)
    for layer, calls in states.calls.items():
        eigenvalues = spectra(trajectory(calls, states.widths[layer]))
        if eigenvalues:
            figures[f"spectrum-{_file_name(layer)}"] = spectrum(eigenvalues)
    for title, figure in figures.items():
        path = folder / f"{title}.svg"
        write_figure(path, figure)
        yield path
    for value, weights in recording.values.items():
        if Name.of(value).layer is None:
            yield _write_attention(folder / f"attention-{value}.svg", recording, value, weights)


def _write_attention(path: Path, recording: Recording, name: str, weights: Tensor) -> Path:
    """Writes the map of one attention; its source are the steps of the first part."""
    source, target = next(iter(recording.steps.values())), recording.tokens(name)
    # Attention may read a part of the steps of the source only.
    source = source[: weights.shape[1]]
    svg = attention_svg(AttentionMap(source, target, weights.tolist()))
    namespace = 'xmlns="http://www.w3.org/2000/svg"'
    if namespace not in svg:
        svg = svg.replace("<svg ", f"<svg {namespace} ", 1)
    written_whole(path, lambda partial: partial.write_text(svg, encoding="utf-8"))
    return path


def _file_name(layer: Name) -> str:
    """The layer as a part of a file name, such as ``recurrent-l0``."""
    return str(layer._replace(value="")).replace("._", "-").strip("_")

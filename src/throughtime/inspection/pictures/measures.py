"""Pictures of measures: gradient against lag, spectrum, saturation of the gates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from throughtime.inspection.measures.units import are_gates, saturation
from throughtime.inspection.pictures.drawing import COLOURS, drawing, new_figure, plain
from throughtime.inspection.recording import Name, Recording

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["gradient_curves", "saturation_scatter", "spectrum"]


def gradient_curves(norms: Mapping[str, Tensor]) -> Figure:
    """The norm of the gradient against the lag, as a share of its largest value, for each name.

    Args:
        norms: (K + 1) each, of :func:`throughtime.inspection.measures.gradients.gradient_norms`,
            by what they are of (a cell, a layer).
    """
    with drawing():
        figure = new_figure(5.2, 3.4)
        axes = figure.add_subplot()
        for i, (name, values) in enumerate(norms.items()):
            # Zeros have no place on a logarithmic axis.
            lags = values.nonzero().flatten()
            shares = (values / values.max())[lags]
            style = ("-", "--", ":")[i // len(COLOURS) % 3]
            axes.plot(lags, shares, style, color=COLOURS[i % len(COLOURS)], label=name, lw=1.4)
        axes.set_yscale("log")
        axes.set_xlabel("lag k in steps")
        axes.set_ylabel("|∂loss(t) / ∂state(t − k)|, of the largest")
        axes.axhline(0.01, color="#777", linestyle=":", lw=1)
        plain(axes)
        for text in axes.legend(frameon=False, fontsize=7).get_texts():
            text.set_parse_math(False)
    return figure


def spectrum(eigenvalues: Mapping[str, Tensor]) -> Figure:
    """The eigenvalues of recurrent matrices in the complex plane, with the unit circle.

    Args:
        eigenvalues: complex, by the name of the matrix.
    """
    with drawing():
        figure = new_figure(4.2, 4.0)
        axes = figure.add_subplot()
        angle = torch.linspace(0, 2 * torch.pi, 200)
        axes.plot(angle.cos(), angle.sin(), color="#777", lw=1)
        for i, (name, values) in enumerate(eigenvalues.items()):
            colour = COLOURS[i % len(COLOURS)]
            axes.scatter(values.real, values.imag, s=7, color=colour, label=name, alpha=0.7)
        axes.set_aspect("equal")
        axes.set_xlabel("real part")
        axes.set_ylabel("imaginary part")
        plain(axes)
        if eigenvalues:
            for text in axes.legend(frameon=False, fontsize=7, loc="upper right").get_texts():
                text.set_parse_math(False)
    return figure


def saturation_scatter(recording: Recording) -> Figure:
    """The share of the time that each unit of a gate is nearly closed and nearly open.

    There is one panel for each gate, with a point for each unit and a colour for each layer. The
    bounds are 0.1 and 0.9.

    Source: figure 4 of Karpathy, Johnson and Fei-Fei, arXiv 1506.02078.

    Raises:
        ValueError: if the recording has no gates.
    """
    names = are_gates(recording)
    if not names:
        raise ValueError("saturation_scatter: the cell has no gates, whose values are 0 to 1.")
    panels = list(dict.fromkeys(Name.of(name).value for name in names))
    layers = list(dict.fromkeys(str(Name.of(name)._replace(value="")) for name in names))
    with drawing():
        figure = new_figure(0.4 + 2.3 * len(panels), 2.7)
        for axes, gate in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
        ):
            for name in names:
                of = Name.of(name)
                if of.value == gate:
                    left, right = saturation(recording.values[name])
                    layer = layers.index(str(of._replace(value="")))
                    label = f"layer {of.layer}{' reverse' if of.is_reverse else ''}"
                    colour = COLOURS[layer % len(COLOURS)]
                    axes.scatter(left, right, s=8, alpha=0.6, color=colour, label=label)
            # No unit can lie above this line.
            axes.plot([0, 1], [1, 0], color="#777", lw=0.8, ls=":")
            axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
            axes.set_title(f"gate {gate}", parse_math=False)
            axes.set_xlabel("share of steps below 0.1")
            plain(axes)
        figure.axes[0].set_ylabel("share of steps above 0.9")
        figure.axes[0].legend(frameon=False, fontsize=7)
    return figure

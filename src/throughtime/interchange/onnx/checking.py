"""Runs ONNX files on ONNX Runtime, and compares the outputs with those of the written module."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from throughtime.interchange.onnx.export import file_of, form_of
from throughtime.layers.evaluation import evaluating

__all__ = ["check_contents", "check_onnx"]

# Relative to the largest output. Rounding alone differs, by far less.
_TOLERANCE = 1e-3


def check_onnx(path: str | Path, module: nn.Module) -> float:
    """Compares the files that ``save_onnx`` has written with the module; see `check_contents`."""
    path = Path(path)
    contents = {end: file_of(path, end).read_bytes() for end in form_of(module).ends}
    return check_contents(contents, module, path)


def check_contents(contents: Mapping[str, bytes], module: nn.Module, path: Path) -> float:
    """Runs the files of a module on examples, and compares the outputs with those of the module.

    Args:
        contents: the files, by what their names end in.
        module: what they were written from.
        path: the path for which they are written, with which the error message begins.

    Returns:
        The largest difference, relative to the largest output.

    Raises:
        ValueError: if the outputs differ.
        ImportError: if onnxruntime is not installed.
    """
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise ImportError(
            "check_onnx: the package onnxruntime is missing. Install it: pip install "
            '"throughtime[onnx]".'
        ) from error
    options = {"providers": ["CPUExecutionProvider"]}
    sessions = {
        end: runtime.InferenceSession(content, **options) for end, content in contents.items()
    }

    def run(end: str, values: Mapping[str, Any]) -> dict[str, np.ndarray]:
        outputs = [output.name for output in sessions[end].get_outputs()]
        return dict(zip(outputs, sessions[end].run(None, dict(values)), strict=True))

    with evaluating(module):
        difference = form_of(module).difference(run)
    if not difference < _TOLERANCE:
        raise ValueError(
            f"{path}: on ONNX Runtime {runtime.__version__} the outputs differ from those of the "
            f"model by {difference:.1e} of the largest output; expected less than {_TOLERANCE:.0e}."
        )
    return difference

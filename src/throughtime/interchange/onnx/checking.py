"""Runs an ONNX file on ONNX Runtime, and compares it with the module that it was written from."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from throughtime.interchange.streamed import outputs_of, parts_of

__all__ = ["check_onnx"]

_STEPS, _ROWS = 8, 2
# Relative to the largest output. Rounding alone differs, by far less.
_TOLERANCE = 1e-3


def check_onnx(path: Path, module: nn.Module) -> float:
    """Runs a file of a module in two pieces, and compares the outputs with those of the module.

    Args:
        path: the file.
        module: what it was written from, with one direction and without further inputs.

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
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    parts = parts_of("check_onnx", module)
    generator = torch.Generator().manual_seed(0)
    if parts.embedding is not None:
        shape = (_ROWS, _STEPS)
        steps = torch.randint(parts.embedding.num_embeddings, shape, generator=generator)
    else:
        layer = parts.recurrent
        shape = (_ROWS, _STEPS) if layer.batch_first else (_STEPS, _ROWS)
        steps = torch.randn(*shape, layer.input_size, generator=generator, dtype=layer.dtype)
    device = next(module.parameters()).device
    wanted = outputs_of(module, steps.to(device)).detach().cpu().numpy()
    got = _in_pieces(session, steps.numpy(), parts.recurrent.batch_first, wanted.ndim)
    difference = float(np.abs(got - wanted).max() / max(np.abs(wanted).max(), 1e-30))
    if not difference < _TOLERANCE:
        raise ValueError(
            f"{path}: on ONNX Runtime {runtime.__version__} the outputs differ from those of the "
            f"model by {difference:.1e} of the largest output; expected less than {_TOLERANCE:.0e}."
        )
    return difference


def _in_pieces(session: Any, steps: np.ndarray, batch_first: bool, rank: int) -> np.ndarray:
    """The outputs of a file that reads a first piece of three steps, and then the rest.

    Args:
        session: the file in ONNX Runtime.
        steps: the whole sequences.
        batch_first: whether the rows come first.
        rank: the number of dimensions of the outputs; with 2, there is one for each sequence.
    """
    time = 1 if batch_first else 0
    first, *states = session.get_inputs()
    starts = session.get_modelmeta().custom_metadata_map
    values: dict[str, np.ndarray] = {}
    for state in states:
        start = np.array(
            json.loads(starts[state.name]), steps.dtype if steps.dtype.kind == "f" else np.float32
        )
        shape = [_ROWS if isinstance(size, str) else size for size in state.shape]
        # A learned start is (L*D, H), the same for all rows.
        values[state.name] = np.broadcast_to(start[:, None] if start.ndim else start, shape).copy()
    outputs: list[np.ndarray] = []
    for piece in np.split(steps, [3], axis=time):
        output, *last = session.run(None, {first.name: piece, **values})
        values = dict(zip(values, last, strict=True))
        outputs.append(output)
    return outputs[-1] if rank == 2 else np.concatenate(outputs, axis=time)

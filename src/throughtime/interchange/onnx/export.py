"""Writes layers and models as ONNX files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn
from torch.nn.utils.parametrize import type_before_parametrizations

from throughtime.interchange.computed_weights import with_plain_weights
from throughtime.interchange.onnx.forms import Form
from throughtime.interchange.onnx.installed import onnx_package
from throughtime.interchange.onnx.pairs import Pair
from throughtime.interchange.onnx.streaming import Streaming
from throughtime.interchange.onnx.tree_writers import TreeWriter
from throughtime.interchange.onnx.whole import WHOLE
from throughtime.interchange.streamed import refuse_replaced, streams
from throughtime.layers import Recurrent
from throughtime.layers.evaluation import evaluating
from throughtime.models.encoder_decoder import EncoderDecoder
from throughtime.models.encoder_tree_decoder import EncoderTreeDecoder
from throughtime.written import written_whole

__all__ = ["file_of", "form_of", "onnx_contents", "save_onnx"]


def save_onnx(module: nn.Module, path: str | Path, *, lengths: bool = False) -> list[Path]:
    """Writes a recurrent layer, or a model of recurrent layers, as ONNX files.

    Each layer becomes a native RNN, GRU or LSTM node if ONNX has one for the cell, else a Scan node
    for each direction, with the graph of a step as its body.

    The file contains the module in evaluation mode: without dropout, and with a weight that is
    computed in each call, as by ``weight_norm``, as a stored tensor. The batch size and the number
    of steps stay variable.

    A layer, and a model that can run step by step, has its states as inputs and outputs. The
    initial states are required inputs. For a new sequence, they must have the values that the
    file's metadata states under their names (a number, or (L*D, H) for learned states); for the
    next piece of a sequence, those of the last states of the previous piece.

    A model that reads a whole sequence before it writes (both directions, attention, a CRF,
    letters) has the input ``lengths`` (B) of int32 instead, and begins with its initial states. An
    ``EncoderDecoder`` becomes two files, PATH_encoder.onnx and PATH_decoder.onnx, an
    ``EncoderTreeDecoder`` three: docs/onnx.md lists the inputs and outputs of every model.

    Args:
        module: a ``Recurrent``, ``RNN``, ``LSTM`` or ``GRU``, or a model. It may be in float32 or
            float64. :func:`load_onnx` reads both; ONNX Runtime on a CPU does not support float64
            for all nodes.
        path: the file.
        lengths: whether the graph of a layer has the input ``lengths``.

    Shapes:
        input: (T, B, I), or (B, T, I) if the layer is ``batch_first``, as in models; instead
            ``tokens`` (B, T) of int64 for a model that reads tokens.
        lengths: (B,) of int32, the valid steps of each row.
        h_0, and one for each state of the cell: (L*D, B, H).
        output: as the input with D*H features (H unless ``merge`` is ``concat``); zero past a row's
            end. For a model ``scores`` (B, T, K); for a classifier (B, K), of all steps until now.
        h_n, and one for each state: (L*D, B, H), after each row's last valid step. A classifier
            that reads the mean or the largest of all outputs has ``pooled`` (B, H) as a further
            state, and for the mean ``steps`` (B, 1).

    Returns:
        The paths of the files.

    Raises:
        ValueError: for a module of another class, a cell whose step cannot be traced, another
            dtype, a weight without a value, a forward hook, or a replaced forward.
        ImportError: if onnx is not installed.
    """
    files: list[Path] = []
    for end, content in onnx_contents(module, lengths).items():
        files.append(file_of(Path(path), end))
        written_whole(files[-1], lambda partial, content=content: partial.write_bytes(content))
    return files


def file_of(path: Path, end: str) -> Path:
    """The path of one of the files of a model, with ``end`` before the suffix of the path."""
    return path.with_name(f"{path.stem}{end}{path.suffix}") if end else path


def onnx_contents(module: nn.Module, lengths: bool = False) -> Mapping[str, bytes]:
    """The contents of the files by what their names end in; see :func:`save_onnx`."""
    form_of(module, lengths)
    onnx_package("save_onnx")
    # In training mode the step would draw random numbers, which no file can contain.
    with evaluating(module):
        plain = with_plain_weights("save_onnx", module)
        refuse_replaced("save_onnx", module)
        files = form_of(plain, lengths).files()
    return {end: model.SerializeToString() for end, model in files.items()}


def form_of(module: nn.Module, lengths: bool = False) -> Form:
    """The form in which a module is written.

    Raises:
        ValueError: if the module cannot be written, or takes no lengths.
    """
    kind = type_before_parametrizations(module)
    if isinstance(module, Recurrent):
        return Streaming(module, lengths)
    if lengths:
        raise ValueError(f"save_onnx: a {kind.__name__} takes no lengths; use lengths=False.")
    if kind in _FORMS and not streams(module):
        return _FORMS[kind](module)
    return Streaming(module)


# The models that are not written with their states as inputs and outputs, or not always.
_FORMS: dict[type[nn.Module], Callable[[Any], Form]] = {
    EncoderDecoder: Pair,
    EncoderTreeDecoder: TreeWriter,
    **WHOLE,
}

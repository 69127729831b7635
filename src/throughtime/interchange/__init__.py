"""Conversion of layers and models from and to other libraries and files."""

from throughtime.interchange.c import save_c
from throughtime.interchange.keras import from_keras, from_keras_weights, to_keras
from throughtime.interchange.onnx import load_onnx, save_onnx
from throughtime.interchange.pretrained import from_pretrained, save_pretrained
from throughtime.interchange.torch_nn import from_torch, to_torch

__all__ = [
    "from_keras",
    "from_keras_weights",
    "from_pretrained",
    "from_torch",
    "load_onnx",
    "save_c",
    "save_onnx",
    "save_pretrained",
    "to_keras",
    "to_torch",
]

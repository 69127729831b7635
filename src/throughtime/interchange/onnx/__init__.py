"""Writes recurrent layers as ONNX files, and loads ONNX files with recurrent nodes as modules."""

from throughtime.interchange.onnx.export import save_onnx
from throughtime.interchange.onnx.load import OnnxModule, load_onnx

__all__ = ["OnnxModule", "load_onnx", "save_onnx"]

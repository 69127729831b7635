"""ONNX files: our layers become native recurrent nodes, and such nodes become modules of ours."""

from throughtime.interchange.onnx.export import save_onnx
from throughtime.interchange.onnx.load import OnnxModule, load_onnx

__all__ = ["OnnxModule", "load_onnx", "save_onnx"]

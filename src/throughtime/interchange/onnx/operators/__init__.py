"""The ONNX operators that may occur beside the recurrent nodes, computed by PyTorch."""

# Importing a module enters its operators into the table.
from throughtime.interchange.onnx.operators import pointwise, reductions, selecting, shapes
from throughtime.interchange.onnx.operators.of_runtimes import MICROSOFT
from throughtime.interchange.onnx.operators.table import Operator, names, operator_of

__all__ = [
    "MICROSOFT",
    "Operator",
    "names",
    "operator_of",
    "pointwise",
    "reductions",
    "selecting",
    "shapes",
]

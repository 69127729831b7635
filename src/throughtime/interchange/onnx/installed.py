"""The package onnx, which is loaded when it is first needed."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["onnx_package"]


def onnx_package(who: str) -> Any:
    """The package.

    Args:
        who: the function that needs it, the first word of the message.

    Raises:
        ImportError: where it is not installed, with what to install.
    """
    try:
        package = importlib.import_module("onnx")
        for part in ("checker", "helper", "inliner", "numpy_helper"):
            importlib.import_module(f"onnx.{part}")
    except ImportError as error:
        raise ImportError(
            f'{who}: the package onnx is missing. Install it: pip install "throughtime[onnx]".'
        ) from error
    return package

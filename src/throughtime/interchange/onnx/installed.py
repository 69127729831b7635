"""Imports the optional package onnx on first use."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["onnx_package"]


def onnx_package(who: str) -> Any:
    """Imports and returns the package onnx.

    Args:
        who: the name of the calling function, with which the error message begins.

    Raises:
        ImportError: if onnx is not installed; the message says how to install it.
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

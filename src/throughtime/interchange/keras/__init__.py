"""Converts recurrent layers from and to Keras, without importing Keras."""

from throughtime.interchange.keras.layers import from_keras
from throughtime.interchange.keras.weights import from_keras_weights, to_keras

__all__ = ["from_keras", "from_keras_weights", "to_keras"]

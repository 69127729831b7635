"""Measures speed and memory of the layers and of their peers in the same run."""

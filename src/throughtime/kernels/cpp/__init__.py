"""Kernels for the CPU: C++ written from a cell's equations, compiled where it runs."""

"""A backend for the CPU: C++ generated from a cell's equations, compiled on the user's machine."""

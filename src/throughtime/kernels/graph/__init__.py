"""Traces a cell's step to a graph, differentiates the graph, and plans the kernel's work."""

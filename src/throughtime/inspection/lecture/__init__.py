"""The lecture page: a cell's equations, its graph, and a small network with its numbers."""

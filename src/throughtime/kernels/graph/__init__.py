"""From the step of a cell to its graph, the derivative of the graph, and the program to run."""

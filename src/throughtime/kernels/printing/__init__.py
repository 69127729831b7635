"""The graph of a step, and of its derivative, as text and as LaTeX."""

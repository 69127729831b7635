"""Prints the equations of a step and of its backward step as text and as LaTeX."""

"""Prints a step and its backward step: as text, LaTeX and MathML, and as JavaScript."""

"""The exception that says why a step has no graph."""

__all__ = ["Untraceable"]


class Untraceable(Exception):
    """The step does something that cannot become a graph; the message says what."""

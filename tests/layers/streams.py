"""Streams that are run step by step, and whether a compiled plan runs them."""

import torch


def stepped(stream, x, inputs=None):
    """The outputs (T, …) of a stream that reads x (T, …) step by step."""
    given = inputs or {}
    steps = [stream.step(v, {k: u[t] for k, u in given.items()} or None) for t, v in enumerate(x)]
    return torch.stack(steps)


def is_planned(stream, x, inputs=None):
    return stream.explain(x, inputs).backend == "plan"

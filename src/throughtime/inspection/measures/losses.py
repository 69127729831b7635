"""The loss of a model at each step, as something that can be differentiated."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from throughtime.inspection.measures.gradients import Decay, decay, projected_losses
from throughtime.inspection.measures.unrolled import States, unrolled
from throughtime.inspection.recording import part_of
from throughtime.tasks.uses import Inspectable, Observation, Streams

__all__ = ["decay_of_model", "losses_of"]

# Smaller probabilities than this are 0 in float32, whose logarithm has no gradient.
_LEAST = 1e-30


def decay_of_model(
    task: Inspectable, model: nn.Module, input: object, most: int
) -> tuple[list[Decay], States]:
    """The gradient norms of all layers against the lag, for the losses of a task's model.

    The loss at a step is minus the log-probability of the token that follows (of a language model),
    or of the likeliest output (of other models with an output at every step). Layers whose steps
    are not those of the outputs, such as an encoder, and models without probabilities, have as
    their loss a projection of their own output at the step; see
    :func:`.gradients.projected_losses`.

    Args:
        task: the task.
        model: its model.
        input: what it reads, see :meth:`~throughtime.tasks.uses.Inspectable.observe`.
        most: the largest lag.

    Returns:
        The gradient norms, and what the unrolled run kept.
    """
    observation = task.observe(model, input)
    with unrolled(model) as states:
        probabilities = observation.run()
        # A network that reads the letters of each word does not read the steps of the observation.
        states.keep(lambda path: part_of(observation.steps, path) is not None)
        last = list(observation.steps)[-1]
        results: list[Decay] = []
        for path, outputs in states.outputs.items():
            layers = {n: s for n, s in states.by_layer.items() if n.module == path}
            is_last = part_of(observation.steps, path) == last
            if is_last and probabilities is not None and probabilities.requires_grad:
                losses = losses_of(observation, probabilities, isinstance(task, Streams))
            else:
                losses = projected_losses(outputs)
            results += decay(losses, layers, most=most)
    return results, states


def losses_of(
    observation: Observation, probabilities: Tensor, is_language: bool
) -> Sequence[Tensor]:
    """The loss of each of the last steps; see :func:`decay_of_model`."""
    wanted = probabilities.argmax(-1)
    if is_language:
        number = {token: i for i, token in enumerate(observation.outputs)}
        tokens = list(observation.steps.values())[-1]
        following = [number[token] for token in tokens[1:]]
        wanted[: len(following)] = torch.tensor(following)
    chosen = probabilities.gather(-1, wanted.unsqueeze(-1)).squeeze(-1)
    return (-chosen.clamp(min=_LEAST).log()).unbind(0)

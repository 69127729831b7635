"""Sampling from a language model: drawing a token from its scores, and whole sequences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from throughtime.layers.stream import Stream
from throughtime.models.language_model import LanguageModel

__all__ = ["Sampling", "draw", "generate", "seeded"]

_PIECE = 512


@dataclass(frozen=True)
class Sampling:
    """The settings by which a token is drawn from its scores.

    A text of the likeliest tokens only repeats itself and copies the training text. So the scores
    are divided by a temperature, limited to the likeliest tokens, and a token is drawn at random.

    Args:
        temperature: the divisor of the scores: below 1 favours likely tokens, above 1 unlikely
            ones; 0 always takes the likeliest token.
        top_k: the number of likeliest tokens to draw from; None is all.
        top_p: draw from the smallest set of likeliest tokens whose probabilities sum to at least
            this value (nucleus sampling); None is all.

    Raises:
        ValueError: if a value is out of its range.

    Source: nucleus sampling, Holtzman et al., arXiv 1904.09751.
    """

    temperature: float = 0.8
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"expected temperature of 0 or more, got {self.temperature}.")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"expected top_k of at least 1, got {self.top_k}.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"expected top_p above 0 and at most 1, got {self.top_p}.")
        if self.temperature == 0 and (self.top_k is not None or self.top_p is not None):
            raise ValueError(
                "temperature=0 takes the likeliest token, so top_k and top_p mean nothing; "
                "remove them, or raise the temperature."
            )


def draw(scores: Tensor, sampling: Sampling, generator: torch.Generator | None = None) -> Tensor:
    """Draws one token for each row of scores.

    Shapes:
        scores: (B, V). returns: (B) int64.
    """
    if sampling.temperature == 0:
        return scores.argmax(-1)
    # With the largest score at 0, a temperature that is nearly 0 gives 0 and -inf instead of
    # overflowing, and so draws the likeliest token.
    scores = scores.float() - scores.float().amax(-1, keepdim=True)
    ranked, tokens = (scores / max(sampling.temperature, 1e-30)).sort(-1, descending=True)
    if sampling.top_k is not None:
        ranked[:, sampling.top_k :] = float("-inf")
    probabilities = ranked.softmax(-1)
    if sampling.top_p is not None:
        # A token is kept if the likelier ones sum to less than top_p; so the first always is.
        before = probabilities.cumsum(-1) - probabilities
        probabilities = probabilities.masked_fill(before >= sampling.top_p, 0.0)
    rank = torch.multinomial(probabilities, 1, generator=generator)
    return tokens.gather(-1, rank).squeeze(-1)


def seeded(seed: int | None) -> torch.Generator:
    """A random generator on the CPU; None seeds it differently each time."""
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return generator


def generate(
    model: nn.Module, prime: Tensor, length: int, sampling: Sampling, seed: int | None = None
) -> Iterator[int]:
    """Draws tokens one by one, and feeds each back into the model.

    The recurrent state is carried along, so each token costs the same time.

    Args:
        model: maps tokens (B, T) and a state to scores (B, T, V) and the next state.
        prime: (T) int64, at least one token; the model reads it before the first token is drawn.
        length: the number of tokens to draw.
        sampling: how a token is drawn from its scores.
        seed: the seed of the random generator; None gives other tokens each time.

    Yields:
        Each token as soon as it is drawn.
    """
    if prime.numel() == 0:
        raise ValueError("generate: expected a prime of at least one token, got none.")
    device, generator = next(model.parameters()).device, seeded(seed)
    # The stream of a language model runs its steps by a compiled plan.
    is_planned = isinstance(model, LanguageModel)
    stream = model.stream() if is_planned else Stream(model, batch_first=True)
    scores = torch.empty(0)
    # Only the last scores are needed; pieces keep those of a long prime out of memory.
    for piece in prime.split(_PIECE):
        scores = stream.read(piece.to(device).unsqueeze(0))[:, -1]
    for _ in range(length):
        token = draw(scores.cpu(), sampling, generator)
        yield int(token)
        scores = stream.step(token.to(device))

"""From scores to sequences: how the next token is drawn, and drawn again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from throughtime.layers.evaluation import evaluating

__all__ = ["Sampling", "draw", "generate"]

_PIECE = 512


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn from its scores.

    The most likely token every time repeats itself and copies the training text; so the scores
    are divided by the temperature, cut to the likeliest, and a token is drawn.

    Args:
        temperature: below 1 keeps to the likely, above 1 dares more; 0 takes the likeliest.
        top_k: draw among this many of the likeliest tokens only.
        top_p: draw among the fewest tokens whose probabilities sum to this ("nucleus").

    Raises:
        ValueError: for a value out of its range.

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
    """One token for each row of scores.

    Shapes:
        scores: (B, V). returns: (B) int64.
    """
    if sampling.temperature == 0:
        return scores.argmax(-1)
    # Less the largest, and not by zero: so a very low temperature takes the likeliest.
    scores = scores.float() - scores.float().amax(-1, keepdim=True)
    ranked, tokens = (scores / max(sampling.temperature, 1e-30)).sort(-1, descending=True)
    if sampling.top_k is not None:
        ranked[:, sampling.top_k :] = float("-inf")
    probabilities = ranked.softmax(-1)
    if sampling.top_p is not None:
        # A token stays where those before it do not yet reach top_p: the first always stays.
        before = probabilities.cumsum(-1) - probabilities
        probabilities = probabilities.masked_fill(before >= sampling.top_p, 0.0)
    place = torch.multinomial(probabilities, 1, generator=generator)
    return tokens.gather(-1, place).squeeze(-1)


def generate(
    model: nn.Module, prime: Tensor, length: int, sampling: Sampling, seed: int | None = None
) -> Iterator[int]:
    """Draws tokens one by one and feeds each back; the state is carried, so each costs the same.

    Args:
        model: from tokens (B, T) and a state to scores (B, T, V) and the next state.
        prime: (T) int64, at least one token; what is read before the first is drawn.
        length: how many tokens are drawn.
        seed: of the drawing; None draws differently every time.

    Yields:
        The tokens, each as soon as it is drawn.
    """
    if prime.numel() == 0:
        raise ValueError("generate: expected a prime of at least one token, got none.")
    device = next(model.parameters()).device
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    scores, state = torch.empty(0), None
    with evaluating(model):
        # In pieces: of a long prime only the last scores are needed.
        for piece in prime.split(_PIECE):
            scores, state = model(piece.to(device).unsqueeze(0), state)
    for _ in range(length):
        token = draw(scores[:, -1].cpu(), sampling, generator)
        yield int(token)
        with evaluating(model):
            scores, state = model(token.to(device).unsqueeze(0), state)

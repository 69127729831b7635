"""The settings of all tasks from one sequence to another."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal

from throughtime.tasks.network import MAY_BE_MISSING, NetworkConfig, check_range

__all__ = ["MOST_BEAMS", "SequenceToSequenceConfig"]

MOST_BEAMS = 10_000
"""Hypotheses of one source that are followed side by side."""


@dataclass
class SequenceToSequenceConfig(NetworkConfig):
    """The model, what it is fed, and the batches.

    Args:
        num_layers: recurrent layers of encoder and decoder, each.
        encoder: settings of the encoder that differ, as --encoder.num_layers 2.
        decoder: settings of the decoder that differ, as --decoder.cell gru.
        embedding_size: width of the embeddings; where not given, hidden_size.
        bidirectional: read the source from its end, too.
        attention: how the decoder looks at the source; none leaves it the last state alone.
        input_feeding: let the decoder read what it saw in the step before.
        dropout: probability to drop a unit of embeddings, between layers, and before the scores.
        tied: score with the embedding of the target itself.
        feed: what the decoder reads in training: teacher, the true token; scheduled, its own
            with probability 1 - forcing; free, its own expectation.
        forcing: the probability of the true token in the end, for --feed scheduled.
        forcing_decay: how it falls to that from 1 over the training (with --max_time, within its
            minutes); none is at once.
        label_smoothing: how much of the probability is spread over all tokens in training.
        batch_size: pairs of a batch, in all processes together; or its tokens, see batch_by.
        batch_by: pairs, or tokens: the padded length of the longer side times the pairs.
        data_seed: of the order of the pairs, and of pairs that are made up.
        beam_width: hypotheses that are followed when a split is judged; 1 is greedy.
    """

    _: KW_ONLY
    embedding_size: int | None = None
    bidirectional: bool = True
    encoder: dict[str, Any] | None = field(default=None, metadata=MAY_BE_MISSING)
    decoder: dict[str, Any] | None = field(default=None, metadata=MAY_BE_MISSING)
    attention: Literal["none", "dot", "general", "additive"] = "general"
    input_feeding: bool = False
    tied: bool = False
    feed: Literal["teacher", "scheduled", "free"] = "teacher"
    forcing: float | None = None
    forcing_decay: Literal["linear", "exponential", "sigmoid", "none"] = "linear"
    label_smoothing: float = 0.0
    batch_size: int = 64
    batch_by: Literal["pairs", "tokens"] = "pairs"
    data_seed: int = 0
    beam_width: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for side in ("encoder", "decoder"):
            self.override(side, getattr(self, side))
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(
                f"--label_smoothing: expected 0 to less than 1, got {self.label_smoothing}."
            )
        check_range(self, ("batch_size",), most=2**31 - 1)
        check_range(self, ("beam_width",), most=MOST_BEAMS)
        self._check_forcing()

    def _check_forcing(self) -> None:
        for name, usual in {"forcing": None, "forcing_decay": "linear"}.items():
            if self.feed != "scheduled" and getattr(self, name) != usual:
                raise ValueError(
                    f"--{name} {getattr(self, name)}: is for --feed scheduled, and would have no "
                    f"effect with --feed {self.feed}. Leave it out."
                )
        if self.feed == "scheduled" and (self.forcing is None or not 0 <= self.forcing <= 1):
            raise ValueError(
                f"--forcing: expected a probability from 0 to 1, as --feed scheduled needs one, "
                f"got {self.forcing}."
            )
        if self.forcing in (0, 1) and self.forcing_decay == "exponential":
            raise ValueError(
                f"--forcing {self.forcing:g}: no exponential falls to it from 1. Use "
                f"--forcing_decay linear."
            )

    def forcing_at(self, progress: float) -> float | None:
        r"""The probability p of the true token, u of the training done and p_1 that of its end:

            linear:       p = 1 - (1 - p_1) u
            exponential:  p = p_1^u
            sigmoid:      p = p_1 + (1 - p_1) / (1 + exp(12 u - 6))

        None without ``--feed scheduled``.

        Source: Bengio et al., arXiv 1506.03099, section 2.4. Differs: the curves go by the part of
            the training that is done, not by its steps, so that they need no constants.
        """
        last, u = self.forcing, progress
        if last is None:
            return None
        return {
            "linear": lambda: 1 - (1 - last) * u,
            "exponential": lambda: last**u,
            "sigmoid": lambda: last + (1 - last) / (1 + math.exp(12 * u - 6)),
            "none": lambda: last,
        }[self.forcing_decay]()

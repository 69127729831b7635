"""The settings that all sequence-to-sequence tasks share."""

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
    """The model, what the decoder reads in training, and the batches.

    Args:
        num_layers: number of recurrent layers of the encoder, and of the decoder.
        encoder: settings of the encoder that differ from the shared ones, for example
            --encoder.num_layers 2.
        decoder: settings of the decoder that differ from the shared ones, for example
            --decoder.cell gru.
        embedding_size: width of the embeddings (default: hidden_size).
        bidirectional: let the encoder also read the source from its end.
        attention: how the decoder scores the steps of the source; with none it sees only the
            last state of the encoder.
        input_feeding: feed the result of the attention back into the decoder as an input.
        dropout: probability to drop a unit of embeddings, between layers, and before the scores.
        tied: use the embedding of the target as the weights of the output layer, too.
        feed: what the decoder reads in training: teacher, the true previous token; scheduled, the
            true token with probability p, else a token drawn from its own scores; free, the
            expected embedding under its own scores.
        forcing: probability p of the true token at the end of the training, for --feed scheduled.
        forcing_decay: how p falls from 1 to --forcing in the course of the training (of the
            minutes of --max_time, if given); with none, p is --forcing from the start.
        label_smoothing: share of the target probability that the training loss spreads evenly
            over all tokens.
        batch_size: size of a batch, summed over all processes; see batch_by for its unit.
        batch_by: unit of batch_size: pairs; or tokens, which are the pairs times the padded
            length of the longer side.
        data_seed: seed of the order of the pairs, and of pairs that are generated.
        beam_width: width of the beam when a split is evaluated; 1 is greedy search.
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
        for name, default in {"forcing": None, "forcing_decay": "linear"}.items():
            if self.feed != "scheduled" and getattr(self, name) != default:
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
                f"--forcing {self.forcing:g}: no exponential falls from 1 to this value. Use "
                f"--forcing_decay linear."
            )

    def forcing_at(self, progress: float) -> float | None:
        r"""The probability p with which the decoder reads the true token:

            linear:       p = 1 - (1 - p_1) u
            exponential:  p = p_1^u
            sigmoid:      p = p_1 + (1 - p_1) / (1 + exp(12 u - 6))

        with u the fraction of the training that is done and p_1 the setting ``forcing``.

        Args:
            progress: u, from 0 to 1.

        Returns:
            p, or None without ``--feed scheduled``.

        Source: Bengio et al., arXiv 1506.03099, section 2.4. Differs: the curves are functions of
            the fraction of the training that is done, not of its steps, and so need no constants.
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

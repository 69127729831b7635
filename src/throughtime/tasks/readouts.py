"""How the outputs of a network over a signal become symbols; a read-out is one class."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from throughtime.data import BOS, EOS, PAD, PairBatch
from throughtime.data.transcribed import TranscribedBatch
from throughtime.layers.evaluation import evaluating
from throughtime.models import EncoderDecoder, Writer, beam_search, greedy_search
from throughtime.models.ctc import (
    BLANK,
    SymbolScorer,
    aligned,
    best_path,
    num_steps_needed,
    prefix_search,
)
from throughtime.models.transcriber import SignalEncoder, Transcriber, num_steps
from throughtime.tasks.linear_cross_entropy import teacher_loss
from throughtime.tasks.task import Figure, Loss

__all__ = ["READOUTS", "Reading", "Readout", "Search"]

_UNKNOWN = -1
"""The class of a step whose symbol the training does not have."""


class Search(NamedTuple):
    """How the symbols of a signal are searched.

    Args:
        beam_width: the number of beginnings that are kept; 1 takes the best symbol at each step.
        language: scores each symbol after those before it; None is nothing.
    """

    beam_width: int = 1
    language: SymbolScorer | None = None


class Reading(NamedTuple):
    """What a network has read of a batch.

    Args:
        total, num_units: the loss, summed over symbols or frames, and how many these are.
        outputs: the symbols of each row.
        num_wrong, num_labelled: of the steps whose symbols are known, how many are wrong, and how
            many there are.
    """

    total: float
    num_units: int
    outputs: list[list[int]]
    num_wrong: int = 0
    num_labelled: int = 0


class Readout(ABC):
    """What is learned from the outputs of the layers, and how symbols are read from them.

    Class 0 stands for no symbol; the symbols are the classes from 1.

    Args:
        config: the settings of the task.
        num_classes: C, with class 0.
        longest: the number of symbols of the longest transcript of the training, and the number of
            steps of its longest signal.

    Attributes:
        name: the value of ``--readout``.
        settings: the names of the settings that have an effect on this read-out only.
        unit: the plural of what the loss is divided by.
        figures: further figures of an evaluation.
        needs_segments: whether the training needs to know where each symbol is.
        can_be_fused: whether a language model can take part in the search.
    """

    name: ClassVar[str]
    settings: ClassVar[frozenset[str]] = frozenset()
    unit: ClassVar[str] = "symbols"
    figures: ClassVar[Mapping[str, Figure]] = {}
    needs_segments: ClassVar[bool] = False
    can_be_fused: ClassVar[bool] = True

    def __init__(self, config: Any, num_classes: int, longest: tuple[int, int]) -> None:
        self.config, self.num_classes, self.longest = config, num_classes, longest

    @abstractmethod
    def model(self, size: int) -> nn.Module:
        """A new network over signals with ``size`` features."""

    def num_steps(self, num_frames: Any) -> Any:
        """The number of steps of the outputs for ``num_frames`` steps of a signal."""
        return num_steps(num_frames, self.config.stack, self.config.pyramid)

    def layers(self) -> dict[str, Any]:
        """The arguments of the layers."""
        c = self.config
        own = {"stack": c.stack, "pyramid": c.pyramid, "reset_rate": c.reset_rate}
        return {**own, **c.recurrent()}

    def num_needed(self, symbols: Sequence[int]) -> int:
        """The least number of steps of the outputs in which symbols can be written."""
        return 1

    def targets(self, symbols: Sequence[int], labels: Sequence[int]) -> Sequence[int]:
        """What is learned of a signal, from its symbols and the classes of its steps."""
        return symbols

    @abstractmethod
    def loss(self, model: nn.Module, batch: TranscribedBatch) -> Loss:
        """The loss of a batch."""

    @abstractmethod
    def read(self, model: nn.Module, batch: TranscribedBatch, search: Search) -> Reading:
        """Reads a batch; the model is in evaluation mode."""

    @abstractmethod
    def symbols_of(self, model: nn.Module, row: Tensor, search: Search) -> list[int]:
        """The symbols of a signal with the features (T, I)."""

    @abstractmethod
    def alignment(self, model: nn.Module, row: Tensor, symbols: Sequence[int]) -> Tensor | None:
        """How likely each symbol of a transcript is at each step of the outputs.

        Returns:
            (U, T') from 0 to 1, for a transcript of U symbols; None if the read-out has none.
        """


class _Stepwise(Readout):
    """A read-out with a distribution over the classes at each step.

    Repetitions of a class, and then class 0, are left out to get the symbols.
    """

    def model(self, size: int) -> Transcriber:
        return Transcriber(self.num_classes, size, **self.layers())

    def log_probs(self, model: nn.Module, batch: TranscribedBatch) -> Tensor:
        """The logarithms of the probabilities of the classes, (B, T', C)."""
        device = next(model.parameters()).device
        return model(batch.inputs.to(device), batch.lengths).float().log_softmax(-1)

    def read(self, model: nn.Module, batch: TranscribedBatch, search: Search) -> Reading:
        log_probs = self.log_probs(model, batch).cpu()
        steps = self.num_steps(batch.lengths).tolist()
        outputs = [
            _searched(row[:length], search) for row, length in zip(log_probs, steps, strict=True)
        ]
        return self.judged(log_probs, batch, outputs)

    @abstractmethod
    def judged(
        self, log_probs: Tensor, batch: TranscribedBatch, outputs: list[list[int]]
    ) -> Reading:
        """The loss of a batch, with the outputs that were read."""

    def _of_signal(self, model: nn.Module, row: Tensor) -> Tensor:
        device = next(model.parameters()).device
        with evaluating(model):
            scores = model(row[None].to(device), torch.tensor([len(row)]))
        return scores[0].float().log_softmax(-1).cpu()

    def symbols_of(self, model: nn.Module, row: Tensor, search: Search) -> list[int]:
        return _searched(self._of_signal(model, row), search)

    def alignment(self, model: nn.Module, row: Tensor, symbols: Sequence[int]) -> Tensor | None:
        """The probabilities, at most 0.7; the steps of the likeliest alignment have 1."""
        log_probs = self._of_signal(model, row)
        if num_steps_needed(symbols) > len(log_probs):
            return None
        steps = torch.zeros(len(symbols), len(log_probs))
        place, before = -1, BLANK
        for t, symbol in enumerate(aligned(log_probs, symbols)):
            place += symbol not in (BLANK, before)
            before = symbol
            steps[:, t] = 0.7 * log_probs[t, list(symbols)].exp()
            if symbol != BLANK:
                steps[place, t] = 1
        return steps


class CTC(_Stepwise):
    r"""Connectionist temporal classification, which needs no segments:

        P(y | x) = sum over all alignments a of y:  prod_t P(a_t | x)
        L = -sum_n log P(y_n | x_n) / sum_n |y_n|

    Source: Graves et al., "Connectionist temporal classification" (2006).
    """

    name = "ctc"

    def num_needed(self, symbols: Sequence[int]) -> int:
        return num_steps_needed(symbols)

    def loss(self, model: nn.Module, batch: TranscribedBatch) -> Loss:
        losses = self._losses(self.log_probs(model, batch), batch)
        return Loss(losses.sum(), max(1, int(batch.target_lengths.sum())))

    def judged(
        self, log_probs: Tensor, batch: TranscribedBatch, outputs: list[list[int]]
    ) -> Reading:
        total = float(self._losses(log_probs, batch).sum())
        return Reading(total, int(batch.target_lengths.sum()), outputs)

    def _losses(self, log_probs: Tensor, batch: TranscribedBatch) -> Tensor:
        """The negative log-likelihood of each transcript, (B)."""
        return nn.functional.ctc_loss(
            log_probs.transpose(0, 1),
            batch.targets.to(log_probs.device),
            self.num_steps(batch.lengths),
            batch.target_lengths,
            blank=BLANK,
            reduction="none",
        )


class Frames(_Stepwise):
    r"""The class of each step, whose label is that of the segment that it lies in, or 0:

        L = -1/T sum_t log P(a_t | x)

    If the layers shorten the time, the steps that become one share its distribution.

    Source: Graves and Schmidhuber, "Framewise phoneme classification with bidirectional LSTM"
    (2005).
    """

    name = "frames"
    unit = "frames"
    figures: ClassVar[Mapping[str, Figure]] = {"frame_error_rate": Figure()}
    needs_segments = True

    def targets(self, symbols: Sequence[int], labels: Sequence[int]) -> Sequence[int]:
        return labels

    def loss(self, model: nn.Module, batch: TranscribedBatch) -> Loss:
        log_probs = self._by_frame(self.log_probs(model, batch), batch)  # (B, T, C)
        labels = self._labels(batch).to(log_probs.device)
        return Loss(_cross_entropy(log_probs, labels), max(1, int((labels != _UNKNOWN).sum())))

    def judged(
        self, log_probs: Tensor, batch: TranscribedBatch, outputs: list[list[int]]
    ) -> Reading:
        log_probs, labels = self._by_frame(log_probs, batch), self._labels(batch)
        total = float(_cross_entropy(log_probs, labels))
        num_frames, num_known = int(batch.target_lengths.sum()), int((labels != _UNKNOWN).sum())
        # A symbol that the training does not have counts as an error.
        num_right = int((log_probs.argmax(-1) == labels).sum())
        return Reading(total, num_known, outputs, num_frames - num_right, num_frames)

    def _by_frame(self, log_probs: Tensor, batch: TranscribedBatch) -> Tensor:
        """The distribution of each frame, (B, T, C), from those of the steps, (B, T', C)."""
        size = self.config.stack * 2**self.config.pyramid
        return log_probs.repeat_interleave(size, 1)[:, : batch.inputs.shape[1]]

    def _labels(self, batch: TranscribedBatch) -> Tensor:
        """The labels (B, T), unknown past the end of a row."""
        is_past = torch.arange(batch.targets.shape[1]) >= batch.target_lengths.cpu()[:, None]
        return batch.targets.masked_fill(is_past.to(batch.targets.device), _UNKNOWN)


class AttentionDecoder(Readout):
    """A decoder that attends to the outputs of the layers and writes symbol by symbol.

    See :class:`throughtime.models.EncoderDecoder`, whose encoder the layers are.

    Source: Chan et al., "Listen, attend and spell", arXiv 1508.01211.
    """

    name = "attention"
    settings: ClassVar = frozenset(
        ("attention", "input_feeding", "embedding_size", "label_smoothing", "decoder")
    )
    can_be_fused = False

    # A symbol k is the token k + 2, after those of padding, begin and end.
    _FIRST = EOS

    def model(self, size: int) -> EncoderDecoder:
        c = self.config
        common = {k: v for k, v in c.recurrent().items() if k != "bidirectional"}
        return EncoderDecoder(
            None,
            self.num_classes + self._FIRST,
            encoder=SignalEncoder(size, **self.layers()),
            embedding_size=c.embedding_size,
            attention=c.attention,
            input_feeding=c.input_feeding,
            decoder_options=c.override("decoder", c.decoder),
            **common,
        )

    def loss(self, model: nn.Module, batch: TranscribedBatch) -> Loss:
        pairs = self._pairs(batch)
        total = teacher_loss(model, pairs, self.config.label_smoothing)
        return Loss(total, int(pairs.target_lengths.sum()))

    def read(self, model: nn.Module, batch: TranscribedBatch, search: Search) -> Reading:
        device = next(model.parameters()).device
        inputs = batch.inputs.to(device)
        pairs = self._pairs(batch._replace(inputs=inputs, targets=batch.targets.to(device)))
        total = float(teacher_loss(model, pairs))
        outputs: list[list[int]] = [[] for _ in batch.lengths]
        limits = [self._limit(length) for length in batch.lengths.tolist()]
        # The limit of a signal must not depend on its neighbours in the batch.
        for limit in sorted(set(limits)):
            rows = [i for i, one in enumerate(limits) if one == limit]
            symbols = self._written(model, inputs[rows], batch.lengths[rows], limit, search)
            for i, one in zip(rows, symbols, strict=True):
                outputs[i] = one
        return Reading(total, int(pairs.target_lengths.sum()), outputs)

    def symbols_of(self, model: nn.Module, row: Tensor, search: Search) -> list[int]:
        x = row[None].to(next(model.parameters()).device)
        limit = self._limit(len(row))
        return self._written(model, x, torch.tensor([len(row)]), limit, search)[0]

    def alignment(self, model: nn.Module, row: Tensor, symbols: Sequence[int]) -> Tensor | None:
        if self.config.attention == "none":
            return None
        assert isinstance(model, EncoderDecoder)
        device = next(model.parameters()).device
        tokens = torch.tensor([[BOS, *(k + self._FIRST for k in symbols)]], device=device)
        with evaluating(model):
            weights = model.attention_weights(row[None].to(device), [len(row)], tokens)
        return weights[0, :-1].float().cpu()

    def _written(
        self, model: nn.Module, inputs: Tensor, lengths: Tensor, limit: int, search: Search
    ) -> list[list[int]]:
        assert isinstance(model, Writer)
        options: dict[str, Any] = {"max_length": limit, "keep_attention": False}
        if search.beam_width == 1:
            best = greedy_search(model, inputs, lengths, **options)
        else:
            best = beam_search(model, inputs, lengths, width=search.beam_width, **options)
        return [[token - self._FIRST for token in one[0].tokens] for one in best]

    def _limit(self, num_frames: int) -> int:
        """The number of symbols after which an output is cut off, for a signal of any length."""
        symbols, frames = self.longest
        return math.ceil(1.5 * symbols * max(1.0, num_frames / max(1, frames))) + 10

    def _pairs(self, batch: TranscribedBatch) -> PairBatch:
        """The batch with the tokens that the decoder reads and is to write."""
        targets, lengths = batch.targets, batch.target_lengths
        ends = lengths.to(targets.device)
        is_past = torch.arange(targets.shape[1], device=targets.device) >= ends[:, None]
        tokens = (targets + self._FIRST).masked_fill(is_past, PAD)
        target_in = torch.cat([torch.full_like(ends[:, None], BOS), tokens], 1)  # (B, U + 1)
        target_out = torch.cat([tokens, torch.full_like(ends[:, None], PAD)], 1)
        target_out.scatter_(1, ends[:, None], EOS)
        return PairBatch(batch.inputs, batch.lengths, target_in, target_out, lengths + 1)


READOUTS: dict[str, type[Readout]] = {one.name: one for one in (CTC, Frames, AttentionDecoder)}
"""The read-outs by their names."""


def _cross_entropy(log_probs: Tensor, labels: Tensor) -> Tensor:
    """Minus the logarithms of the probabilities of the known labels, summed."""
    return nn.functional.nll_loss(
        log_probs.flatten(0, 1), labels.flatten(), ignore_index=_UNKNOWN, reduction="sum"
    )


def _searched(log_probs: Tensor, search: Search) -> list[int]:
    """The symbols that are read from the distributions (T', C)."""
    if search.beam_width == 1 and search.language is None:
        return best_path(log_probs)[0]
    return list(prefix_search(log_probs, search.beam_width, search.language)[0].symbols)

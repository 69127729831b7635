"""addition: read a sum as text, and write its result, digit by digit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.data import BOS, EOS, PAD, Pair, PairBatch, PairSet, addition, collate
from throughtime.models import Hypothesis, Tagger
from throughtime.tasks.rewriting import match_figures
from throughtime.tasks.sequence_to_sequence import SequenceToSequence, SequenceToSequenceConfig

__all__ = ["Addition", "AdditionConfig"]

_FOR_TWO = ("attention", "input_feeding", "tied", "feed", "forcing", "beam_width")


@dataclass
class AdditionConfig(SequenceToSequenceConfig):
    """The sums, and the settings of all tasks from one sequence to another.

    Args:
        network: one reads the sum and writes the result into the blanks behind it; two are an
            encoder that reads and a decoder that writes.
        digits: that a number has at most.
        num_pairs: sums of training and validation together; a tenth is for validation.
        num_test: sums for the test.
        reverse: read the sum from its end.
        padded: fill sums and results with spaces, so that all are of one length.
    """

    network: Literal["one", "two"] = "one"
    digits: int = 3
    num_pairs: int = 50_000
    num_test: int = 5_000
    reverse: bool = True
    padded: bool = True
    bidirectional: bool = False
    attention: Literal["none", "dot", "general", "additive"] = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.network == "two":
            return
        if not self.padded:
            raise ValueError("--padded false: sums of many lengths are for --network two.")
        usual = {field.name: field.default for field in fields(self)}
        for name in _FOR_TWO:
            if getattr(self, name) != usual[name]:
                raise ValueError(
                    f"--{name} {getattr(self, name)}: is for a decoder, and would have no effect "
                    f"on one network. Use --network two, or leave it out."
                )


class Addition(SequenceToSequence):
    """Sums of two numbers, ``535+61`` to ``596``.

    One network takes it as a mapping of sequences of the same length. Sum and result are padded,
    the one behind and the other before; what is said while the sum is read does not matter:

        reads  16+535 ____
        says   _______596

    Two are an encoder and a decoder, where each character is written after what was written
    before. The accuracy of the characters is that of all places of the padded result.

    Source: the lecture notes; Keras, examples/nlp/addition_rnn.py; Zaremba and Sutskever,
        arXiv 1410.4615.
    """

    name = "addition"
    Config = AdditionConfig
    figures = ("character_accuracy", "exact_match")

    def read_pairs(self) -> PairSet:
        c = self.config
        return addition(
            c.digits,
            c.num_pairs,
            c.num_test,
            is_reversed=c.reverse,
            is_padded=c.padded,
            seed=c.data_seed,
        )

    @property
    def title(self) -> str:
        return f"{super().title}-{self.config.network}"

    def shown(self, source: str) -> str:
        return source[::-1] if self.config.reverse else source

    def read(self, text: str) -> str:
        c = self.config
        text = "".join(text.split())
        text = text.ljust(2 * c.digits + 1) if text and c.padded else text
        return text[::-1] if c.reverse else text

    def judge(self, pairs: Sequence[Pair], outputs: Sequence[str]) -> dict[str, float]:
        return match_figures(pairs, outputs)

    # One network.

    def model(self) -> nn.Module:
        c = self.config
        if c.network == "two":
            return super().model()
        source, target = self.tokenisers
        return Tagger(
            len(source),
            len(target),
            cell=c.cell,
            hidden_size=c.hidden_size,
            num_layers=c.num_layers,
            embedding_size=c.embedding_size,
            bidirectional=c.bidirectional,
            dropout=c.dropout,
            forget_bias=c.forget_bias,
            backend=c.backend,
        )

    def total_loss(
        self, model: nn.Module, batch: PairBatch, label_smoothing: float = 0.0
    ) -> Tensor:
        if self.config.network == "two":
            return super().total_loss(model, batch, label_smoothing)
        # Where all are of one length none says that it ends.
        result = batch.target_out[:, :-1]
        scores = _said(model, batch.source, batch.source_lengths, result.shape[1])
        return F.cross_entropy(
            scores.flatten(0, 1), result.flatten(), reduction="sum", label_smoothing=label_smoothing
        )

    def count(self, batch: PairBatch) -> int:
        ends = len(batch.target_lengths) if self.config.network == "one" else 0
        return super().count(batch) - ends

    def search(
        self, model: nn.Module, sources: Sequence[Sequence[int]], **how: Any
    ) -> list[list[Hypothesis]]:
        if self.config.network == "two":
            return super().search(model, sources, **how)
        if how.get("beam_width", 1) > 1:
            raise ValueError(
                "--beam_width: one network says each character without regard to the others, and "
                "has one result. Leave it and --n_best out, or train with --network two."
            )
        found: list[list[Hypothesis]] = [[] for _ in sources]
        places = [place for place, ids in enumerate(sources) if ids]
        for some in (places[k : k + 1024] for k in range(0, len(places), 1024)):
            for place, best in zip(
                some, self._best(model, [sources[i] for i in some]), strict=True
            ):
                found[place] = [best]
        return found

    @torch.no_grad()
    def _best(self, model: nn.Module, sources: list[Sequence[int]]) -> list[Hypothesis]:
        was_training, device = model.training, next(model.parameters()).device
        model.eval()
        batch = collate(sources, [[]] * len(sources))
        scores = _said(model, batch.source.to(device), batch.source_lengths, self.longest_target)
        model.train(was_training)
        logs = scores.log_softmax(-1)
        logs[..., [PAD, BOS, EOS]] = -torch.inf
        likeliest, tokens = logs.max(-1)  # (B, W)
        return [
            Hypothesis(ids, score, is_finished=True)
            for ids, score in zip(tokens.tolist(), likeliest.sum(-1).tolist(), strict=True)
        ]


def _said(model: nn.Module, source: Tensor, lengths: Tensor, width: int) -> Tensor:
    """The scores (B, width, V) of what is said in as many blanks behind each source."""
    reads = torch.cat([source, source.new_full((len(source), width), BOS)], 1)  # (B, S + width)
    places = lengths.to(source.device).unsqueeze(1) + torch.arange(width, device=source.device)
    # The blanks follow the source, not its padding.
    reads = reads.scatter(1, places, BOS)
    scores = model(reads, lengths + width)  # (B, S + width, V)
    return scores.gather(1, places.unsqueeze(-1).expand(-1, -1, scores.shape[-1]))

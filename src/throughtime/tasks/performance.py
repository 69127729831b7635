"""performance: a language model of performances, event by event."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from throughtime.data import RaggedBatch, RaggedBatches, pad_rows
from throughtime.data.music import (
    NUM_EVENTS,
    PERFORMANCE_SETS,
    Note,
    Performances,
    event_name,
    excerpts_of,
    load_performances,
    notes_of_events,
)
from throughtime.data.music.events import OFF, SHIFT, STEPS_PER_SECOND, steps_of, stretched
from throughtime.models.decoding import generate
from throughtime.reading import Entries
from throughtime.tasks.audible import OutputOptions, shown_music, write_music
from throughtime.tasks.network import check_range, forwards_only, free
from throughtime.tasks.next_token import (
    NextTokenConfig,
    NextTokenTask,
    SamplingOptions,
    observed,
)
from throughtime.tasks.run_data import COUNTS, absolute, check_unchanged, first_of, split_of
from throughtime.tasks.shown import Shown
from throughtime.tasks.task import WHOLE, Evaluation, Figure, Loss, Share
from throughtime.tasks.uses import Observation

__all__ = ["PerformanceConfig", "PerformanceTask"]

_log = logging.getLogger(__name__)

_BOUNDARY = NUM_EVENTS
"""The token before the first event of a piece, and after its last."""

_EVALUATED_EVENTS = 8000
_SHOWN_EVENTS = 3000
_COLUMN_SECONDS = 0.05


@dataclass
class PerformanceConfig(NextTokenConfig):
    """The pieces, the model, and the batches.

    Args:
        data: name of a data set (groove, human drumming; pop909, piano arrangements of pop songs),
            path of a MIDI file, or path of a folder of MIDI files, with the folders train, valid
            and test or without.
        valid_fraction: fraction of the pieces that is kept for validation, if they come in no
            splits (default: 0.1).
        test_fraction: fraction of the pieces that is kept for the test (default: 0; 0.1 for
            pop909).
        split: how pieces are cut into splits: order, one after the other; random; or blocks, parts
            of ten blocks (default: random).
        embedding_size: width of the embedding of an event (default: 64).
        one_hot: read events as vectors of zeros with a single 1, without an embedding.
        transpose: semitones up or down by which each excerpt is moved at random during the
            training; not for drums.
        stretch: largest share by which the times of each excerpt are made longer or shorter at
            random during the training.
        excerpt: largest number of events of a piece that are trained together; a longer piece is
            cut into excerpts.
        batch_events: events of a batch, summed over all processes.
        data_seed: seed of the order of the excerpts.
        sample_seconds: seconds of the sample that is written during the training.
    """

    REFUSED: ClassVar = forwards_only("events")

    data: str = "groove"
    valid_fraction: float | None = None
    test_fraction: float | None = None
    _: KW_ONLY
    transpose: int = 0
    stretch: float = 0.0
    excerpt: int = 256
    batch_events: int = 4096
    data_seed: int = 0
    sample_seconds: float = free(20.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.data = absolute(self.data, PERFORMANCE_SETS)
        check_range(self, ("excerpt", "batch_events"), most=2**31 - 1)
        check_range(self, ("transpose",), least=0, most=127)
        check_range(self, ("data_seed",), least=0, most=2**32 - 1)
        if not 0 <= self.stretch < 1:
            raise ValueError(f"--stretch: expected 0 to below 1, got {self.stretch}.")
        if not 0 < self.sample_seconds <= 3600:
            raise ValueError(
                f"--sample_seconds: expected more than 0 and at most 3600, got "
                f"{self.sample_seconds}."
            )


@dataclass
class PerformingOptions(SamplingOptions, OutputOptions):
    """How a performance is written.

    Args:
        seconds: its duration.
        longest: largest number of events.
        seed: seed of the random generator (default: a different piece each time).
        temperature: divisor of the scores: below 1 favours likely events, above 1 unlikely ones; 0
            always takes the likeliest.
        top_k: number of likeliest events to draw from (default: all).
        top_p: probability of the smallest set of likeliest events to draw from (default: all).
    """

    seconds: float = 30.0
    longest: int = 20_000
    seed: int | None = None
    _: KW_ONLY
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_range(self, ("longest",), most=10**7)
        check_range(self, ("seed",), least=0, most=2**32 - 1)
        SamplingOptions.__post_init__(self)
        OutputOptions.__post_init__(self)
        if not 0 < self.seconds <= 86_400:
            raise ValueError(
                f"--seconds: expected more than 0 and at most 86400, got {self.seconds}."
            )


class PerformanceTask(NextTokenTask):
    r"""Next-event prediction of performances:

        L = -1/N sum_n log P(e_n | e_1 … e_{n-1})

    An event is one of 128 notes on, 128 notes off, 100 shifts of time by 10 ms to 1 s, and 32
    velocities. A further token stands before each piece and after it.

    Units: the loss is in nats per event; the end of a piece counts as an event.

    Source: Oore et al., "This time with feeling: learning expressive musical performance", arXiv
        1808.03715. Differs: the end of a piece is learned; tempo is stretched on the grid.
    """

    name = "performance"
    Config = PerformanceConfig
    Assets = Entries({"data": str, "data_sha256": str}, {"num_events": COUNTS})
    ContinuationOptions = PerformingOptions
    unit = "events"
    figures: Mapping[str, Figure] = {"loss": Figure("nats per event")}

    @cached_property
    def performances(self) -> Performances:
        """The pieces. Raises a ValueError if they are not those of a loaded run's training."""
        c = self.config
        pieces = load_performances(
            c.data, valid_fraction=c.valid_fraction, test_fraction=c.test_fraction, cut=c.split
        )
        check_unchanged(self.name, "the pieces", pieces.name, pieces.fingerprint(), self._assets)
        return pieces

    @property
    def is_drums(self) -> bool:
        """Whether the keys are the drums of a kit."""
        return self.config.data == "groove"

    def new_assets(self) -> dict[str, Any]:
        pieces = self.performances
        return {
            "data": pieces.name,
            "data_sha256": pieces.fingerprint(),
            "num_events": {s: sum(map(len, parts)) for s, parts in pieces.splits.items()},
        }

    def pieces(self, split: str) -> list[np.ndarray]:
        """The events of the pieces of a split."""
        return split_of(self.name, self.performances.name, self.performances.splits, split)

    def check(self) -> None:
        if self.is_drums and self.config.transpose:
            raise ValueError(
                f"--transpose {self.config.transpose}: the keys of groove are the drums of a kit, "
                "so a moved excerpt would be played on other drums. Leave it out."
            )
        self.pieces("valid")
        super().check()

    def batches(self, split: str, share: Share = WHOLE) -> RaggedBatches[RaggedBatch]:
        c = self.config
        return self._batches(split, c.excerpt, c.batch_events, seed=c.data_seed, **share._asdict())

    def _batches(
        self, split: str, excerpt: int | None, size: int, **options: Any
    ) -> RaggedBatches[RaggedBatch]:
        pieces = self.pieces(split)
        # The end of a piece is a token to be predicted, too.
        places = excerpts_of([len(events) + 1 for events in pieces], excerpt)

        def collate(rows: Sequence[int]) -> RaggedBatch:
            chosen = []
            for piece, start, end in (places[row] for row in rows):
                whole = np.concatenate([[_BOUNDARY], pieces[piece], [_BOUNDARY]])
                chosen.append(torch.from_numpy(whole[start : end + 1].astype(np.int64)))
            return pad_rows(chosen)

        lengths = [end - start for _, start, end in places]
        return RaggedBatches(lengths, collate, size, by="tokens", **options)

    @property
    def num_tokens(self) -> int:
        return NUM_EVENTS + 1

    def loss(
        self, model: nn.Module, batch: RaggedBatch, carried: Any = None, progress: float = 0.0
    ) -> Loss:
        c = self.config
        if model.training and c.transpose:
            batch = _transposed(batch, c.transpose)
        if model.training and c.stretch:
            batch = _stretched(batch, c.stretch)
        return super().loss(model, batch)

    def evaluate(
        self, model: nn.Module, split: str | None = None, options: Any = None
    ) -> Evaluation:
        split = split or "valid"
        batches = self._batches(split, None, _EVALUATED_EVENTS, is_shuffled=False)
        total, count = self.total_loss(model, batches)
        about = {"split": split, "pieces": len(self.pieces(split)), "events": count}
        return Evaluation({"loss": total / count}, about)

    # Music.

    def drawn(self, model: nn.Module, options: PerformingOptions) -> Iterator[int]:
        """Draws events until the piece ends, or for the seconds or the events of the options."""
        prime, steps = torch.tensor([_BOUNDARY]), 0
        for event in generate(model, prime, options.longest, options.sampling, options.seed):
            if event == _BOUNDARY:
                return
            yield event
            steps += steps_of(event)
            if steps >= options.seconds * STEPS_PER_SECOND:
                return

    def show(self, model: nn.Module) -> list[Shown]:
        options = PerformingOptions(self.config.sample_seconds, longest=_SHOWN_EVENTS, seed=0)
        notes = notes_of_events(self.drawn(model, options))
        if not notes:
            return []
        return shown_music([notes], _end_of(notes), _COLUMN_SECONDS, is_drums=self.is_drums)

    def continuation(
        self, model: nn.Module, options: PerformingOptions, say: Callable[[str], None] = _log.info
    ) -> Iterator[str]:
        events: list[int] = []
        for event in self.drawn(model, options):
            yield f"{chr(10) if events else ''}{event_name(event)}"
            events.append(event)
        seconds = sum(map(steps_of, events)) / STEPS_PER_SECOND
        if seconds < options.seconds:
            reason = "the piece has ended"
            if len(events) == options.longest:
                reason = f"--longest {options.longest} events are written"
            say(f"{reason} after {seconds:.1f} of {options.seconds:g} s.")
        if options.output is not None:
            # The last shift of time may go beyond what was asked for.
            end = min(seconds, options.seconds)
            notes = [
                note._replace(end=min(note.end, end))
                for note in notes_of_events(events)
                if note.start < end
            ]
            say(write_music(options, [notes], end, is_drums=self.is_drums))

    # The lens.

    def held_out(self, most: int) -> list[np.ndarray]:
        return first_of(self.pieces("valid"), len, most)

    def observe(self, model: nn.Module, input: str | np.ndarray) -> Observation:
        if isinstance(input, str):
            raise ValueError("expected a piece of the validation split; a text is no music.")
        names = (*map(event_name, range(NUM_EVENTS)), "boundary")
        return observed(model, torch.from_numpy(input.astype(np.int64)), names)


def _end_of(notes: Sequence[Note]) -> float:
    """The seconds until the last of the notes has ended."""
    return max((note.end for note in notes), default=0.0)


def _transposed(batch: RaggedBatch, most: int) -> RaggedBatch:
    """Moves the keys of each row by a random number of semitones within MIDI's range."""
    rows, lengths = batch
    # Padding has the number of a key, but is none.
    is_valid = torch.arange(rows.shape[1], device=rows.device) < lengths[:, None]
    is_key = (rows < SHIFT) & is_valid
    keys = rows % OFF
    low = keys.where(is_key, OFF - 1).amin(1)
    high = keys.where(is_key, 0).amax(1)
    steps = torch.randint(-most, most + 1, (len(rows),)).to(rows.device)
    # A row without keys has low above high.
    steps = steps.clamp(min=-low, max=OFF - 1 - high).where(low <= high, 0)
    return batch._replace(rows=torch.where(is_key, rows + steps[:, None], rows))


def _stretched(batch: RaggedBatch, most: float) -> RaggedBatch:
    """Multiplies the times of each row by a random factor from 1 - most to 1 + most.

    The first token of a row, which is only read, stays, so that each row has a token to predict.
    """
    factors = 1 + most * (2 * torch.rand(len(batch.rows)) - 1)
    parts = zip(batch.rows.tolist(), batch.lengths.tolist(), factors.tolist(), strict=True)
    padded = pad_rows([[row[0], *stretched(row[1:n], factor)] for row, n, factor in parts])
    return RaggedBatch(*(tensor.to(batch.rows.device) for tensor in padded))

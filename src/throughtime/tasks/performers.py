"""performers: what several performers, an integer each, play in the next step."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from throughtime.data import RaggedBatches
from throughtime.data.files import read_once
from throughtime.data.music import (
    SILENT,
    PartSet,
    key_name,
    load_parts,
    notes_of_parts,
    read_part_steps,
)
from throughtime.layers.evaluation import evaluating
from throughtime.models.decoding import Sampling, seeded
from throughtime.models.performer_model import PerformerModel
from throughtime.models.step_codings import UNKNOWN
from throughtime.reading import Each, Entries, Whole
from throughtime.tasks.audible import shown_music, write_music
from throughtime.tasks.frame_batches import FrameBatch, frame_batches
from throughtime.tasks.performer_settings import (
    MOST_SYMBOLS,
    EnsembleOptions,
    PerformersConfig,
)
from throughtime.tasks.run_data import COUNTS, check_unchanged, first_of, split_of
from throughtime.tasks.shown import Shown, Text
from throughtime.tasks.task import WHOLE, BatchTask, Evaluation, Figure, Loss, Share
from throughtime.tasks.uses import Observation

__all__ = ["PerformersTask"]

_log = logging.getLogger(__name__)

_EVALUATED_STEPS = 4000


class PerformersTask(BatchTask):
    r"""Next-step prediction of music by k performers, of whom each plays one key or none:

        L = -1/N sum_t log P(x_{t+1} | x_1 … x_t),   x_t = (x_t1 … x_tk)

    The value of a performer is 0 where it is silent, else 1 for its lowest key in the data, and so
    on. A silent step stands before each piece, so that the model also learns how pieces begin.

    Metrics: ``loss``, summed over the performers and averaged over all steps, so that all codings
    can be compared; ``accuracy``, the share of the values that the likeliest step has right.

    Units: the loss is in nats per step.

    Source: the coding product (four gestures of nine kinds as one of 6,561), Martin, Ellefsen and
        Torresen, "Deep models for ensemble touch-screen improvisation", Audio Mostly 2017.
    """

    name = "performers"
    Config = PerformersConfig
    Assets = Entries(
        {
            "data": str,
            "data_sha256": str,
            "step_seconds": float,
            "lowest": Each(Whole(0, 127)),
            "sizes": Each(Whole(1, 129)),
        },
        {"num_steps": COUNTS},
    )
    ContinuationOptions = EnsembleOptions
    unit = "steps"
    figures: Mapping[str, Figure] = {
        "loss": Figure("nats per step"),
        "accuracy": Figure(better="higher"),
    }

    @cached_property
    def parts(self) -> PartSet:
        """The pieces. Raises a ValueError if they are not those of a loaded run's training."""
        c = self.config
        parts = load_parts(
            c.data,
            step_seconds=c.step_seconds,
            valid_fraction=c.valid_fraction,
            test_fraction=c.test_fraction,
            cut=c.split,
        )
        check_unchanged(self.name, "the pieces", parts.name, parts.fingerprint(), self._assets)
        return parts

    def new_assets(self) -> dict[str, Any]:
        parts = self.parts
        chosen = self._chosen(parts.ranges())
        return {
            "data": parts.name,
            "data_sha256": parts.fingerprint(),
            "step_seconds": parts.step_seconds,
            "lowest": [low for low, _ in chosen],
            # Each key of the range, and silence.
            "sizes": [high - low + 2 for low, high in chosen],
            "num_steps": {s: sum(map(len, pieces)) for s, pieces in parts.splits.items()},
        }

    def _chosen(self, ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """The ranges of the performers that are learned."""
        numbers = self.config.performers
        if numbers is None:
            return ranges
        if max(numbers) >= len(ranges):
            raise ValueError(
                f"--performers {numbers}: expected numbers from 0 to {len(ranges) - 1}, because "
                f"{self.parts.name} has {len(ranges)} performers."
            )
        return [ranges[number] for number in numbers]

    @property
    def sizes(self) -> list[int]:
        """The number of values of each performer."""
        return self.assets["sizes"]

    @property
    def num_symbols(self) -> int:
        """The number of combinations of values, each of which is a symbol of the coding product."""
        return math.prod(self.sizes)

    @property
    def vocabulary(self) -> str:
        """What the coding chooses from, in words."""
        sizes = " x ".join(map(str, self.sizes))
        if self.config.coding == "product":
            return f"{sizes} = {self.num_symbols:,} symbols"
        return f"{len(self.sizes)} heads of {' + '.join(map(str, self.sizes))} scores"

    @property
    def title(self) -> str:
        c = self.config
        return f"{self.assets['data']}-{c.coding}-{c.cell}-{c.num_layers}x{c.hidden_size}"

    def pieces(self, split: str) -> list[np.ndarray]:
        """The values (T, k) of the performers in the pieces of a split, int64."""
        k = len(self.sizes)
        pieces = split_of(self.name, self.parts.name, self.parts.splits, split)
        numbers = self.config.performers or list(range(k))
        return [self.values(piece[:, numbers]) for piece in pieces]

    def values(self, keys: np.ndarray) -> np.ndarray:
        """The values of performers who play these keys (T, k), which are in their ranges."""
        values = keys.astype(np.int64) - self.assets["lowest"] + 1
        return np.where(keys == SILENT, 0, values)

    def keys(self, values: np.ndarray) -> np.ndarray:
        """The keys (T, k) of values, the reverse of :meth:`values`."""
        keys = values + np.array(self.assets["lowest"]) - 1
        return np.where(values == 0, SILENT, keys).astype(np.int16)

    def check(self) -> None:
        self.pieces("valid")
        most = self.config.most_symbols or MOST_SYMBOLS
        if self.config.coding == "product" and self.num_symbols > most:
            raise ValueError(
                f"--coding product: {self.parts.name} has {self.vocabulary}, and --most_symbols is "
                f"{most:,}. Use --coding ordered, which has {len(self.sizes)} heads of "
                f"{sum(self.sizes)} scores together; or choose fewer --performers; or raise "
                "--most_symbols, each of which costs a row of scores and an embedding."
            )
        super().check()

    # The batches.

    def batches(self, split: str, share: Share = WHOLE) -> RaggedBatches[FrameBatch]:
        c = self.config
        return self._batches(split, c.excerpt, c.batch_steps, seed=c.data_seed, **share._asdict())

    def _batches(
        self, split: str, excerpt: int | None, size: int, **options: Any
    ) -> RaggedBatches[FrameBatch]:
        return frame_batches(self.pieces(split), excerpt, size, **options)

    def _transposed(self, batch: FrameBatch) -> FrameBatch:
        """Moves each row by a random number of semitones; no key leaves its performer's range."""
        values, most = batch.frames, self.config.transpose
        is_key = values > 0
        top = torch.tensor(self.sizes, device=values.device) - 1  # (k)
        # By how much each performer of each row can go down and up.
        down = (values - 1).where(is_key, 127).flatten(1).amin(1)
        up = (top - values).where(is_key, 127).flatten(1).amin(1)
        steps = torch.randint(-most, most + 1, (len(values),)).to(values.device)
        steps = torch.minimum(torch.maximum(steps, -down), up)
        return batch._replace(frames=torch.where(is_key, values + steps[:, None, None], values))

    # The model and its loss.

    def model(self) -> PerformerModel:
        c = self.config
        sizes = {} if c.head_size is None else {"head_size": c.head_size}
        return PerformerModel(
            self.sizes,
            coding=c.coding,
            embedding_size=c.embedding_size,
            input_dropout=c.input_dropout,
            **sizes,
            **c.recurrent(),
        )

    def loss(
        self, model: nn.Module, batch: FrameBatch, carried: Any = None, progress: float = 0.0
    ) -> Loss:
        if model.training and self.config.transpose:
            batch = self._transposed(batch)
        h, targets = self._read(model, batch)
        network: Any = model
        return Loss(network.coding.nll(h, targets).sum(), len(targets))

    @staticmethod
    def _read(model: Any, batch: FrameBatch) -> tuple[Tensor, Tensor]:
        """The vector (N, H) from which each step is predicted, and the step (N, k)."""
        h, _ = model(batch.frames[:, :-1], lengths=batch.lengths)
        is_valid = batch.is_valid
        return h[is_valid], batch.frames[:, 1:][is_valid]

    def evaluate(
        self, model: nn.Module, split: str | None = None, options: Any = None
    ) -> Evaluation:
        split, device = split or "valid", next(model.parameters()).device
        total, count, num_right = 0.0, 0, 0
        network: Any = model
        with evaluating(model):
            for batch in self._batches(split, None, _EVALUATED_STEPS, is_shuffled=False):
                batch = FrameBatch(*(tensor.to(device) for tensor in batch))
                h, targets = self._read(model, batch)
                # The coding product has many scores for each step.
                for part, steps in zip(h.split(500), targets.split(500), strict=True):
                    total += network.coding.nll(part, steps).double().sum().item()
                    likeliest = network.coding.draw(
                        part, torch.full_like(steps, UNKNOWN), Sampling(temperature=0.0)
                    )
                    num_right += int((likeliest == steps).sum())
                count += len(targets)
        figures = {"loss": total / count, "accuracy": num_right / (count * len(self.sizes))}
        about: dict[str, Any] = {"split": split, "pieces": len(self.pieces(split)), "steps": count}
        if self.config.coding == "product":
            about["symbols"] = self.num_symbols
        return Evaluation(figures, about)

    # Music.

    def steps(
        self, model: Any, known: np.ndarray, sampling: Sampling, seed: int | None
    ) -> Iterator[np.ndarray]:
        """Draws steps one by one, each (k) values, and feeds each back into the model.

        Args:
            model: the model.
            known: (T, k), the values that are fixed, and `UNKNOWN`; the same performers are fixed
                in each step.
            sampling: how a value is drawn from its scores.
            seed: the seed of the random generator; None gives other music each time.
        """
        device, generator = next(model.parameters()).device, seeded(seed)
        rows = torch.from_numpy(known).to(device)
        step, state = torch.zeros_like(rows[:1]), None
        for row in rows:
            with evaluating(model):
                h, state = model(step[:, None], state)
                step = model.coding.draw(h[:, 0], row[None], sampling, generator)
            yield step[0].cpu().numpy()

    def _unknown(self, length: int) -> np.ndarray:
        return np.full((length, len(self.sizes)), UNKNOWN, np.int64)

    def show(self, model: nn.Module) -> list[Shown]:
        length, seconds = self.config.sample_length, self.assets["step_seconds"]
        samples = {"all performers written": self._unknown(length)}
        if len(self.sizes) > 1:
            # The first performers can be fixed with each coding.
            piece = self.pieces("valid")[0][:length]
            known = self._unknown(len(piece))
            known[:, 0] = piece[:, 0]
            samples["the first performer of a piece of the validation, the others written"] = known
        shown: list[Shown] = [Text(f"coding {self.config.coding}: {self.vocabulary}")]
        for title, known in samples.items():
            steps = self.keys(np.stack(list(self.steps(model, known, Sampling(1.0), seed=0))))
            parts = notes_of_parts(steps, seconds)
            shown += shown_music(parts, len(steps) * seconds, seconds, title)
        return shown

    def continuation(
        self, model: nn.Module, options: EnsembleOptions, say: Callable[[str], None] = _log.info
    ) -> Iterator[str]:
        o, seconds = options, self.assets["step_seconds"]
        known = self._unknown(128 if o.length is None else o.length)
        if o.fixed_from is not None and o.fixed is not None:
            known = self._fixed(model, Path(o.fixed_from).expanduser(), o.fixed)
        steps = []
        for step in self.steps(model, known, o.sampling, o.seed):
            steps.append(self.keys(step[None])[0])
            yield f"{chr(10) if len(steps) > 1 else ''}{step_text(steps[-1])}"
        if o.output is not None:
            parts = notes_of_parts(np.stack(steps), seconds)
            say(write_music(o, parts, len(steps) * seconds))

    def _fixed(self, model: Any, path: Path, numbers: Sequence[int]) -> np.ndarray:
        """The values of the performers of these numbers from a MIDI file, `UNKNOWN` elsewhere."""
        k, seconds = len(self.sizes), self.assets["step_seconds"]
        if max(numbers) >= k:
            raise ValueError(
                f"--fixed {list(numbers)}: expected numbers from 0 to {k - 1}, because the model "
                f"has {k} performers."
            )
        if len(numbers) == k:
            raise ValueError(
                f"--fixed {list(numbers)}: with all performers fixed there is nothing to write. "
                "Leave one out."
            )
        try:
            model.coding.check_known(numbers)
        except ValueError as error:
            raise ValueError(f"--fixed {list(numbers)}: {error}") from error
        if not path.is_file():
            raise FileNotFoundError(f"--fixed_from: expected a MIDI file, got none at {path}.")
        keys = read_part_steps(str(path), read_once(path), seconds)
        if keys.shape[1] not in (k, len(numbers)):
            raise ValueError(
                f"{path}: expected {k} parts, or the {len(numbers)} of --fixed, got "
                f"{keys.shape[1]}."
            )
        known = self._unknown(len(keys))
        for place, number in enumerate(numbers):
            own = keys[:, number if keys.shape[1] == k else place]
            low, high = self.assets["lowest"][number], self.sizes[number] - 2
            is_outside = (own != SILENT) & ((own < low) | (own > low + high))
            if is_outside.any():
                step = int(is_outside.argmax())
                raise ValueError(
                    f"{path}: expected keys from {key_name(low)} to {key_name(low + high)}, which "
                    f"performer {number} has in the training, got {key_name(int(own[step]))} at "
                    f"second {step * seconds:g}."
                )
            known[:, number] = np.where(own == SILENT, 0, own.astype(np.int64) - low + 1)
        return known

    # The lens.

    def held_out(self, most: int) -> list[np.ndarray]:
        return first_of(self.pieces("valid"), len, most)

    def observe(self, model: Any, input: str | np.ndarray) -> Observation:
        if isinstance(input, str):
            raise ValueError("expected a piece of the validation split; a text is no music.")

        def run() -> None:
            with evaluating(model):
                model(torch.from_numpy(input)[None].to(next(model.parameters()).device))

        return Observation({"": tuple(map(step_text, self.keys(input)))}, run)


def step_text(keys: np.ndarray) -> str:
    """The names of the keys of a step, one for each performer; ``-`` if it is silent."""
    return " ".join("-" if key == SILENT else key_name(int(key)) for key in keys)

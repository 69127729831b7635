"""music-roll: which keys sound in the next frame of a piece of music."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from throughtime.data import RaggedBatches
from throughtime.data.music import (
    FIRST_KEY,
    NUM_KEYS,
    ROLL_SETS,
    Rolls,
    key_name,
    load_rolls,
    notes_of_roll,
)
from throughtime.data.splits import Cut
from throughtime.layers.evaluation import evaluating
from throughtime.models.decoding import seeded
from throughtime.models.frame_model import FrameModel
from throughtime.reading import Entries
from throughtime.tasks.audible import OutputOptions, shown_music, write_music
from throughtime.tasks.frame_batches import FrameBatch, frame_batches
from throughtime.tasks.network import (
    MAY_BE_MISSING,
    NetworkConfig,
    check_range,
    forwards_only,
    free,
)
from throughtime.tasks.run_data import COUNTS, absolute, check_unchanged, first_of, split_of
from throughtime.tasks.shown import Shown
from throughtime.tasks.task import WHOLE, BatchTask, Evaluation, Figure, Loss, Share
from throughtime.tasks.uses import Observation

__all__ = ["MusicRoll", "MusicRollConfig"]

_log = logging.getLogger(__name__)

_EVALUATED_FRAMES = 4000
"""Frames of a batch of an evaluation, which bounds its memory."""


@dataclass
class MusicRollConfig(NetworkConfig):
    """The pieces, the model, and the batches.

    Args:
        data: name of a data set (jsb-chorales, nottingham, musedata, piano-midi); or path of a
            MATLAB file of piano rolls, of a MIDI file, or of a folder of MIDI files, with the
            folders train, valid and test or without.
        frame_seconds: duration of a frame of MIDI files (default: 0.25).
        valid_fraction: fraction of the pieces that is kept for validation, if the data has no
            splits (default: 0.1).
        test_fraction: fraction of the pieces that is kept for the test (default: 0).
        split: how the pieces of data without splits are cut into them: order, one after the other;
            random; or blocks, parts of ten blocks.
        head: distribution over the keys of a frame: independent, given the past; nade, a neural
            autoregressive estimator; recurrent, a network that names the keys one by one.
        head_size: number of hidden units of the heads nade and recurrent (default: 100).
        hidden_size: number of units of each recurrent layer.
        dropout: probability to drop a unit of the inputs of each layer but the first, and of the
            input of the head.
        input_dropout: probability to drop a key that is read.
        transpose: semitones up or down by which each piece is moved at random during the training;
            not useful for the named sets, whose pieces are all in C.
        excerpt: largest number of frames of a piece that are trained together; a longer piece is
            cut into excerpts.
        batch_frames: frames of a batch, summed over all processes.
        data_seed: seed of the order of the pieces.
        sample_length: frames of the sample that is written during the training.
    """

    REFUSED: ClassVar = forwards_only("frames")

    data: str = "jsb-chorales"
    frame_seconds: float | None = None
    valid_fraction: float | None = None
    test_fraction: float | None = None
    _: KW_ONLY
    split: Cut = field(default="order", metadata=MAY_BE_MISSING)
    head: Literal["independent", "nade", "recurrent"] = "independent"
    head_size: int | None = None
    hidden_size: int = 200
    input_dropout: float = 0.0
    transpose: int = 0
    excerpt: int = 200
    batch_frames: int = 500
    data_seed: int = 0
    sample_length: int = free(64)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.data = absolute(self.data, ROLL_SETS)
        check_range(self, ("head_size", "excerpt", "batch_frames"), most=10**7)
        check_range(self, ("sample_length",), most=10**6)
        check_range(self, ("transpose",), least=0, most=NUM_KEYS - 1)
        check_range(self, ("data_seed",), least=0, most=2**32 - 1)
        if not 0 <= self.input_dropout < 1:
            raise ValueError(f"--input_dropout: expected 0 to below 1, got {self.input_dropout}.")
        if self.frame_seconds is not None and not 1e-3 <= self.frame_seconds <= 60:
            raise ValueError(
                f"--frame_seconds: expected 0.001 to 60 seconds, got {self.frame_seconds}."
            )
        if self.head == "independent" and self.head_size is not None:
            raise ValueError(
                f"--head_size {self.head_size}: the head independent has no hidden units, so it "
                "would have no effect. Leave it out, or use --head nade."
            )


@dataclass
class PlayingOptions(OutputOptions):
    """How a piece of music is written.

    Args:
        length: number of frames.
        seed: seed of the random generator (default: a different piece each time).
        temperature: divisor of the scores: below 1 favours likely keys, above 1 unlikely ones; 0
            always takes the likelier value.
    """

    length: int = 128
    seed: int | None = None
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_range(self, ("length",), most=10**6)
        check_range(self, ("seed",), least=0, most=2**32 - 1)
        super().__post_init__()
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"--temperature: expected 0 or more, got {self.temperature}.")


class MusicRoll(BatchTask):
    r"""Next-frame prediction of polyphonic music:

        L = -1/N sum_t log P(x_{t+1} | x_1 … x_t)

    where x_t are the 88 keys of a frame. An empty frame stands before each piece, so that the model
    also learns how pieces begin.

    Metrics: ``loss``, summed over the keys and averaged over all frames but the first of each
    piece, as the papers count it; ``frame_accuracy``, TP / (TP + FP + FN) over the keys of these
    frames, where the likelier value of each key is predicted; ``loss_with_first`` (only in an
    evaluation), which also counts the first frames. The loss of the training counts all frames.

    Units: the loss is in nats per frame.

    Source: Boulanger-Lewandowski, Bengio and Vincent, arXiv 1206.6392; the frames that are counted,
        Bai, Kolter and Koltun, arXiv 1803.01271; the accuracy, Bay, Ehmann and Downie (2009).
    """

    name = "music-roll"
    Config = MusicRollConfig
    Assets = Entries(
        {"data": str, "data_sha256": str, "frame_seconds": float}, {"num_frames": COUNTS}
    )
    ContinuationOptions = PlayingOptions
    unit = "frames"
    figures: Mapping[str, Figure] = {
        "loss": Figure("nats per frame"),
        "frame_accuracy": Figure(better="higher"),
    }

    @cached_property
    def rolls(self) -> Rolls:
        """The pieces. Raises a ValueError if they are not those of a loaded run's training."""
        c = self.config
        rolls = load_rolls(
            c.data,
            frame_seconds=c.frame_seconds,
            valid_fraction=c.valid_fraction,
            test_fraction=c.test_fraction,
            cut=c.split,
        )
        check_unchanged(self.name, "the pieces", rolls.name, rolls.fingerprint(), self._assets)
        return rolls

    def new_assets(self) -> dict[str, Any]:
        rolls = self.rolls
        return {
            "data": rolls.name,
            "data_sha256": rolls.fingerprint(),
            "frame_seconds": rolls.frame_seconds,
            "num_frames": {s: sum(map(len, pieces)) for s, pieces in rolls.splits.items()},
        }

    @property
    def title(self) -> str:
        c = self.config
        return f"{self.rolls.name}-{c.head}-{c.cell}-{c.num_layers}x{c.hidden_size}"

    def pieces(self, split: str) -> list[np.ndarray]:
        """The pieces of a split, each (T, 88) bool."""
        return split_of(self.name, self.rolls.name, self.rolls.splits, split)

    def check(self) -> None:
        if not self._can_evaluate("valid"):
            raise ValueError(
                f"{self.rolls.name}: expected a piece of at least 2 frames to validate on, got "
                "none. Give longer pieces, or a larger --valid_fraction."
            )
        if self.rolls.is_in_c and self.config.transpose:
            _log.warning(
                "--transpose %d: all pieces of %s are in C, those of the test too, so pieces in "
                "other keys teach little.",
                *(self.config.transpose, self.rolls.name),
            )
        super().check()

    def _can_evaluate(self, split: str) -> bool:
        """Whether a split has a frame to be counted: all are but the first of each piece."""
        return any(len(roll) > 1 for roll in self.pieces(split))

    # The batches.

    def batches(self, split: str, share: Share = WHOLE) -> RaggedBatches[FrameBatch]:
        c = self.config
        return self._batches(split, c.excerpt, c.batch_frames, seed=c.data_seed, **share._asdict())

    def _batches(
        self, split: str, excerpt: int | None, size: int, **options: Any
    ) -> RaggedBatches[FrameBatch]:
        return frame_batches(self.pieces(split), excerpt, size, **options)

    def _transposed(self, batch: FrameBatch) -> FrameBatch:
        """Moves each row by a random number of semitones; no key leaves the keyboard."""
        sounds = batch.frames.any(1)  # (B, 88)
        numbers = torch.arange(NUM_KEYS, device=sounds.device)
        low = numbers.where(sounds, NUM_KEYS - 1).amin(1)
        high = numbers.where(sounds, 0).amax(1)
        most = self.config.transpose
        steps = torch.randint(-most, most + 1, (len(sounds),)).to(low.device)
        # A silent row has low above high, and is moved nowhere.
        steps = steps.clamp(min=-low, max=NUM_KEYS - 1 - high).where(low <= high, 0)
        source = (numbers - steps[:, None]) % NUM_KEYS  # (B, 88)
        frames = batch.frames.gather(2, source[:, None].expand_as(batch.frames))
        return batch._replace(frames=frames)

    # The model and its loss.

    def model(self) -> FrameModel:
        c = self.config
        sizes = {} if c.head_size is None else {"head_size": c.head_size}
        return FrameModel(
            NUM_KEYS, head=c.head, **sizes, input_dropout=c.input_dropout, **c.recurrent()
        )

    def loss(
        self, model: nn.Module, batch: FrameBatch, carried: Any = None, progress: float = 0.0
    ) -> Loss:
        if model.training and self.config.transpose:
            batch = self._transposed(batch)
        nll = self._nll(model, batch)
        return Loss(nll.sum(), len(nll))

    @staticmethod
    def _nll(model: Any, batch: FrameBatch) -> Tensor:
        """The loss of each valid frame of a batch (N)."""
        h, is_valid = MusicRoll._read(model, batch), batch.is_valid
        return model.head.nll(h[is_valid], batch.frames[:, 1:][is_valid])

    @staticmethod
    def _read(model: Any, batch: FrameBatch) -> Tensor:
        frames = batch.frames[:, :-1].to(model.dtype)
        return model(frames, lengths=batch.lengths)[0]  # (B, T, H)

    def evaluate(
        self, model: nn.Module, split: str | None = None, options: Any = None
    ) -> Evaluation:
        split, device = split or "valid", next(model.parameters()).device
        if not self._can_evaluate(split):
            raise ValueError(
                f'{self.rolls.name}: expected a piece of at least 2 frames in "{split}", got none.'
            )
        total = first_total = 0.0
        count = num_pieces = right = wrong = 0
        network: Any = model
        with evaluating(model):
            for batch in self._batches(split, None, _EVALUATED_FRAMES, is_shuffled=False):
                batch = FrameBatch(*(tensor.to(device) for tensor in batch))
                h, is_valid = self._read(model, batch), batch.is_valid
                is_first = torch.zeros_like(is_valid)
                is_first[:, 0] = True
                is_first = is_first[is_valid]
                h, frames = h[is_valid], batch.frames[:, 1:][is_valid]
                nll = network.head.nll(h, frames).double()
                first_total += nll[is_first].sum().item()
                total += nll[~is_first].sum().item()
                count += int((~is_first).sum())
                num_pieces += len(batch.lengths)
                likeliest = network.head.draw(h[~is_first], temperature=0.0)
                right += int((likeliest & frames[~is_first]).sum())
                wrong += int((likeliest ^ frames[~is_first]).sum())
        figures = {"loss": total / count, "frame_accuracy": right / max(1, right + wrong)}
        if options is not None:
            figures["loss_with_first"] = (total + first_total) / (count + num_pieces)
        return Evaluation(figures, {"split": split, "pieces": num_pieces, "frames": count})

    # Music.

    def frames(
        self, model: Any, length: int, temperature: float, seed: int | None
    ) -> Iterator[np.ndarray]:
        """Draws frames one by one, each (88) bool, and feeds each back into the model."""
        device, generator = next(model.parameters()).device, seeded(seed)
        frame = torch.zeros(1, NUM_KEYS, dtype=torch.bool, device=device)
        state = None
        for _ in range(length):
            with evaluating(model):
                h, state = model(frame[:, None].to(model.dtype), state)
                frame = model.head.draw(h[:, 0], temperature, generator)
            yield frame[0].cpu().numpy()

    def show(self, model: nn.Module) -> list[Shown]:
        roll = np.stack(list(self.frames(model, self.config.sample_length, 1.0, seed=0)))
        seconds = self.assets["frame_seconds"]
        return shown_music([notes_of_roll(roll, seconds)], len(roll) * seconds, seconds)

    def continuation(
        self, model: nn.Module, options: PlayingOptions, say: Callable[[str], None] = _log.info
    ) -> Iterator[str]:
        o, seconds = options, self.assets["frame_seconds"]
        roll = np.zeros((o.length, NUM_KEYS), bool)
        for t, frame in enumerate(self.frames(model, o.length, o.temperature, o.seed)):
            roll[t] = frame
            yield f"{'' if t == 0 else chr(10)}{frame_text(frame)}"
        if o.output is not None:
            say(write_music(o, [notes_of_roll(roll, seconds)], o.length * seconds))

    # The lens.

    def held_out(self, most: int) -> list[np.ndarray]:
        return first_of(self.pieces("valid"), len, most)

    def observe(self, model: Any, input: str | np.ndarray) -> Observation:
        if isinstance(input, str):
            raise ValueError("expected a piece of the validation split; a text is no music.")
        frames = torch.from_numpy(input)

        def run() -> Tensor | None:
            with evaluating(model):
                x = frames[None].to(next(model.parameters()).device, model.dtype)
                h, _ = model(x)
                if self.config.head != "independent":
                    return None
                return model.head.scores(h[0]).float().sigmoid().cpu()

        names = tuple(key_name(FIRST_KEY + key) for key in range(NUM_KEYS))
        return Observation({"": tuple(map(frame_text, input))}, run, names, frames.float(), names)


def frame_text(frame: np.ndarray) -> str:
    """The names of the keys that sound in a frame, from the lowest on; ``-`` if it is silent."""
    names = [key_name(FIRST_KEY + int(key)) for key in np.flatnonzero(frame)]
    return " ".join(names) or "-"

"""transcription: what is said in a recording, symbol by symbol."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor, nn

from throughtime.counted import counted
from throughtime.data import MissingLibraryError, RaggedBatches, Tokeniser, tokeniser_from_json
from throughtime.data.audio import FeatureStream
from throughtime.data.audio.live import live_samples
from throughtime.data.audio.transcribed import (
    Spoken,
    Transcribed,
    load_transcribed,
    read_transcribed,
)
from throughtime.data.audio.transcribed_batches import TranscribedBatch, collate_transcribed
from throughtime.data.tokeniser import SPECIALS, UNK
from throughtime.layers.evaluation import evaluating
from throughtime.models.ctc import BLANK, aligned, best_path, num_steps_needed, prefix_search
from throughtime.models.transcriber import Transcriber, num_steps
from throughtime.reading import Each, Entries
from throughtime.tasks.beginnings import TOKENS_OF_EVALUATION
from throughtime.tasks.class_checks import warn_of_unknown_texts
from throughtime.tasks.run_data import COUNTS, check_unchanged, split_of
from throughtime.tasks.shown import Picture, Shown, Table
from throughtime.tasks.small_data import defaults_for
from throughtime.tasks.sound_features import SoundFeatures, moments_of_sounds
from throughtime.tasks.task import WHOLE, BatchTask, Default, Evaluation, Figure, Loss, Share
from throughtime.tasks.text_tokenisers import tokeniser_of_texts
from throughtime.tasks.transcription_settings import (
    JudgingTranscripts,
    TranscribingOptions,
    TranscriptionConfig,
)
from throughtime.tasks.uses import Prediction

__all__ = ["Transcription", "TranscriptionConfig"]

_NUM_SHOWN = 10
_NUM_DRAWN = 3


class Transcription(BatchTask):
    r"""The transcript y of a recording x, by connectionist temporal classification:

        P(y | x) = sum over all alignments a of y:  prod_t P(a_t | x)
        L = -sum_n log P(y_n | x_n) / sum_n |y_n|

    An alignment has one symbol, or the blank, for each step; without repetitions and blanks it is
    the transcript.

    Metrics: ``word_error_rate`` and ``character_error_rate``: the insertions, deletions and
    replacements that turn the outputs into the transcripts, divided by the number of words or
    characters of the transcripts.

    Units: the loss is in nats per symbol.

    Source: Graves et al., "Connectionist temporal classification" (2006).
    """

    name = "transcription"
    Config = TranscriptionConfig
    Assets = Entries(
        {
            "data": str,
            "data_sha256": str,
            "rate": int,
            "num_examples": COUNTS,
            "tokeniser": tokeniser_from_json,
            "mean": Each(float),
            "deviation": Each(float),
        }
    )
    EvaluationOptions = JudgingTranscripts
    PredictionOptions = TranscribingOptions
    reads = "the path of a sound file"
    writes = "the transcript"
    unit = "recordings"
    has_outputs = True
    monitor = "word_error_rate"
    figures: Mapping[str, Figure] = {
        "loss": Figure("nats per symbol"),
        "word_error_rate": Figure(),
        "character_error_rate": Figure(),
    }
    reads_files = True

    # The data.

    @cached_property
    def transcribed(self) -> Transcribed:
        """The recordings. Raises a ValueError if they are not those of a loaded run's training."""
        c = self.config
        transcribed = load_transcribed(
            c.data,
            encoding=c.encoding,
            valid_fraction=c.valid_fraction,
            test_fraction=c.test_fraction,
            cut=c.split,
            rate=c.rate,
        )
        sha256 = transcribed.fingerprint()
        check_unchanged(self.name, "the recordings", transcribed.name, sha256, self._assets)
        return transcribed

    def new_assets(self) -> dict[str, Any]:
        data, c = self.transcribed, self.config
        learned = self.recordings("train")
        usual = "symbols" if data.is_tokenised else "characters"
        texts = (recording.text for recording in learned)
        mean, deviation = moments_of_sounds(
            data.name, c.spectral(data.rate), [one.samples for one in learned], c.normalise
        )
        return {
            "data": data.name,
            "data_sha256": data.fingerprint(),
            "rate": data.rate,
            "num_examples": {split: len(part) for split, part in data.splits.items()},
            "tokeniser": tokeniser_of_texts(c, usual, texts, c.min_count).to_json(),
            "mean": mean,
            "deviation": deviation,
        }

    @property
    def tokenisers_by_name(self) -> Mapping[str, Any]:
        return {"text": self.tokeniser}

    @cached_property
    def tokeniser(self) -> Tokeniser:
        """The tokeniser of the transcripts."""
        return tokeniser_from_json(self.assets["tokeniser"])

    @cached_property
    def _features(self) -> SoundFeatures:
        a, c = self.assets, self.config
        spectral = c.spectral(a["rate"])
        return SoundFeatures(spectral, a["mean"], a["deviation"], c.augmentation)

    @property
    def title(self) -> str:
        c = self.config
        return f"{self.transcribed.name}-ctc-{c.cell}-{c.num_layers}x{c.hidden_size}"

    def recordings(self, split: str) -> list[Spoken]:
        """The recordings of a split."""
        return split_of(self.name, self.transcribed.name, self.transcribed.splits, split)

    def symbols(self, text: str) -> list[int]:
        """The classes of the symbols of a transcript; those that the training lacks are left out.

        Class 0 is the blank, so the first token of the tokeniser has class 1.
        """
        first = len(SPECIALS) - 1
        return [i - first for i in self.tokeniser.encode(text) if i != UNK]

    def text_of(self, symbols: Iterable[int]) -> str:
        """The text of symbols."""
        first = len(SPECIALS) - 1
        return self.tokeniser.decode([k + first for k in symbols])

    def _num_steps(self, num_frames: int) -> int:
        return num_steps(num_frames, self.config.stack, self.config.pyramid)

    def check(self) -> None:
        _jiwer()
        name = self.transcribed.name
        for split, recordings in self.transcribed.splits.items():
            self._check_lengths(recordings, f'{name}, split "{split}"')
        # A missing validation split should not end a training after its first epoch.
        texts = [recording.text for recording in self.recordings("valid")]
        warn_of_unknown_texts(name, texts, self.tokeniser)
        super().check()

    def _check_lengths(self, recordings: Sequence[Spoken], where: str) -> None:
        """Raises a ValueError for a transcript that has no alignment with its recording."""
        for place, (text, samples) in enumerate(recordings, 1):
            needed = num_steps_needed(self.symbols(text))
            num_frames = self._features.length(samples)
            if needed > self._num_steps(num_frames):
                raise ValueError(
                    f"{where}, recording {place}: its transcript {text[:40]!r} needs {needed} "
                    f"steps, one for each of its {self.tokeniser.unit} and one between two equal "
                    f"ones, and the recording has {self._num_steps(num_frames)} ({num_frames} "
                    "frames). Correct the transcript, or lower --stack and --pyramid."
                )

    def defaults(self) -> Mapping[str, Default]:
        amount = len(self.recordings("train"))
        return defaults_for(self.config, amount, "recordings", per_row=1, least=4, few=5_000)

    def batches(self, split: str, share: Share = WHOLE) -> RaggedBatches[TranscribedBatch]:
        c = self.config
        return self._batches(
            *(self.recordings(split), c.batch_size),
            is_changed=split == "train",
            seed=c.data_seed,
            by="rows",
            **share._asdict(),
        )

    def _batches(
        self, recordings: Sequence[Spoken], size: int, *, is_changed: bool = False, **options: Any
    ) -> RaggedBatches[TranscribedBatch]:
        """The batches of recordings, which are changed at random if ``is_changed``."""
        symbols = [self.symbols(recording.text) for recording in recordings]

        def row(i: int) -> Tensor:
            samples = recordings[i].samples
            if is_changed:
                seed = (self.config.data_seed, batches.epoch, i)
                changed = self._features.changed(samples, seed)
                # A faster sound may have too few steps for its transcript.
                if self._num_steps(len(changed)) >= num_steps_needed(symbols[i]):
                    return changed
            return self._features.of_series(samples)

        def collate(indices: Sequence[int]) -> TranscribedBatch:
            return collate_transcribed([row(i) for i in indices], [symbols[i] for i in indices])

        lengths = [self._features.length(recording.samples) for recording in recordings]
        batches = RaggedBatches(lengths, collate, size, **options)
        return batches

    # The model and its loss.

    def model(self) -> Transcriber:
        c = self.config
        return Transcriber(
            len(self.tokeniser) - len(SPECIALS) + 1,
            self._features.size,
            stack=c.stack,
            pyramid=c.pyramid,
            **c.recurrent(),
        )

    def loss(
        self, model: nn.Module, batch: TranscribedBatch, carried: Any = None, progress: float = 0.0
    ) -> Loss:
        log_probs = model(batch.inputs, batch.lengths).float().log_softmax(-1)
        steps = num_steps(batch.lengths, self.config.stack, self.config.pyramid)
        return Loss(_ctc(log_probs, steps, batch).sum(), max(1, int(batch.target_lengths.sum())))

    def evaluate(
        self, model: nn.Module, split: str | None = None, options: JudgingTranscripts | None = None
    ) -> Evaluation:
        o = options or JudgingTranscripts()
        if o.data is not None:
            if split is not None:
                raise ValueError("--data is judged as a whole; leave --split out")
            path = Path(o.data).expanduser()
            recordings = read_transcribed(path, self.assets["rate"], o.encoding or "utf-8")
            where = o.data
            self._check_lengths(recordings, where)
        else:
            where = split or "valid"
            recordings = self.recordings(where)
        loss, count, outputs = 0.0, 0, {}
        batches = self._batches(recordings, TOKENS_OF_EVALUATION, by="tokens", is_shuffled=False)
        device = next(model.parameters()).device
        with evaluating(model):
            for indices, batch in zip(
                batches.order(0), counted("transcribing", batches), strict=True
            ):
                scores = model(batch.inputs.to(device), batch.lengths)
                log_probs = scores.float().log_softmax(-1).cpu()
                steps = num_steps(batch.lengths, self.config.stack, self.config.pyramid)
                loss += float(_ctc(log_probs, steps, batch).sum())
                count += int(batch.target_lengths.sum())
                for i, row, length in zip(indices, log_probs, steps.tolist(), strict=True):
                    outputs[i] = self.text_of(self._decoded(row[:length], o.beam_width))
        texts = [recording.text for recording in recordings]
        written = [outputs[i] for i in range(len(texts))]
        figures = {"loss": loss / count if count else math.nan, **error_rates(texts, written)}
        about = {"split": where, "recordings": len(texts), "beam_width": o.beam_width}
        return Evaluation(figures, about, written)

    def _decoded(self, log_probs: Tensor, beam_width: int) -> Sequence[int]:
        if beam_width == 1:
            return best_path(log_probs)[0]
        return prefix_search(log_probs, beam_width)[0].symbols

    def _log_probs(self, model: nn.Module, samples: np.ndarray) -> Tensor:
        """The logarithms of the probabilities of the classes at each step of a sound, (T', C)."""
        row = self._features.of_series(samples)[None]
        with evaluating(model):
            scores = model(row.to(next(model.parameters()).device), torch.tensor([row.shape[1]]))
        return scores[0].float().log_softmax(-1).cpu()

    def show(self, model: nn.Module) -> list[Shown]:
        recordings = self.recordings("valid")[:_NUM_SHOWN]
        log_probs = [self._log_probs(model, one.samples) for one in recordings]
        rows = [
            [one.text, self.text_of(best_path(scores)[0])]
            for one, scores in zip(recordings, log_probs, strict=True)
        ]
        items: list[Shown] = [Table(["transcript", "output"], rows, "Recordings of the validation")]
        for one, scores in list(zip(recordings, log_probs, strict=True))[:_NUM_DRAWN]:
            items.append(self._drawn(one, scores))
        return items

    def _drawn(self, recording: Spoken, log_probs: Tensor) -> Picture:
        """The spectrogram of a recording above the probabilities of its aligned symbols.

        Below the spectrogram there is a line of pixels for each symbol of the transcript, in
        order, as bright as the symbol is likely at that time; the steps of the likeliest
        alignment are white.
        """
        features = self._features.of_series(recording.samples)
        values = features[:, : self._features.spectral.num_values].T.flip(0)  # (values, T)
        low, high = values.min(), values.max()
        spectrogram = (values - low) / (high - low).clamp_min(1e-6)
        symbols = self.symbols(recording.text)
        steps = torch.zeros(max(1, len(symbols)), len(log_probs))
        place, before = -1, BLANK
        for t, symbol in enumerate(aligned(log_probs, symbols)):
            place += symbol not in (BLANK, before)
            before = symbol
            steps[: len(symbols), t] = 0.7 * log_probs[t, symbols].exp()
            if symbol != BLANK:
                steps[place, t] = 1
        T = spectrogram.shape[1]
        wide = steps[:, (torch.arange(T) * len(log_probs)) // T].repeat_interleave(3, 0)
        border = torch.full((1, T), 0.5)
        return Picture(torch.cat([spectrogram, border, wide]), recording.text)

    # Its use.

    def predictions(
        self,
        model: nn.Module,
        inputs: Iterable[Sequence[str]],
        options: TranscribingOptions,
        say: Callable[[str], None],
    ) -> Iterator[Prediction]:
        for lines in inputs:
            for line in lines:
                if not line.strip():
                    yield Prediction([""], {"text": ""})
                    continue
                log_probs = self._log_probs(model, self._features.parse(line))
                text = self.text_of(self._decoded(log_probs, options.beam_width))
                yield Prediction([text], {"text": text, "file": line.strip()})

    def heard(
        self,
        model: nn.Module,
        stream: BinaryIO,
        options: TranscribingOptions,
        say: Callable[[str], None],
    ) -> Iterator[str]:
        """The pieces of the transcript of a sound, each as soon as it is heard."""
        if self.config.bidirectional:
            raise ValueError(
                "--stream: the model was trained with --bidirectional true, and reads a sound "
                "from its end, too. Train one with --bidirectional false, or predict from files."
            )
        assert isinstance(model, Transcriber)
        features, reader = FeatureStream(self._features.spectral), model.stream()
        symbols: list[int] = []
        before, rate = BLANK, self.assets["rate"]
        num_samples, busy = 0, 0.0

        def written(values: np.ndarray, is_end: bool) -> str:
            nonlocal before, symbols
            row = torch.from_numpy(self._features.normalised(values))
            device = next(model.parameters()).device
            scores = reader.read(row.to(device), is_end=is_end)
            text = ""
            for symbol in scores.argmax(-1).tolist():
                if symbol not in (BLANK, before):
                    # What one symbol adds to a text may depend on the symbol before it.
                    last, symbols = symbols[-1:], [*symbols[-1:], symbol]
                    text += self.text_of(symbols).removeprefix(self.text_of(last))
                before = symbol
            return text

        for samples in live_samples(stream, rate, options.raw_rate):
            begin = time.perf_counter()
            num_samples += len(samples)
            text = written(features.push(samples), False)
            busy += time.perf_counter() - begin
            if text:
                yield text
        begin = time.perf_counter()
        text = written(features.finish(), True)
        busy += time.perf_counter() - begin
        yield text + "\n"
        seconds = num_samples / rate
        spectral = self._features.spectral
        num_frames = self.config.stack * 2**self.config.pyramid - 1 + features.delay
        latency = spectral.frame_ms + num_frames * spectral.hop_ms
        factor = f"{busy / seconds:.4f}" if seconds else "unknown"
        say(
            f"{seconds:.2f} s of sound; latency {latency:.0f} ms of sound (a frame, and the "
            f"frames that must follow it); real-time factor {factor} ({busy:.3f} s computing)"
        )


def error_rates(texts: Sequence[str], outputs: Sequence[str]) -> dict[str, float]:
    """The word and the character error rate of outputs, by the library jiwer.

    They are NaN if all transcripts are empty.

    >>> error_rates(["one two", "three"], ["one too", "three"])["word_error_rate"]
    0.3333333333333333
    """
    if not any(text.split() for text in texts):
        return {"word_error_rate": math.nan, "character_error_rate": math.nan}
    jiwer = _jiwer()
    return {
        "word_error_rate": float(jiwer.wer(list(texts), list(outputs))),
        "character_error_rate": float(jiwer.cer(list(texts), list(outputs))),
    }


def _jiwer() -> Any:
    try:
        import jiwer
    except ImportError as error:
        raise MissingLibraryError(
            "transcription: needs the library jiwer, for the error rates. Install it: "
            'pip install "throughtime[audio]".'
        ) from error
    return jiwer


def _ctc(log_probs: Tensor, steps: Tensor, batch: TranscribedBatch) -> Tensor:
    """The negative log-likelihood of each transcript, (B)."""
    return nn.functional.ctc_loss(
        log_probs.transpose(0, 1),
        batch.targets.to(log_probs.device),
        steps,
        batch.target_lengths,
        blank=BLANK,
        reduction="none",
    )

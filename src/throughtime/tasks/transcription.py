"""transcription: what is said in a recording, symbol by symbol."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor, nn

from throughtime.counted import counted
from throughtime.data import RaggedBatches, Tokeniser, tokeniser_from_json
from throughtime.data.tokeniser import SPECIALS, UNK
from throughtime.data.transcribed import (
    Transcribed,
    TranscribedBatch,
    TranscribedSignal,
    collate_transcribed,
    labels_at,
    load_transcribed,
)
from throughtime.layers.evaluation import evaluating
from throughtime.models.ctc import BLANK
from throughtime.models.transcriber import Transcriber
from throughtime.reading import Each, Entries, Maybe, Whole
from throughtime.tasks.beginnings import TOKENS_OF_EVALUATION
from throughtime.tasks.class_checks import warn_of_unknown_texts
from throughtime.tasks.drawing_options import MOST_DRAWN
from throughtime.tasks.error_rates import error_library, error_rates, names_of_rates
from throughtime.tasks.fused_language import FusionOptions, fused_language
from throughtime.tasks.live_transcript import live_transcript
from throughtime.tasks.pen_signals import PenSignals
from throughtime.tasks.readouts import READOUTS, Readout, Search
from throughtime.tasks.robustness import robustness_curves
from throughtime.tasks.run_data import COUNTS, check_unchanged, split_of
from throughtime.tasks.shown import Picture, Shown, Table
from throughtime.tasks.signals import Signals
from throughtime.tasks.small_data import defaults_for
from throughtime.tasks.sound_signals import SoundSignals
from throughtime.tasks.task import WHOLE, BatchTask, Default, Evaluation, Figure, Loss, Share
from throughtime.tasks.text_tokenisers import tokeniser_of_texts
from throughtime.tasks.transcription_settings import (
    JudgingTranscripts,
    TranscribingOptions,
    TranscriptionConfig,
)
from throughtime.tasks.uses import Prediction
from throughtime.written import written_whole

__all__ = ["SIGNALS", "Transcription", "TranscriptionConfig"]

_NUM_SHOWN = 10
_NUM_DRAWN = 3

SIGNALS: dict[str, type[Signals]] = {"audio": SoundSignals, "pen": PenSignals}
"""What is read of each ``kind`` of :class:`throughtime.data.transcribed.Transcribed`."""


class Transcription(BatchTask):
    r"""The transcript y of a recording x, symbol by symbol.

    The read-out is connectionist temporal classification, the class of each frame, or a decoder
    with attention; see :mod:`throughtime.tasks.readouts`.

    Metrics: ``word_error_rate`` and ``character_error_rate``: the insertions, deletions and
    replacements that turn the outputs into the transcripts, divided by the number of words or
    characters of the transcripts. For transcripts of phones ``phoneme_error_rate`` instead, after
    the folding of the data. With ``--readout frames`` also ``frame_error_rate``, the fraction of
    the frames whose class is wrong.

    Units: the loss is in nats per symbol, or per frame.
    """

    name = "transcription"
    Config = TranscriptionConfig
    Assets = Entries(
        {
            "data": str,
            "data_sha256": str,
            "rate": Maybe(int),
            "num_examples": COUNTS,
            "tokeniser": tokeniser_from_json,
            "mean": Each(float),
            "deviation": Each(float),
        },
        {
            "kind": str,
            "folding": Maybe(dict[str, str]),
            "longest": Each(Whole(0)),
        },
    )
    EvaluationOptions = JudgingTranscripts
    PredictionOptions = TranscribingOptions
    reads = "the path of a file with a sound, or with the way of a pen"
    writes = "the transcript"
    has_outputs = True
    reads_files = True

    @cached_property
    def figures(self) -> Mapping[str, Figure]:  # pyright: ignore[reportIncompatibleVariableOverride]
        rates = dict.fromkeys(names_of_rates(self._folding), Figure())
        loss = Figure(f"nats per {self.unit.removesuffix('s')}")
        return {"loss": loss, **rates, **self.readout.figures}

    @property
    def unit(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return READOUTS[self.config.readout].unit

    @property
    def monitor(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return names_of_rates(self._folding)[0]

    @property
    def _folding(self) -> Mapping[str, str] | None:
        return self.assets.get("folding")

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
            options=c.corpus_options,
        )
        sha256 = self._fingerprint(transcribed)
        check_unchanged(self.name, "the recordings", transcribed.name, sha256, self._assets)
        return transcribed

    def _fingerprint(self, data: Transcribed) -> str:
        return data.fingerprint(
            with_segments=READOUTS[self.config.readout].needs_segments,
            with_speakers=self.config.normalise_by == "speaker",
        )

    def new_assets(self) -> dict[str, Any]:
        data, c = self.transcribed, self.config
        if data.kind not in SIGNALS:
            raise ValueError(f"{data.name}: transcription cannot read signals of {data.kind!r}.")
        learned = self.recordings("train")
        usual = "symbols" if data.is_tokenised else "characters"
        texts = [recording.text for recording in learned]
        if READOUTS[c.readout].needs_segments:
            texts += [segment.symbol for recording in learned for segment in recording.segments]
        tokeniser = tokeniser_of_texts(c, usual, texts, c.min_count)
        assets = {
            "data": data.name,
            "data_sha256": self._fingerprint(data),
            "kind": data.kind,
            "rate": data.rate,
            "num_examples": {split: len(part) for split, part in data.splits.items()},
            "tokeniser": tokeniser.to_json(),
            "folding": None if data.folding is None else dict(data.folding),
            **SIGNALS[data.kind].fit(c, data, learned),
        }
        signals = SIGNALS[data.kind](c, assets)
        longest = max(len(tokeniser.encode(recording.text)) for recording in learned)
        frames = max(signals.length(recording.signal) for recording in learned)
        return {**assets, "longest": [longest, frames]}

    @property
    def tokenisers_by_name(self) -> Mapping[str, Any]:
        return {"text": self.tokeniser}

    @cached_property
    def tokeniser(self) -> Tokeniser:
        """The tokeniser of the transcripts."""
        return tokeniser_from_json(self.assets["tokeniser"])

    @cached_property
    def signals(self) -> Signals:
        """How the recordings become features."""
        return SIGNALS[self.assets.get("kind", "audio")](self.config, self.assets)

    @cached_property
    def readout(self) -> Readout:
        """How the outputs of the network become symbols."""
        # Runs from before there were several read-outs have no longest transcript.
        longest = self.assets.get("longest", [0, 0])
        num_classes = len(self.tokeniser) - len(SPECIALS) + 1
        return READOUTS[self.config.readout](self.config, num_classes, (longest[0], longest[1]))

    @property
    def title(self) -> str:
        c = self.config
        return f"{self.transcribed.name}-{c.readout}-{c.cell}-{c.num_layers}x{c.hidden_size}"

    def recordings(self, split: str) -> list[TranscribedSignal]:
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

    def labels(self, recording: TranscribedSignal) -> list[int]:
        """The class of each frame: 0 outside of all segments, -1 if the training lacks it."""
        first = len(SPECIALS) - 1
        classes: dict[str | None, int] = {None: BLANK}
        labels = labels_at(recording.segments, self.signals.places(recording.signal))
        for symbol in set(labels) - {None}:
            ids = self.tokeniser.encode(symbol or "")
            if len(ids) != 1:
                raise ValueError(
                    "expected segments that are single symbols of the transcripts, got "
                    f"{symbol!r}, which has {len(ids)} {self.tokeniser.unit}. Choose another "
                    "--tokenisation."
                )
            classes[symbol] = -1 if ids[0] == UNK else ids[0] - first
        return [classes[symbol] for symbol in labels]

    def check(self) -> None:
        error_library()
        name = self.transcribed.name
        self.config.check_effects(SIGNALS[self.transcribed.kind], SIGNALS)
        if self.config.normalise_by == "speaker" and not any(
            recording.speaker for recording in self.recordings("train")
        ):
            raise ValueError(
                f"--normalise_by speaker: {name} does not say who speaks in its recordings. Use "
                "--normalise_by recording."
            )
        for split, recordings in self.transcribed.splits.items():
            self._check_recordings(recordings, f'{name}, split "{split}"')
        # A missing validation split should not end a training after its first epoch.
        texts = [recording.text for recording in self.recordings("valid")]
        warn_of_unknown_texts(name, texts, self.tokeniser)
        super().check()

    def _check_recordings(self, recordings: Sequence[TranscribedSignal], where: str) -> None:
        """Raises a ValueError for a recording that the read-out cannot learn or judge."""
        for place, recording in enumerate(recordings, 1):
            text, here = recording.text, f"{where}, recording {place}"
            needed = self.readout.num_needed(self.symbols(text))
            num_frames = self.signals.length(recording.signal)
            num_steps = self.readout.num_steps(num_frames)
            if needed > num_steps:
                raise ValueError(
                    f"{here}: its transcript {text[:40]!r} needs {needed} "
                    f"steps, one for each of its {self.tokeniser.unit} and one between two equal "
                    f"ones, and the recording has {num_steps} ({num_frames} "
                    "frames). Correct the transcript, or lower --stack and --pyramid."
                )
            if self.readout.needs_segments:
                if not recording.segments:
                    raise ValueError(
                        f"{here}: --readout {self.readout.name} needs to know in which part of the "
                        "recording each symbol is, and its data do not say it. Use --readout ctc, "
                        "or give a file of segments."
                    )
                try:
                    self.labels(recording)
                except ValueError as error:
                    raise ValueError(f"{here}: {error}") from error

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
        self,
        recordings: Sequence[TranscribedSignal],
        size: int,
        *,
        is_changed: bool = False,
        **options: Any,
    ) -> RaggedBatches[TranscribedBatch]:
        """The batches of recordings, which are changed at random if ``is_changed``."""
        plain = self.signals.rows(recordings)
        seed = self.config.data_seed if is_changed else None
        changed = plain if seed is None else self.signals.rows(recordings, seed)
        symbols = [self.symbols(recording.text) for recording in recordings]

        def row(i: int) -> Tensor:
            features = changed.row(batches.epoch, i)
            # A faster sound may have too few steps for its transcript.
            if self.readout.num_steps(len(features)) < self.readout.num_needed(symbols[i]):
                return plain.row(batches.epoch, i)
            return features

        def targets(i: int) -> Sequence[int]:
            needs_labels = self.readout.needs_segments
            labels = self.labels(recordings[i]) if needs_labels else []
            return self.readout.targets(symbols[i], labels)

        def collate(indices: Sequence[int]) -> TranscribedBatch:
            return collate_transcribed([row(i) for i in indices], [targets(i) for i in indices])

        batches = RaggedBatches(plain.lengths, collate, size, **options)
        return batches

    # The model and its loss.

    def model(self) -> nn.Module:
        return self.readout.model(self.signals.size)

    def loss(
        self, model: nn.Module, batch: TranscribedBatch, carried: Any = None, progress: float = 0.0
    ) -> Loss:
        return self.readout.loss(model, batch)

    def evaluate(
        self, model: nn.Module, split: str | None = None, options: JudgingTranscripts | None = None
    ) -> Evaluation:
        o = options or JudgingTranscripts()
        search = self._search(o)
        if o.data is not None:
            if split is not None:
                raise ValueError("--data is judged as a whole; leave --split out")
            where = o.data
            recordings = self.signals.read(Path(o.data).expanduser(), o.encoding or "utf-8")
            self._check_recordings(recordings, where)
        else:
            where = split or "valid"
            recordings = self.recordings(where)
        figures, written = self._judged(model, recordings, search)
        rates = {name: value for name, value in figures.items() if name != "loss"}

        def rates_of(changed: Sequence[TranscribedSignal]) -> dict[str, float]:
            return self._judged(model, changed, search)[0]

        if not self.readout.needs_segments:
            # What is not judged may be moved.
            recordings = [one._replace(segments=()) for one in recordings]
        curves = robustness_curves(
            o.distortions, recordings, self.signals.distorted, rates_of, rates
        )
        about = {"split": where, "recordings": len(recordings), "beam_width": search.beam_width}
        return Evaluation(figures, about, written, curves=curves)

    def _judged(
        self, model: nn.Module, recordings: Sequence[TranscribedSignal], search: Search
    ) -> tuple[dict[str, float], list[str]]:
        """The figures of the recordings, and what the model writes for each of them."""
        total, count, num_wrong, num_labelled = 0.0, 0, 0, 0
        outputs: dict[int, str] = {}
        batches = self._batches(recordings, TOKENS_OF_EVALUATION, by="tokens", is_shuffled=False)
        with evaluating(model):
            for indices, batch in zip(
                batches.order(0), counted("transcribing", batches), strict=True
            ):
                reading = self.readout.read(model, batch, search)
                total, count = total + reading.total, count + reading.num_units
                num_wrong += reading.num_wrong
                num_labelled += reading.num_labelled
                for i, symbols in zip(indices, reading.outputs, strict=True):
                    outputs[i] = self.text_of(symbols)
        texts = [recording.text for recording in recordings]
        written = [outputs[i] for i in range(len(texts))]
        figures = {"loss": total / count if count else math.nan}
        figures |= error_rates(texts, written, self._folding)
        if self.readout.needs_segments:
            figures["frame_error_rate"] = num_wrong / num_labelled
        return figures, written

    def _search(self, options: FusionOptions) -> Search:
        """How the options search for a transcript."""
        if options.lm is not None and not self.readout.can_be_fused:
            raise ValueError(
                f"--lm: takes part in a search over the classes of each step, and the run was "
                f"trained with --readout {self.readout.name}. Leave it out."
            )
        language = fused_language(options, self.readout.num_classes, self.text_of)
        return Search(options.width, language)

    def show(self, model: nn.Module) -> list[Shown]:
        recordings = self.recordings("valid")
        rows = self.signals.rows(recordings)
        shown = [(one, rows.row(0, i)) for i, one in enumerate(recordings[:_NUM_SHOWN])]
        table = [
            [one.text, self.text_of(self.readout.symbols_of(model, row, Search()))]
            for one, row in shown
        ]
        items: list[Shown] = [
            Table(["transcript", "output"], table, "Recordings of the validation")
        ]
        signals, outputs = [one.signal for one, _ in shown], [output for _, output in table]
        drawing = self.signals.drawing(signals, outputs, "Outputs above what is read")
        items += [] if drawing is None else [drawing]
        for one, row in shown[:_NUM_DRAWN]:
            items.append(self._drawn(model, one, row))
        return items

    def _drawn(self, model: nn.Module, recording: TranscribedSignal, row: Tensor) -> Picture:
        """The features of a recording above the probabilities of its aligned symbols.

        Below the features there is a line of pixels for each symbol of the transcript, in
        order, as bright as the symbol is likely at that time; see :meth:`Readout.alignment`.
        """
        features = self.signals.picture(row)
        T = features.shape[1]
        symbols = self.symbols(recording.text)
        steps = self.readout.alignment(model, row, symbols) if symbols else None
        if steps is None:
            return Picture(features, recording.text)
        wide = steps[:, (torch.arange(T) * steps.shape[1]) // T].repeat_interleave(3, 0)
        border = torch.full((1, T), 0.5)
        return Picture(torch.cat([features, border, wide]), recording.text)

    # Its use.

    def predictions(
        self,
        model: nn.Module,
        inputs: Iterable[Sequence[str]],
        options: TranscribingOptions,
        say: Callable[[str], None],
    ) -> Iterator[Prediction]:
        search = self._search(options)
        path = options.drawing_file(self.signals.is_drawn, self.signals.kind)
        drawn: list[tuple[np.ndarray, str]] = []
        for lines in inputs:
            for line in lines:
                if not line.strip():
                    yield Prediction([""], {"text": ""})
                    continue
                one = TranscribedSignal("", self.signals.parse(line))
                row = self.signals.rows([one]).row(0, 0)
                text = self.text_of(self.readout.symbols_of(model, row, search))
                if path is not None and len(drawn) < MOST_DRAWN:
                    drawn.append((one.signal, f"{line.strip()}: {text}"))
                yield Prediction([text], {"text": text, "file": line.strip()})
        if path is not None and drawn:
            drawing = self.signals.drawing([signal for signal, _ in drawn], [t for _, t in drawn])
            assert drawing is not None
            written_whole(path, lambda partial: partial.write_text(drawing.svg, encoding="utf-8"))

    def heard(
        self,
        model: nn.Module,
        stream: BinaryIO,
        options: TranscribingOptions,
        say: Callable[[str], None],
    ) -> Iterator[str]:
        """The pieces of the transcript of a sound, each as soon as it is heard."""
        if not isinstance(model, Transcriber):
            raise ValueError(
                f"--stream: the model was trained with --readout {self.readout.name}, which needs "
                "the whole recording. Train one with --readout ctc, or predict from files."
            )
        live = self.signals.live(stream, options)
        if self.config.bidirectional:
            raise ValueError(
                "--stream: the model was trained with --bidirectional true, and reads a sound "
                "from its end, too. Train one with --bidirectional false, or predict from files."
            )
        yield from live_transcript(model, live, self.text_of, say)

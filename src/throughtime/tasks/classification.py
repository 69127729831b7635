"""classification: a label for a text, a series of numbers, a sound, or the way of a pen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from throughtime.data import PAD, UNK, RaggedBatches, tokeniser_from_json
from throughtime.data.labelled import LABELLED_SETS, Example, Labelled, load_labelled
from throughtime.data.labelled.labelled_batches import LabelledBatch
from throughtime.layers.evaluation import evaluating
from throughtime.models.classifier import Classifier
from throughtime.reading import Each, Entries, Maybe
from throughtime.tasks.beginnings import TOKENS_OF_EVALUATION, probabilities_of_beginnings
from throughtime.tasks.class_checks import class_numbers, long_line, warn_of_long, warn_of_splits
from throughtime.tasks.class_figures import (
    calibration_error,
    class_curves,
    class_displays,
    class_figures,
)
from throughtime.tasks.class_predictions import after_each_step, nothing_read, of_the_whole
from throughtime.tasks.class_sequences import KINDS, Sequences
from throughtime.tasks.classification_settings import (
    OF_WINDOW,
    ClassificationConfig,
    JudgingOptions,
    LabellingOptions,
)
from throughtime.tasks.robustness import robustness_curves
from throughtime.tasks.rows import labelled_batches, outputs_of
from throughtime.tasks.run_data import COUNTS, check_unchanged, first_of, split_of
from throughtime.tasks.shown import Shown
from throughtime.tasks.small_data import defaults_for
from throughtime.tasks.task import WHOLE, BatchTask, Default, Evaluation, Figure, Loss, Share
from throughtime.tasks.unknown_tokens import UnknownTokens
from throughtime.tasks.uses import Observation, Prediction

__all__ = ["Classification", "ClassificationConfig"]

_log = logging.getLogger(__name__)

_LONGEST_SHOWN = 40
"""Words up to which the probabilities after each word of an example are displayed."""


class Classification(BatchTask):
    r"""The label of a sequence: sentiment of a text, the speaker or writer of a series,
    the word of a sound:

        L = -1/N sum_n w(y_n) log P(y_n | x_n)

    with the class weights w. Texts are split into words; series are normalised, and so are
    the features of the frames of sounds.

    Metrics: ``accuracy``, the fraction of right labels; ``f1_macro``, the mean of the F1 scores of
    the classes; ``calibration_error`` (only in an evaluation), the expected calibration error. All
    are from 0 to 1. The loss of a validation has neither weights nor label smoothing.

    Units: the loss is in nats per example.

    Source: the lecture notes; Kim, arXiv 1408.5882 (the data sets of texts).
    """

    name = "classification"
    Config = ClassificationConfig
    Assets = Entries(
        {
            "data": str,
            "data_sha256": str,
            "kind": Literal["text", "series", "audio", "pen"],
            "labels": Each(str),
            "num_examples": COUNTS,
            "tokeniser": Maybe(tokeniser_from_json),
            "mean": Each(float),
            "deviation": Each(float),
        },
        {"time_step": float, "rate": Maybe(int)},
    )
    EvaluationOptions = JudgingOptions
    PredictionOptions = LabellingOptions
    reads = "a text; or a series, its steps separated by spaces and its features by commas;"
    reads += " or the path of a file with a sound, or with the way of a pen"
    writes = "the label"
    unit = "examples"
    has_outputs = True
    figures: Mapping[str, Figure] = {
        "loss": Figure("nats"),
        "accuracy": Figure(better="higher"),
        "f1_macro": Figure(better="higher"),
    }

    @property
    def monitor(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.sequences.monitor

    # The data.

    @cached_property
    def labelled(self) -> Labelled:
        """The examples. Raises a ValueError if they are not those of a loaded run's training."""
        c = self.config
        labelled = load_labelled(
            c.data,
            encoding=c.encoding,
            valid_fraction=c.valid_fraction,
            test_fraction=c.test_fraction,
            fold=c.fold,
            cut=c.split,
            rate=c.rate,
        )
        sha256 = labelled.fingerprint()
        check_unchanged(self.name, "the examples", labelled.name, sha256, self._assets)
        return labelled

    def new_assets(self) -> dict[str, Any]:
        data = self.labelled
        learned = self._learned
        labels = sorted({example.label for example in learned}, key=_natural)
        return {
            "data": data.name,
            "data_sha256": data.fingerprint(),
            "kind": data.kind,
            "labels": labels,
            "num_examples": {split: len(examples) for split, examples in data.splits.items()},
            **{"tokeniser": None, "mean": [], "deviation": [], "time_step": 1.0, "rate": None},
            **KINDS[data.kind].fit(self.config, data, learned),
        }

    @cached_property
    def sequences(self) -> Sequences:
        """How the model reads texts, series or sounds, whichever the data are."""
        return KINDS[self.assets["kind"]](self.config, self.assets)

    @property
    def tokenisers_by_name(self) -> Mapping[str, Any]:
        tokeniser = self.sequences.tokeniser
        return {} if tokeniser is None else {"text": tokeniser}

    @property
    def labels(self) -> list[str]:
        """The names of the classes."""
        return self.assets["labels"]

    @property
    def reads_files(self) -> bool:
        """Whether a line of the input is the path of a file; see :class:`ReadsFiles`."""
        return self.sequences.reads_files

    @property
    def title(self) -> str:
        c = self.config
        network = c.cell if c.network == "recurrent" else f"window-{c.window}"
        return f"{self.labelled.name}-{c.pooling}-{network}-{c.num_layers}x{c.hidden_size}"

    def examples(self, split: str) -> list[Example]:
        """The examples of a split."""
        return split_of(self.name, self.labelled.name, self.labelled.splits, split)

    @property
    def _learned(self) -> list[Example]:
        """The examples of the training, without parts of them."""
        valid = self.examples("valid") if self.config.train_on_valid else []
        return self.examples("train") + valid

    def row(self, content: str | np.ndarray) -> Tensor:
        """What the model reads of a sequence: (T) token ids, or (T, I) features."""
        return self.sequences.row(content)

    def targets(self, examples: Sequence[Example], where: str) -> Tensor:
        """The classes of examples; raises a ValueError for one that the training does not have."""
        return class_numbers(self.labels, examples, where)

    def check(self) -> None:
        c, name = self.config, self.labelled.name
        if len(self.labels) < 2:
            raise ValueError(
                f"{name}: expected at least two classes in the training split, got only "
                f"{self.labels[0]!r}. Nothing can be learned from one class."
            )
        c.check_effects(self.labelled.kind)
        for split, examples in self.labelled.splits.items():
            self._check_examples(examples, f'{name}, split "{split}"')
        # A missing validation split should not end a training after its first epoch.
        self.examples("valid")
        self.sequences.check_data(self.labelled)
        if c.train_on_valid:
            _log.warning(
                "%s: the validation is learned, too (--train_on_valid), so its figures say nothing "
                "of new examples, and the model with its lowest loss is kept.",
                name,
            )
        # A published data set has the splits that it has.
        elif c.data not in LABELLED_SETS:
            warn_of_splits(self.labelled)
        if c.parts and not self.labelled.parts:
            raise ValueError(f"--parts: {name} has no labelled parts. Leave it out.")
        super().check()

    def _check_examples(self, examples: Sequence[Example], where: str) -> None:
        """Raises a ValueError for a label or a sequence that the model cannot have."""
        self.targets(examples, where)
        # The check comes first, because a broken sequence may have no length.
        self.sequences.check(examples, where)
        lengths = [self.sequences.length(content) for _, content in examples]
        warn_of_long(where, lengths, self.config.longest, self.sequences.unit)

    def defaults(self) -> dict[str, Default]:
        amount = len(self._learned)
        return defaults_for(self.config, amount, "examples", per_row=1, least=8, few=5_000)

    def batches(self, split: str, share: Share = WHOLE) -> RaggedBatches[LabelledBatch]:
        c = self.config
        examples = self._learned if split == "train" else self.examples(split)
        if c.parts and split == "train":
            examples = examples + self.labelled.parts
        return self._batches(
            *(examples, split, c.batch_size),
            is_changed=split == "train",
            seed=c.data_seed,
            by="rows",
            **share._asdict(),
        )

    def _batches(
        self,
        examples: Sequence[Example],
        where: str,
        size: int,
        *,
        is_changed: bool = False,
        **options: Any,
    ) -> RaggedBatches[LabelledBatch]:
        """The batches of examples; if they are sounds, ``is_changed`` changes them at random."""
        targets = self.targets(examples, where)
        rows = self.sequences.rows(examples, self.config.data_seed if is_changed else None)
        return labelled_batches(rows, targets, size, **options)

    # The model and its loss.

    def model(self) -> Classifier:
        c = self.config
        options = c.recurrent()
        if c.network == "window":
            options = {name: getattr(c, name) for name in OF_WINDOW}
        elif not c.bidirectional:
            # It is the default of the model, and the layer GRU-D has no such option.
            del options["bidirectional"]
        return Classifier(
            len(self.labels),
            **self.sequences.model_options,
            network=c.network,
            window=c.window,
            pooling=c.pooling,
            embedding_size=c.embedding_size,
            word_dropout=c.word_dropout,
            pad=PAD,
            unk=UNK,
            **options,
        )

    @cached_property
    def _class_weights(self) -> Tensor | None:
        if self.config.class_weights == "none":
            return None
        # N / (C n_c), whose mean over the N examples is 1.
        targets = self.targets(self._learned, "train")
        counts = torch.bincount(targets, minlength=len(self.labels))
        return len(targets) / (len(self.labels) * counts.float())

    def loss(
        self, model: nn.Module, batch: LabelledBatch, carried: Any = None, progress: float = 0.0
    ) -> Loss:
        weights = self._class_weights
        inputs = self.sequences.noisy(batch.inputs) if model.training else batch.inputs
        total = nn.functional.cross_entropy(
            model(inputs, batch.lengths),
            batch.targets,
            weight=None if weights is None else weights.to(batch.inputs.device),
            reduction="sum",
            label_smoothing=self.config.label_smoothing,
        )
        return Loss(total, len(batch.targets))

    def evaluate(
        self, model: nn.Module, split: str | None = None, options: JudgingOptions | None = None
    ) -> Evaluation:
        o = options or JudgingOptions()
        if o.data is not None:
            if split is not None:
                raise ValueError("--data is judged as a whole; leave --split out")
            kind, examples = self.sequences.read(Path(o.data).expanduser(), o.encoding or "utf-8")
            if kind != self.assets["kind"]:
                raise ValueError(f"{o.data}: expected {self.assets['kind']}, got {kind}.")
            where = o.data
            self._check_examples(examples, where)
        else:
            where = split or "valid"
            examples = self.examples(where)
        scores, targets = self._scores(model, examples, where)
        loss = nn.functional.cross_entropy(scores.double(), targets).item()
        fractions = class_figures(scores, targets, self.labels)
        figures = {"loss": loss, **fractions}
        if options is not None:
            figures["calibration_error"] = calibration_error(scores, targets)
        outputs = [self.labels[i] for i in scores.argmax(-1)]
        about = {"split": where, "examples": len(examples)}

        def figures_of(changed: Sequence[Example]) -> dict[str, float]:
            return class_figures(*self._scores(model, changed, where), self.labels)

        curves = robustness_curves(
            o.distortions, examples, self.sequences.distorted, figures_of, fractions
        )
        return Evaluation(figures, about, outputs, curves=curves)

    def _scores(
        self, model: nn.Module, examples: Sequence[Example], where: str
    ) -> tuple[Tensor, Tensor]:
        """The scores (N, C) and the classes (N) of examples, in their order."""
        targets = self.targets(examples, where)
        batches = self._batches(
            examples, where, TOKENS_OF_EVALUATION, by="tokens", is_shuffled=False
        )
        return outputs_of(model, batches, "scoring"), targets

    def show(self, model: nn.Module) -> list[Shown]:
        examples = self.examples("valid")
        scores, targets = self._scores(model, examples, "valid")
        items = class_displays(scores, targets, self.labels)
        if self.sequences.tokeniser is not None:
            texts = [str(example.content) for example in examples[:50]]
            short = [text for text in texts if 1 < len(self.row(text)) <= _LONGEST_SHOWN][:3]
            for text in short:
                row = self.row(text)
                words = self.sequences.step_names(row)
                probabilities = probabilities_of_beginnings(model, row)
                items.append(class_curves(probabilities, self.labels, words, text))
        return items

    def held_out(self, most: int) -> list[str | np.ndarray]:
        contents = [example.content for example in self.examples("valid")]
        return first_of(contents, lambda content: len(self.row(content)), most)

    def observe(self, model: nn.Module, input: str | np.ndarray) -> Observation:
        if isinstance(input, str):
            if not input.strip():
                raise ValueError("expected a sequence of at least one step, got an empty line.")
            row = self.row(self.sequences.parse(input, 1))
        else:
            row = self.row(input)
        probabilities = probabilities_of_beginnings(model, row)

        def run() -> Tensor:
            self._scores_of_row(model, row)
            return probabilities

        steps = {"recurrent": tuple(self.sequences.step_names(row))}
        names = self.sequences.feature_names
        return Observation(steps, run, self.labels, row if names else None, names)

    def predictions(
        self,
        model: nn.Module,
        inputs: Iterable[Sequence[str]],
        options: LabellingOptions,
        say: Callable[[str], None],
    ) -> Iterator[Prediction]:
        sequences, longest = self.sequences, self.config.longest
        unknown = None if sequences.tokeniser is None else UnknownTokens(sequences.tokeniser)
        number = 0
        try:
            for lines in inputs:
                for line in lines:
                    number += 1
                    if unknown is not None:
                        unknown.add(line)
                    if not line.strip():
                        yield nothing_read(options.words)
                        continue
                    content = sequences.parse(line, number)
                    length = sequences.length(content)
                    if length > longest:
                        say(long_line(number, length, longest, sequences.unit))
                    yield self._prediction(model, self.row(content), number, options.words)
        finally:
            if unknown is not None and (warning := str(unknown)):
                say(warning)

    def _prediction(
        self, model: nn.Module, row: Tensor, number: int, has_words: bool
    ) -> Prediction:
        if has_words:
            names, step = self.sequences.step_names(row), self.sequences.step
            probabilities = probabilities_of_beginnings(model, row)
            return after_each_step(probabilities, self.labels, number, names, step)
        scores = self._scores_of_row(model, row)
        return of_the_whole(scores.float().softmax(-1).cpu(), self.labels)

    def _scores_of_row(self, model: nn.Module, row: Tensor) -> Tensor:
        """The scores (C) of one sequence."""
        with evaluating(model):
            return model(row[None].to(next(model.parameters()).device), torch.tensor([len(row)]))[0]


def _natural(label: str) -> tuple[int, float, str]:
    """Numbers in their order, before all other labels."""
    try:
        return 0, float(label), label
    except ValueError:
        return 1, 0.0, label

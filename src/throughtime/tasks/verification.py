"""verification: whether two recordings, or two signatures, are of the same person."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from throughtime.data import RaggedBatches
from throughtime.data.labelled import Example
from throughtime.data.labelled.labelled_batches import LabelledBatch
from throughtime.data.pen import Trajectory, svg_of_pen
from throughtime.data.persons import PERSON_SETS, Persons, load_persons
from throughtime.models.verifier import Verifier
from throughtime.reading import Each, Entries, Maybe
from throughtime.tasks.beginnings import TOKENS_OF_EVALUATION
from throughtime.tasks.class_checks import class_numbers, warn_of_long
from throughtime.tasks.class_sequences import KINDS, Sequences
from throughtime.tasks.classification_settings import JudgingOptions, check_kind
from throughtime.tasks.drawing_options import MOST_DRAWN
from throughtime.tasks.error_tradeoff import Tradeoff, tradeoff
from throughtime.tasks.robustness import robustness_curves
from throughtime.tasks.rows import labelled_batches, outputs_of
from throughtime.tasks.run_data import COUNTS, check_unchanged, split_of
from throughtime.tasks.shown import Curves, Drawing, Shown, Table
from throughtime.tasks.small_data import defaults_for
from throughtime.tasks.task import WHOLE, BatchTask, Default, Evaluation, Figure, Loss, Share
from throughtime.tasks.uses import Prediction
from throughtime.tasks.verification_settings import VerificationConfig, VerifyingOptions
from throughtime.written import written_whole

__all__ = ["Verification", "VerificationConfig"]

_log = logging.getLogger(__name__)

_MOST_EXAMPLES = 2000
"""Examples of a split whose pairs are judged: 2,000 have two million pairs."""
_NUM_POINTS = 60
_NUM_SHOWN = 6


class Verification(BatchTask):
    r"""Whether two sequences are of the same person, by the distance of their vectors:

        d(x, x') = 1 - e(x) · e(x')                  same person: d <= threshold
        L = -1/N sum_n log softmax_k(scale (cos_k - margin [k = y_n]))_{y_n}

    with the cosine cos_k of e(x_n) and the vector of the person k of the training. The validation
    and the test have other persons, or at least other examples, than the training. The threshold
    is that of the equal error rate of the validation.

    Metrics: ``equal_error_rate``, where as many pairs of different persons are accepted as pairs of
    the same person are rejected. An evaluation adds ``false_acceptance_rate`` and
    ``false_rejection_rate`` at the threshold of the validation. Where persons write or say texts of
    their own (signatures), both examples of a pair have the same text, so that a pair of different
    persons is a forgery; ``equal_error_rate_other_texts`` is that with different texts.

    Units: the loss is in nats per example.

    Source: of the loss, Wang et al., "CosFace: large margin cosine loss for deep face recognition",
    arXiv 1801.09414, equation 4.
    """

    name = "verification"
    Config = VerificationConfig
    Assets = Entries(
        {
            "data": str,
            "data_sha256": str,
            "kind": Literal["series", "audio", "pen"],
            "persons": Each(str),
            "num_examples": COUNTS,
            "mean": Each(float),
            "deviation": Each(float),
            "time_step": float,
            "rate": Maybe(int),
        }
    )
    EvaluationOptions = JudgingOptions
    PredictionOptions = VerifyingOptions
    reads = "the path of a file with a sound, or with the way of a pen; or a series, its steps"
    reads += " separated by spaces and its features by commas"
    writes = "its distance from the first line, the threshold, and whether the person is the same"
    unit = "examples"
    monitor = "equal_error_rate"
    figures: Mapping[str, Figure] = {"loss": Figure("nats"), "equal_error_rate": Figure()}

    # The data.

    @cached_property
    def persons(self) -> Persons:
        """The examples. Raises a ValueError if they are not those of a loaded run's training."""
        c = self.config
        persons = load_persons(
            c.data,
            encoding=c.encoding,
            valid_fraction=c.valid_fraction,
            test_fraction=c.test_fraction,
            fold=c.fold,
            rate=c.rate,
        )
        data = persons.labelled
        check_unchanged(self.name, "the examples", data.name, data.fingerprint(), self._assets)
        return persons

    def new_assets(self) -> dict[str, Any]:
        data, learned = self.persons.labelled, self.examples("train")
        return {
            "data": data.name,
            "data_sha256": data.fingerprint(),
            "kind": data.kind,
            "persons": sorted({example.label for example in learned}),
            "num_examples": {split: len(examples) for split, examples in data.splits.items()},
            **{"time_step": 1.0, "rate": None},
            **KINDS[data.kind].fit(self.config, data, learned),
        }

    @cached_property
    def sequences(self) -> Sequences:
        """How the model reads series, sounds or ways of a pen, whichever the data are."""
        return KINDS[self.assets["kind"]](self.config, self.assets)

    @property
    def reads_files(self) -> bool:
        """Whether a line of the input is the path of a file; see :class:`ReadsFiles`."""
        return self.sequences.reads_files

    @property
    def title(self) -> str:
        c = self.config
        return f"{self.persons.labelled.name}-{c.pooling}-{c.cell}-{c.num_layers}x{c.hidden_size}"

    def examples(self, split: str) -> list[Example]:
        """The examples of a split."""
        labelled = self.persons.labelled
        return split_of(self.name, labelled.name, labelled.splits, split)

    def check(self) -> None:
        data = self.persons.labelled
        check_kind(self.config, data.kind)
        learned = {example.label for example in self.examples("train")}
        if len(learned) < 2:
            raise ValueError(
                f"{data.name}: expected at least two persons in the training split, got "
                f"{len(learned)}. Nothing can be learned from one person."
            )
        for split, examples in data.splits.items():
            self._check_examples(examples, f'{data.name}, split "{split}"')
            if split != "train":
                _check_pairs(examples, self.persons.texts[split], f'{data.name}, split "{split}"')
        # A missing validation split should not end a training after its first epoch.
        self.examples("valid")
        if self.config.data not in PERSON_SETS:
            for split in data.splits.keys() - {"train"}:
                shared = sorted(learned & {example.label for example in self.examples(split)})
                if shared:
                    _log.warning(
                        "%s: the training has persons of the split %r, too (%s), so its figures do "
                        "not show how well unknown persons are told apart.",
                        *(data.name, split, ", ".join(shared[:5])),
                    )
        super().check()

    def _check_examples(self, examples: Sequence[Example], where: str) -> None:
        """Raises a ValueError for a sequence that cannot be read."""
        # The check comes first, because a broken sequence may have no length.
        self.sequences.check(examples, where)
        lengths = [self.sequences.length(content) for _, content in examples]
        warn_of_long(where, lengths, self.config.longest, self.sequences.unit)

    def defaults(self) -> dict[str, Default]:
        amount = len(self.examples("train"))
        return defaults_for(self.config, amount, "examples", per_row=1, least=8, few=5_000)

    def batches(self, split: str, share: Share = WHOLE) -> RaggedBatches[LabelledBatch]:
        c, examples = self.config, self.examples(split)
        targets = class_numbers(self.assets["persons"], examples, split)
        rows = self.sequences.rows(examples, c.data_seed if split == "train" else None)
        options = {"seed": c.data_seed, "by": "rows", **share._asdict()}
        return labelled_batches(rows, targets, c.batch_size, **options)

    # The model and its loss.

    def model(self) -> Verifier:
        c = self.config
        options = {**c.recurrent(), **self.sequences.model_options, "pooling": c.pooling}
        return Verifier(len(self.assets["persons"]), vector_size=c.vector_size, **options)

    def loss(
        self, model: nn.Module, batch: LabelledBatch, carried: Any = None, progress: float = 0.0
    ) -> Loss:
        c = self.config
        inputs = self.sequences.noisy(batch.inputs) if model.training else batch.inputs
        cosines = model.cosines(model(inputs, batch.lengths))  # pyright: ignore[reportCallIssue]
        is_right = nn.functional.one_hot(batch.targets, cosines.shape[1])
        scores = c.scale * (cosines - c.margin * is_right)
        total = nn.functional.cross_entropy(scores, batch.targets, reduction="sum")
        return Loss(total, len(batch.targets))

    def evaluate(
        self, model: nn.Module, split: str | None = None, options: JudgingOptions | None = None
    ) -> Evaluation:
        o = options or JudgingOptions()
        where = split or "valid"
        if o.data is not None:
            if split is not None:
                raise ValueError("--data is judged as a whole; leave --split out")
            kind, examples = self.sequences.read(Path(o.data).expanduser(), o.encoding or "utf-8")
            if kind != self.assets["kind"]:
                raise ValueError(f"{o.data}: expected {self.assets['kind']}, got {kind}.")
            where, texts = o.data, [""] * len(examples)
            self._check_examples(examples, where)
            _check_pairs(examples, texts, where)
        else:
            examples, texts = self.examples(where), self.persons.texts[where]
        curve, other = self._tradeoffs(model, examples, texts)
        rate, threshold = curve.equal_error

        def rate_of(changed: Sequence[Example]) -> dict[str, float]:
            curve, _ = self._tradeoffs(model, changed, texts)
            return {"equal_error_rate": curve.equal_error[0]}

        plain = {"equal_error_rate": rate}
        curves = robustness_curves(
            o.distortions, examples, self.sequences.distorted, rate_of, plain
        )
        if where == "valid":
            # It is part of the model, so that a trained model needs no data for a decision.
            model.threshold.fill_(threshold)  # pyright: ignore
        figures = {"equal_error_rate": rate}
        if options is not None:
            own = float(model.threshold)  # pyright: ignore[reportArgumentType]
            accepted, rejected = (math.nan, math.nan) if math.isnan(own) else curve.at(own)
            figures |= {"false_acceptance_rate": accepted, "false_rejection_rate": rejected}
            figures["threshold"] = own
            if other is not None:
                figures["equal_error_rate_other_texts"] = other.equal_error[0]
        about = {"split": where, "examples": len(examples)}
        return Evaluation(figures, about, curves=curves)

    def _tradeoffs(
        self, model: nn.Module, examples: Sequence[Example], texts: Sequence[str]
    ) -> tuple[Tradeoff, Tradeoff | None]:
        """The errors of pairs of equal texts, and with impostors of other texts, if there are any.

        Of a split with very many examples some are chosen at random, always the same ones.
        """
        if len(examples) > _MOST_EXAMPLES:
            draw = np.random.default_rng(0)
            drawn = draw.choice(len(examples), _MOST_EXAMPLES, replace=False)
            chosen: list[int] = np.sort(drawn).tolist()
            examples, texts = [examples[i] for i in chosen], [texts[i] for i in chosen]
        vectors = self._vectors(model, examples).double()
        is_same_person, is_same_text = _pairs(examples, texts)
        first, second = np.triu_indices(len(examples), 1)
        distances = _distances(vectors, vectors).numpy()[first, second]
        genuine = distances[is_same_person & is_same_text]
        others = distances[~is_same_person & ~is_same_text]
        return (
            tradeoff(genuine, distances[~is_same_person & is_same_text]),
            tradeoff(genuine, others) if len(others) else None,
        )

    def _vectors(self, model: nn.Module, examples: Sequence[Example]) -> Tensor:
        """The unit vectors of examples, in their order: (N, vector_size)."""
        rows = self.sequences.rows(examples, None)
        no_targets = torch.zeros(len(examples), dtype=torch.int64)
        options = {"by": "tokens", "is_shuffled": False}
        batches = labelled_batches(rows, no_targets, TOKENS_OF_EVALUATION, **options)
        return outputs_of(model, batches, "reading")

    def show(self, model: nn.Module) -> list[Shown]:
        examples, texts = self.examples("valid"), self.persons.texts["valid"]
        curve, other = self._tradeoffs(model, examples, texts)
        points, rejected = curve.points(_NUM_POINTS)
        curves = {"same text" if other else "all pairs": rejected, "equal errors": points}
        if other is not None:
            curves["other texts"] = other.points(_NUM_POINTS)[1]
        rate, threshold = curve.equal_error
        rows = [["equal error rate", f"{rate:.4f}"], ["threshold", f"{threshold:.4f}"]]
        items: list[Shown] = [
            Curves(points, curves, "Detection error tradeoff", "accepted wrongly", "rejected"),
            Table(["", "validation"], rows, "Pairs of the validation"),
        ]
        if self.assets["kind"] == "pen":
            # Every k-th example shows several persons.
            some = examples[:: max(1, len(examples) // _NUM_SHOWN)][:_NUM_SHOWN]
            items.append(_drawing([(one.content, one.label) for one in some]))
        return items

    # Its use.

    def predictions(
        self,
        model: nn.Module,
        inputs: Iterable[Sequence[str]],
        options: VerifyingOptions,
        say: Callable[[str], None],
    ) -> Iterator[Prediction]:
        kind = self.assets["kind"]
        path = options.drawing_file(kind == "pen", kind)
        threshold = float(model.threshold)  # pyright: ignore[reportArgumentType]
        if math.isnan(threshold):
            raise ValueError(
                "verification: the run has no threshold, because its training ended before the "
                "first validation. Train on with --resume."
            )
        first: Tensor | None = None
        drawn: list[tuple[Any, str]] = []
        number = num_read = 0
        for lines in inputs:
            for line in lines:
                number += 1
                if not line.strip():
                    yield Prediction([""], {})
                    continue
                num_read += 1
                content = self.sequences.parse(line, number)
                vector = self._vectors(model, [Example("", content)])[0]
                name = line.strip() if self.reads_files else f"line {number}"
                if first is None:
                    first, text = vector, "reference"
                    prediction = Prediction([], {"reference": name})
                else:
                    distance = float(_distances(first[None], vector[None]))
                    is_same = distance <= threshold
                    text = f"{distance:.4f}\t{threshold:.4f}\t{'same' if is_same else 'different'}"
                    record = {"distance": distance, "threshold": threshold, "is_same": is_same}
                    prediction = Prediction([text], {**record, "compared": name})
                if path is not None and len(drawn) < MOST_DRAWN:
                    drawn.append((content, f"{name}: {text}".replace("\t", " ")))
                yield prediction
        if num_read < 2:
            raise ValueError(
                f"verification: expected two inputs or more, of which the first is compared with "
                f"each other one, got {num_read}."
            )
        if path is not None:
            svg = _drawing(drawn).svg
            written_whole(path, lambda partial: partial.write_text(svg, encoding="utf-8"))


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """1 - a_n · b_m of unit vectors (N, D) and (M, D); not below 0, where rounding could put it."""
    return (1 - a @ b.T).clamp_min(0)


def _drawing(drawn: Sequence[tuple[Any, str]]) -> Drawing:
    trajectories = [Trajectory.of_array(content) for content, _ in drawn]
    return Drawing(svg_of_pen(trajectories, [title for _, title in drawn]), "What is read")


def _pairs(examples: Sequence[Example], texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Whether the two examples of each pair have the same person, and the same text."""
    first, second = np.triu_indices(len(examples), 1)
    persons = np.unique([example.label for example in examples], return_inverse=True)[1]
    numbers = np.unique(list(texts), return_inverse=True)[1]
    return persons[first] == persons[second], numbers[first] == numbers[second]


def _check_pairs(examples: Sequence[Example], texts: Sequence[str], where: str) -> None:
    """Raises a ValueError unless some person, and two persons, have pairs of equal texts."""
    by_text: dict[str, list[str]] = {}
    for example, text in zip(examples, texts, strict=True):
        by_text.setdefault(text, []).append(example.label)
    has_same = any(len(set(labels)) < len(labels) for labels in by_text.values())
    if not has_same or all(len(set(labels)) < 2 for labels in by_text.values()):
        raise ValueError(
            f"{where}: expected two persons or more, one of them with two examples or more, got "
            f"{len({example.label for example in examples})} persons and {len(examples)} examples. "
            "Hold more persons out: raise --valid_fraction or --test_fraction."
        )

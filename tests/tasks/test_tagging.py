"""Tagging: eight sentences are learned exactly, spans are judged, and bad input is answered."""

import json

import pytest
import torch

from throughtime import tasks
from throughtime.cli.main import main
from throughtime.data import UNK
from throughtime.tasks.labelling import Labelled
from throughtime.tasks.labels import LabelCounts, Labels
from throughtime.tasks.run import Run
from throughtime.tasks.tagging import Tagging, TaggingConfig
from throughtime.tasks.tagging_settings import LabellingOptions, SentencesToJudge
from throughtime.training.config import GradientConfig
from throughtime.training.fit import fit
from throughtime.training.loop import Loop

from .learning import learned

# The label of the second word depends on the first, that of the first on its last letter.
EIGHT = [
    (f"w{i}{end}", f"B-{'ODD' if i % 2 else 'EVEN'}", "x", f"I-{'ODD' if i % 2 else 'EVEN'}")
    for i, end in enumerate("abcdefgh")
]
TAGS = [(word, mark.replace("B-", ""), x, "X") for word, mark, x, _ in EIGHT]


def text(rows, times=1):
    pieces = [
        "\n".join(f"{w} {y}" for w, y in zip(row[::2], row[1::2], strict=True)) for row in rows
    ]
    return "\n\n".join(pieces * times) + "\n"


@pytest.fixture
def folder(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "valid"):
        (data / f"{split}.txt").write_text(text(EIGHT))
    return data


def task(data, **options):
    small = {"hidden_size": 12, "letter_size": 4, "embedding_size": 8, "dropout": 0.0}
    small |= {} if options.get("letters") != "none" else {"letter_size": 25}
    return Tagging(TaggingConfig(data=str(data), **{**small, **options}))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scheme": "iobes", "constrained": True, "rare_dropout": 1.0},
        {"output": "softmax", "letters": "convolution", "cell": "gru", "num_layers": 2},
        {"letters": "none", "rare_dropout": 0.0, "bidirectional": True},
    ],
    ids=["crf", "constrained", "softmax", "no letters"],
)
def test_eight_sentences_are_learned_exactly(folder, options):
    assert tasks.get("tagging") is Tagging
    tagging = task(folder, **options)
    tagging.check()
    assert tagging.monitor == "f1"
    model = learned(tagging, 50, 0.04)
    evaluation = tagging.evaluate(model, "train", options=SentencesToJudge())
    assert set(evaluation.figures) == set(tagging.figures)
    assert evaluation.figures["f1"] == evaluation.figures["f1_strict"] == 1.0
    assert evaluation.figures["accuracy"] == 1.0
    assert evaluation.figures["loss"] < 0.1
    assert evaluation.about == {"split": "train", "sentences": 8, "words": 16}
    (table,) = evaluation.tables
    assert table.rows == [["EVEN", 1.0, 1.0, 1.0, 4, 4], ["ODD", 1.0, 1.0, 1.0, 4, 4]]
    end = "E" if options.get("scheme") == "iobes" else "I"
    assert evaluation.outputs[1] == f"B-ODD {end}-ODD"


def test_tags_and_intents_are_learned_too(folder):
    for split in ("train", "valid"):
        (folder / f"{split}.txt").write_text(text(TAGS))
    tagging = task(folder)
    tagging.check()
    assert tagging.monitor == "accuracy"
    assert set(tagging.figures) == {"loss", "accuracy"}
    assert tagging.evaluate(learned(tagging, 50, 0.04)).figures["accuracy"] == 1.0

    with_intents = task(folder, intents=True)
    rows = with_intents.sentences.splits["train"]
    rows[:] = [row._replace(intent=row.labels[0].lower()) for row in rows]
    with_intents.sentences.splits["valid"] = rows
    model = learned(with_intents, 50, 0.04)
    assert with_intents.evaluate(model).figures["intent_accuracy"] == 1.0
    assert with_intents.assets["intents"] == ["even", "odd"]


def test_the_figures_are_those_of_the_scorer(folder, monkeypatch):
    tagging = task(folder)
    gold = ["B-A I-A O B-B", "B-A O O O", "O O B-B I-B"]
    guess = ["B-A I-A O I-B", "B-A I-A O O", "O O B-B I-A"]
    rows = tagging.sentences.splits["valid"]
    rows[:] = [rows[0]._replace(words=tuple("wxyz"), labels=tuple(y.split())) for y in gold]
    from throughtime.tasks import tagging as module

    results = [Labelled(y.split(), [], None) for y in guess]
    monkeypatch.setattr(module, "judged", lambda model, coding, rows: (0.5, results))
    figures = tagging.evaluate(tagging.model()).figures
    # True: A B, A, B. Predicted: A B, A, B A. Right: A and B of the first; none of the others.
    assert figures["precision"] == pytest.approx(2 / 5)
    assert figures["recall"] == pytest.approx(2 / 4)
    assert figures["f1"] == pytest.approx(4 / 9)
    # Strictly, the I-B of the first and the I-A of the last begin no span.
    assert figures["f1_strict"] == pytest.approx(2 * 1 / (4 + 3))
    assert figures["accuracy"] == pytest.approx(9 / 12)


def test_rare_words_are_replaced_in_training_alone(folder):
    (folder / "train.txt").write_text(text(EIGHT) + "\n" + text(EIGHT[:4]))
    tagging = task(folder, rare_dropout=1.0)
    model, seen = tagging.model(), []
    model.embedding.register_forward_hook(lambda module, x, y: seen.append(x[0]))
    (batch,) = tagging.batches("train")
    tagging.loss(model, batch)
    tagging.loss(model.eval(), batch)
    trained, judged = seen
    # x and the first four words are frequent.
    assert (trained[:, 1] == judged[:, 1]).all()
    assert (trained[:, 0] == UNK).sum() == 4
    assert (judged != UNK).all()


def test_words_are_looked_up_without_case_and_digits_and_spelled_with_them(folder):
    (folder / "train.txt").write_text("Win95 O\nIN O\nwin87 O\n")
    coding = task(folder).coding
    a, b, c = coding.encode(task(folder).sentences.splits["train"][0]).words
    assert a == c != b
    assert coding.words.tokens[4:] == ("win00", "in")
    assert {"W", "9", "I"} <= set(coding.letters.tokens)
    exact = task(folder, lower_case=False, zero_digits=False).coding
    assert set(exact.words.tokens[4:]) == {"Win95", "IN", "win87"}


def test_pretrained_vectors_are_the_first_embeddings(folder, tmp_path):
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("x 1 2 3\nw0a 4 5 6\nelsewhere 7 8 9\nvalid 0 1 0\n")
    (folder / "valid.txt").write_text(text(EIGHT) + "\nvalid O\n")
    tagging = task(folder, vectors=str(vectors), embedding_size=None, zero_digits=False)
    weight = tagging.model().embedding.weight
    assert weight.shape[1] == tagging.assets["embedding_size"] == 3
    for word, vector in {"x": [1, 2, 3], "w0a": [4, 5, 6], "valid": [0, 1, 0]}.items():
        assert weight[tagging.coding.ids[word]].tolist() == vector
    assert "elsewhere" not in tagging.coding.ids
    vectors.unlink()
    again = Tagging(tagging.config, tagging.assets)
    assert again.model().embedding.weight.shape == weight.shape
    with pytest.raises(FileNotFoundError, match="no such file"):
        task(folder, vectors=str(vectors)).check()


def test_labels_that_the_training_lacks_are_told_and_count_as_errors(folder, caplog):
    (folder / "valid.txt").write_text(text(EIGHT) + "\nw0a B-NEW\nx I-NEW\n")
    tagging = task(folder)
    tagging.check()
    assert (
        "2 words of the valid split have labels that the training split lacks, so they count as "
        "errors: B-NEW (1), I-NEW (1)." in caplog.text
    )
    figures = tagging.evaluate(learned(tagging, 50, 0.04)).figures
    assert figures["recall"] == pytest.approx(8 / 9)
    assert figures["accuracy"] == pytest.approx(16 / 18)
    # A label without a number has no likelihood.
    assert figures["loss"] < 0.1


def test_one_label_alone_is_refused(tmp_path):
    path = tmp_path / "one.txt"
    path.write_text("w O\nx O\n\n" * 20)
    with pytest.raises(ValueError, match=r"one.txt: expected at least two labels .* only 'O'"):
        task(path).check()


def test_suspicious_splits_are_told_and_few_data_get_small_batches(tmp_path, caplog):
    path = tmp_path / "sorted.txt"
    path.write_text("".join(f"w{i:03} O\nx X\n\n" for i in range(400)))
    tagging = task(path, dropout=0.1)
    tagging.check()
    assert "sorted.txt: the sentences are sorted, and the validation is the last" in caplog.text
    (size,) = tagging.defaults().items()
    assert size == ("batch_size", (8, "with 32 an epoch of 360 sentences would have only 12 steps"))
    caplog.clear()
    path.write_text("".join(f"w{i % 100} O\nx X\n\n" for i in range(400)))
    task(path).check()
    assert "40 of 40 sentences of the validation are in the training, too" in caplog.text
    caplog.clear()
    task(path, split="random").check()
    assert caplog.text == ""


def test_a_long_sentence_of_the_training_is_cut_and_told(folder, caplog):
    (folder / "train.txt").write_text("w O\n" * 50_000)
    tagging = task(folder, longest=1000)
    assert [len(row.words) for row in tagging.coded("train")] == [1000] * 50
    assert "1 of 1 sentences of the training have more than 1000 words and are cut" in caplog.text
    assert "sentence 1, with 50,000 words" in caplog.text
    assert tagging.assets["longest"] == 1000


def test_the_commands_train_judge_and_label(folder, tmp_path, capsys):
    run = tmp_path / "run"
    options = "--hidden_size=12 --epochs=80 --learning_rate=0.02 --dropout=0 --warmup_steps=1"
    options += " --rare_dropout=0 --batch_size=8 --sample_every=100 --validate_every=80"
    assert main(["train", "tagging", f"--data={folder}", *options.split(), f"--run={run}"]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(run), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["f1"] == 1.0
    assert record["labels"][0] == {
        "label": "EVEN", "precision": 1.0, "recall": 1.0, "f1": 1.0, "true": 4, "predicted": 4,
    }  # fmt: skip
    assert main(["evaluate", str(run)]) == 0
    assert "label  precision  recall  f1   true  predicted\nEVEN" in capsys.readouterr().out

    lines = tmp_path / "lines.txt"
    lines.write_text("w1b x\n\nw2c x\n")
    assert main(["predict", str(run), str(lines)]) == 0
    assert capsys.readouterr().out == "w1b\tB-ODD\nx\tI-ODD\n\n\nw2c\tB-EVEN\nx\tI-EVEN\n\n"
    assert main(["predict", str(run), "--text", "w1b x", "--json", "--scheme", "iobes"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["labels"] == ["B-ODD", "E-ODD"]
    (span,) = record["spans"]
    assert 0.5 < span.pop("probability") <= 1.0
    assert span == {"text": "w1b x", "type": "ODD", "begin": 0, "end": 2}
    assert main(["predict", str(run), "--text", "w1b,x", "--tokenisation", "words"]) == 0
    assert capsys.readouterr().out.count("\n") == 4

    other = tmp_path / "other.txt"
    other.write_text("w1b B-ODD\nx I-ODD\n\nx B-NEW\nw2c B-EVEN\n")
    assert main(["evaluate", str(run), f"--data={other}", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["data"] == str(other)
    assert (record["sentences"], record["words"]) == (2, 4)
    assert 0.0 < record["recall"] < 1.0
    assert main(["evaluate", str(run), f"--data={other}", "--split=valid"]) == 1
    assert main(["evaluate", str(run), f"--data={tmp_path / 'none.txt'}"]) == 1
    assert "none.txt" in capsys.readouterr().err

    # The data are not needed, and a document is labelled as a whole.
    for file in folder.iterdir():
        file.unlink()
    lines.write_text("\nx\n" + "w1b x " * 1000)
    assert main(["predict", str(run), str(lines)]) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1 + 2 + 2001
    assert "line 3: has 2,000 words, the longest sentence of the training 2." in err


@pytest.mark.slow
def test_a_document_of_50000_words_is_labelled(folder):
    tagging = task(folder)
    said = []
    inputs = [["w1b x " * 25_000, "w1b x"]]
    document, line = tagging.predictions(
        learned(tagging, 50, 0.04), inputs, LabellingOptions(), said.append
    )
    assert document.record["labels"] == line.record["labels"] * 25_000
    assert len(document.record["spans"]) == 25_000
    assert len(said) == 1
    assert said[0].startswith("line 1: has 50,000 words")


def test_a_training_that_was_cut_off_goes_on_to_the_same_numbers(folder, tmp_path):
    class CutOff(Exception):
        pass

    def train(name, resume=False, stop_at=None):
        tagging = task(folder, batch_size=4, dropout=0.5)
        tagging.check()
        run = Run(tmp_path / name)
        if not resume:
            run.create(tagging, {})
        after_step = Loop._after_step

        def stopping(self, report):
            is_ended = after_step(self, report)
            if self.position.step == stop_at:
                raise CutOff
            return is_ended

        config = GradientConfig(epochs=3, save_every=0.0, sample_every=100.0, validate_every=6)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Loop, "_after_step", stopping)
            fit(tagging, config, run, resume=resume)
        return run.load_model(tagging).state_dict()

    whole = train("whole")
    with pytest.raises(CutOff):
        train("cut", stop_at=3)
    resumed = train("cut", resume=True)
    for name, weight in whole.items():
        torch.testing.assert_close(resumed[name], weight, rtol=0, atol=0)


def test_the_probability_of_a_span_is_that_of_all_its_labels(folder):
    tagging = task(folder)
    model, coding = tagging.model().double(), tagging.coding
    from throughtime.tasks.labelling import labelled, scores_of

    torch.nn.init.normal_(model.labels.transitions, std=2.0)
    torch.nn.init.normal_(model.scores.weight, std=5.0)
    rows = [coding.encode(row) for row in tagging.sentences.splits["train"]]
    results = labelled(model, coding, rows)
    from throughtime.data.label_schemes import spans_of
    from throughtime.data.tagged_batches import collate_tagged

    model.eval()
    for row, result in zip(rows, results, strict=True):
        scores = scores_of(model, collate_tagged([row])).words
        chances = {}
        for i, a in enumerate(coding.labels.names):
            for j, b in enumerate(coding.labels.names):
                chance = model.labels(scores, torch.tensor([[i, j]])).exp().item()
                for span in spans_of([a, b]):
                    chances[a, b, span] = chance
        spans = spans_of(result.labels)
        assert len(result.chances) == len(spans)
        for span, chance in zip(spans, result.chances, strict=True):
            written = tuple(result.labels[span.begin : span.end])
            fits = [
                p for (a, b, s), p in chances.items()
                if s == span and (a, b)[span.begin : span.end] == written
            ]  # fmt: skip
            assert chance == pytest.approx(sum(fits), rel=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": "conll03"}, 'did you mean "conll2003"'),
        ({"intents": True}, "--intents: the sentences of data have no labels of their own"),
        ({"output": "softmax", "constrained": True}, "--constrained: labels that are scored alone"),
        ({"labels": "tags", "scheme": "iobes"}, "--scheme iobes: the labels of data do not mark"),
        ({"labels": "tags", "constrained": True}, "--constrained True: the labels of data do not"),
        ({"letters": "none", "letter_size": 4}, "--letter_size: no letters are read"),
        ({"rare_dropout": 0.0, "rare_count": 2}, "--rare_count 2: rare words are not replaced"),
        ({"rare_dropout": 1.5}, "--rare_dropout: expected 0 to 1, got 1.5"),
        ({"batch_size": 0}, "--batch_size: expected at least 1"),
        ({"valid_fraction": 0.1}, "expected no fractions because .* comes in splits of its own"),
        ({"split": "random"}, "expected no way to split because .* comes in splits of its own"),
        ({"cell": "lstn"}, 'did you mean "lstm"'),
        ({"cell": "gru-d"}, "--cell gru-d: this cell reads a further input at each step, decay"),
        ({"min_count": 9}, "min_count=9"),
    ],
)
def test_settings_that_do_not_fit_are_refused(folder, options, message):
    with pytest.raises(ValueError, match=message):
        task(**{"data": folder, **options}).check()


def test_labels_are_numbers_and_their_figures():
    labels = Labels.of(["b", "a", "b"])
    assert labels.numbers(["b", "c"]) == [1, -1]
    assert Labels.from_json(labels.to_json()) == labels
    for wrong in ([], ["a", "a"], [""], "ab", [1]):
        with pytest.raises(ValueError, match="expected"):
            Labels.from_json(wrong)
    counts = LabelCounts()
    counts.add(["a", "a", "b"], ["a", "b", "b"], ["a", "b"])
    assert counts.of_label("a") == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3)}
    assert counts.of_label("none") == {"precision": 0.0, "recall": 0.0, "f1": 0.0}

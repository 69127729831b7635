"""Translation: pairs of the user, tokenisations, and BLEU as sacrebleu has it."""

import json
import sys

import pytest

from throughtime.cli.main import main
from throughtime.tasks.translation import Translation, TranslationConfig, bleu

pytest.importorskip("sacrebleu")

SENTENCES = [
    ("Ein Mann schläft.", "A man sleeps."),
    ("Eine Frau liest ein Buch.", "A woman reads a book."),
    ("Zwei Hunde laufen schnell.", "Two dogs run fast."),
    ("Der Hund schläft auf dem Sofa.", "The dog sleeps on the sofa."),
]


@pytest.fixture
def files(tmp_path):
    for end, side in (("de", 0), ("en", 1)):
        lines = [pair[side] for pair in SENTENCES * 5]
        (tmp_path / f"t.{end}").write_text("\n".join(lines) + "\n")
    return tmp_path


def task(files, **options):
    data = f"{files / 't.de'},{files / 't.en'}"
    return Translation(
        TranslationConfig(**{"data": data, "hidden_size": 8, "batch_size": 4} | options)
    )


def test_the_figures_are_those_of_sacrebleu():
    import sacrebleu

    references = ["The dog sleeps on the sofa.", "A man, who reads the book, sleeps."]
    outputs = ["The dog sleeps on a sofa.", "A man, who reads the book, runs."]
    result = bleu(references, outputs)
    assert result.cased == pytest.approx(sacrebleu.corpus_bleu(outputs, [references]).score)
    assert 0 < result.cased < 100
    assert "case:mixed" in result.cased_signature
    assert "tok:13a" in result.cased_signature
    assert "case:lc" in result.lower_tokenised_signature
    assert "tok:none" in result.lower_tokenised_signature


def test_case_counts_in_the_one_figure_and_not_in_the_other():
    references = ["The dog sleeps on the sofa."]
    assert bleu(references, references).cased == pytest.approx(100)
    result = bleu(references, ["the Dog sleeps on the sofa."])
    assert result.cased < 90
    assert result.lower_tokenised == pytest.approx(100)


def test_an_empty_output_is_worth_nothing_and_no_error():
    assert bleu(["A man."], [""]).cased == 0.0


@pytest.mark.parametrize("tokenisation", ["auto", "words", "subwords", "characters"])
def test_every_tokenisation_trains_a_step_and_is_judged(files, tokenisation):
    pytest.importorskip("tokenizers")
    translation = task(files, tokenisation=tokenisation)
    translation.check()
    model = translation.model()
    loss = translation.loss(model, next(iter(translation.batches("train")))).mean
    loss.backward()
    figures = translation.evaluate(model, "valid").figures
    assert set(figures) == {"loss", "bleu", "bleu_lower_tokenised"}
    assert translation.tokenisers[0].kind == ("words" if tokenisation == "auto" else tokenisation)


def test_the_run_keeps_tokenisers_and_signatures_as_json(files):
    translation = task(files, lower_case=True, min_count=6)
    assets = json.loads(json.dumps(translation.assets))
    assert "tok:13a" in assets["signatures"]["bleu"]
    again = Translation(translation.config, assets)
    source, _ = again.tokenisers
    assert source.encode("EIN HUND SCHLÄFT") == translation.tokenisers[0].encode("ein hund schläft")
    assert source.unknown("Ein Hund schläft") == ["hund"]


def test_a_prefix_a_folder_and_two_files_are_kept_whole(files, monkeypatch):
    monkeypatch.chdir(files)
    two = TranslationConfig(data="t.de,t.en")
    assert two.data == f"{files.resolve() / 't.de'},{files.resolve() / 't.en'}"
    prefix = Translation(TranslationConfig(data="t", languages="en-de"))
    assert prefix.config.data == str(files.resolve() / "t")
    assert prefix.split("train")[0].source == SENTENCES[0][1]
    assert TranslationConfig().data == "multi30k-de-en"


def test_a_name_is_a_data_set_whatever_lies_in_the_folder(files, monkeypatch):
    monkeypatch.chdir(files)
    (files / "multi30k-de-en").mkdir()
    assert TranslationConfig().data == "multi30k-de-en"


def test_between_two_files_there_may_be_a_space(files, monkeypatch):
    monkeypatch.chdir(files)
    assert Translation(TranslationConfig(data="t.de, t.en")).split("train")[0] == SENTENCES[0]


def test_two_files_and_languages_are_told_apart(files, monkeypatch):
    monkeypatch.chdir(files)
    with pytest.raises(ValueError, match=r"because two files are given.*Leave --languages out"):
        Translation(TranslationConfig(data="t.de,t.en", languages="de-en")).check()


def test_without_a_validation_the_training_says_what_to_do(files):
    with pytest.raises(ValueError, match=r'no split "valid", only train.*raise --valid_fraction'):
        task(files, valid_fraction=0.0).check()


@pytest.mark.parametrize("tokenisation", ["words", "subwords"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocab_size": 4}, "expected max_size of at least 5, .* got 4. Raise --vocab_size"),
        ({"min_count": 0}, "expected min_count of at least 1, got 0. Raise --min_count"),
    ],
)
def test_a_vocabulary_without_room_is_refused(files, tokenisation, options, message):
    pytest.importorskip("tokenizers")
    with pytest.raises(ValueError, match=message):
        task(files, tokenisation=tokenisation, **options).check()


def test_a_name_nearly_right_is_answered_with_the_right_one():
    with pytest.raises(ValueError, match='did you mean "multi30k-de-en"'):
        Translation(TranslationConfig(data="multi30k-deen")).check()


def test_lower_case_without_words_is_refused(files):
    with pytest.raises(ValueError, match="--lower_case is for words"):
        task(files, tokenisation="characters", lower_case=True).check()


@pytest.mark.parametrize(
    ("library", "options"),
    [("sacrebleu.metrics.bleu", []), ("tokenizers", ["--tokenisation=subwords"])],
)
def test_without_a_library_the_command_says_what_to_install(
    files, monkeypatch, capsys, library, options
):
    monkeypatch.setitem(sys.modules, library, None)
    data = f"--data={files / 't'}"
    run = f"--run={files / 'run'}"
    assert main(["train", "translation", data, "--languages=de-en", run, *options]) == 1
    said = capsys.readouterr().err
    assert f"library {library.split('.')[0]}, which is not there" in said
    assert "pip install 'throughtime[translation]'" in said
    assert not (files / "run").exists()


def test_a_wrong_tokenisation_is_answered_with_the_right_ones(capsys):
    with pytest.raises(SystemExit):
        main(["train", "translation", "--tokenisation", "word"])
    said = capsys.readouterr().err
    assert "--tokenisation: expected one of auto, words," in said
    assert 'did you mean "words"' in said

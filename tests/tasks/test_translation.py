"""Translation: pairs of the user, tokenisations, and BLEU as sacrebleu has it."""

import json
import sys
from importlib.util import find_spec

import pytest

from throughtime.cli.main import main
from throughtime.data import MissingLibraryError
from throughtime.tasks.run import Run
from throughtime.tasks.translation import Translation, TranslationConfig, bleu, bleu_tokeniser

pytest.importorskip("sacrebleu", reason="sacrebleu is not installed")

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


@pytest.mark.parametrize("tokenize", ["13a", "intl", "zh", "char", "none"])
def test_every_tokeniser_of_bleu_is_that_of_sacrebleu(tokenize):
    import sacrebleu

    references, outputs = (
        ["猫坐在垫子上睡觉。", "A man, sleeping."],
        ["猫坐在椅子上睡觉。", "A man, asleep."],
    )
    result = bleu(references, outputs, tokenize)
    expected = sacrebleu.corpus_bleu(outputs, [references], tokenize=tokenize).score
    assert result.cased == pytest.approx(expected)
    assert f"tok:{tokenize}|" in result.cased_signature
    assert "tok:none|" in result.lower_tokenised_signature


def test_chinese_is_compared_by_its_characters_and_not_as_one_word():
    reference, output = ["猫坐在垫子上睡觉。"], ["猫坐在椅子上睡觉。"]
    # 8 of 9 characters, 6 of 8 pairs, 4 of 7 triples, 2 of 6 quadruples.
    expected = 100 * (8 / 9 * 6 / 8 * 4 / 7 * 2 / 6) ** 0.25
    assert bleu(reference, output, "zh").cased == pytest.approx(expected)
    assert bleu(reference, output).cased == 0


@pytest.mark.parametrize(
    ("data", "languages", "expected"),
    [
        ("multi30k-en-de", None, "13a"),
        ("train", "de-en", "13a"),
        ("zh", "zh-en", "13a"),
        ("train", "en-zh", "zh"),
        ("train", "en-zh_CN", "zh"),
        ("train", "en-cmn", "zh"),
        ("train", "en-ja", "ja-mecab"),
        ("train", "en-kor", "ko-mecab"),
        ("/x/t.zh,/x/t.en", None, "13a"),
        ("/x.zh/t.en,/x.ja/t.fr", None, "13a"),
        ("/x/t.en,/x/t.zh", None, "zh"),
        ("/x/t.en, /x/t.ja.gz", None, "ja-mecab"),
        ("/x/t.en,/x/t.ko.txt", None, "ko-mecab"),
        ("/x/zh.tsv", None, "13a"),
    ],
)
def test_the_tokeniser_of_bleu_goes_by_the_language_of_the_target(data, languages, expected):
    assert bleu_tokeniser(data, languages) == expected


def test_a_run_says_by_which_tokeniser_it_is_judged(files):
    for name, expected in (("de", "13a"), ("zh", "zh")):
        (files / f"x.{name}").write_text((files / "t.de").read_text())
        translation = task(files, data=f"{files / 't.en'},{files / f'x.{name}'}")
        translation.check()
        assert f"tok:{expected}|" in translation.assets["signatures"]["bleu"]
    chosen = task(files, data=f"{files / 't.en'},{files / 'x.zh'}", bleu_tokenize="intl")
    assert "tok:intl|" in chosen.signatures["bleu"]
    assert chosen.judge(chosen.split("valid"), [""] * len(chosen.split("valid")))["bleu"] == 0


@pytest.mark.skipif(find_spec("MeCab") is not None, reason="the library is there")
def test_a_tokeniser_without_its_library_is_refused_before_the_training(files):
    (files / "t.ja").write_text((files / "t.en").read_text())
    with pytest.raises(MissingLibraryError, match=r"sacrebleu\[ja\].*--bleu_tokenize char"):
        task(files, data=f"{files / 't.de'},{files / 't.ja'}").check()


def test_a_run_from_before_there_was_a_choice_keeps_its_tokeniser(files, tmp_path, capsys):
    (files / "t.zh").write_text((files / "t.en").read_text())
    data, run = f"{files / 't.de'},{files / 't.zh'}", tmp_path / "run"
    options = ["--hidden_size", "8", "--batch_size", "4", "--run", str(run)]
    argv = ["train", "translation", "--data", data, *options]
    assert main([*argv, "--epochs", "1"]) == 0
    config = json.loads((run / "config.json").read_text())
    assert config["settings"].pop("bleu_tokenize", "absent") is None
    (run / "config.json").write_text(json.dumps(config))
    assert "tok:13a|" in Run(run).task().signatures["bleu"]
    assert main([*argv, "--epochs", "2", "--resume"]) == 0
    capsys.readouterr()
    assert main([*argv, "--resume", "--bleu_tokenize", "zh"]) == 1
    assert "the run has bleu_tokenize=13a, got zh" in capsys.readouterr().err


def test_an_empty_output_is_worth_nothing_and_no_error():
    assert bleu(["A man."], [""]).cased == 0.0


@pytest.mark.parametrize("tokenisation", ["auto", "words", "subwords", "characters"])
def test_every_tokenisation_trains_a_step_and_is_judged(files, tokenisation):
    pytest.importorskip("tokenizers", reason="tokenizers is not installed")
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
    pytest.importorskip("tokenizers", reason="tokenizers is not installed")
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

"""A language model in the search of a transcript: its scores, the best sum of all, refusals."""

import itertools
import json
import math
from pathlib import Path

import pytest
import torch

from throughtime.cli.main import main
from throughtime.models.ctc import prefix_search
from throughtime.tasks.char_lm import CharLM, CharLMConfig
from throughtime.tasks.fused_language import FusionOptions, fused_language
from throughtime.tasks.run import Run
from throughtime.tasks.transcription import Transcription
from throughtime.tasks.transcription_settings import (
    JudgingTranscripts,
    TranscribingOptions,
    TranscriptionConfig,
)

from ..data.sounds import as_file, tone


def run_of(task, folder):
    run = Run(folder)
    run.create(task, {})
    torch.manual_seed(1)
    run.save_model(task.model())
    return str(folder)


def language_run(tmp_path, text, name="lm"):
    file = tmp_path / f"{name}.txt"
    file.write_text(text * 40)
    options = {"hidden_size": 8, "num_layers": 1, "batch_size": 2, "num_steps": 10}
    return run_of(CharLM(CharLMConfig(str(file), **options)), tmp_path / name)


def log_likelihood(folder, text):
    """The log-probability of a text after a line end, and of the line end after it."""
    run = Run(Path(folder))
    task = run.task()
    model, tokens = run.load_model(task), task.vocabulary.encode(f"\n{text}\n")
    with torch.no_grad():
        scores, _ = model(tokens[None, :-1])
    return float(scores[0].double().log_softmax(-1).gather(1, tokens[1:, None]).sum())


@pytest.mark.parametrize(
    ("names", "separator"), [(("a", "b"), ""), (("yes", "no"), " ")], ids=["letters", "words"]
)
def test_the_best_transcript_is_that_of_the_search_of_all(tmp_path, names, separator):
    folder = language_run(tmp_path, f"{separator.join(names)}\n{names[1]}\n")

    def text_of(symbols):
        return separator.join(names[k - 1] for k in symbols)

    options = FusionOptions(lm=folder, lm_weight=0.7, length_bonus=0.9)
    language = fused_language(options, 3, text_of)
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        log_probs = (2 * torch.randn(4, 3, generator=generator)).double().log_softmax(-1)
        expected = {}
        for alignment in itertools.product(range(3), repeat=4):
            symbols = tuple(k for k, _ in itertools.groupby(alignment) if k)
            p = sum(float(log_probs[t, k]) for t, k in enumerate(alignment))
            expected[symbols] = expected.get(symbols, 0.0) + math.exp(p)
        for symbols, p in expected.items():
            fused = 0.7 * log_likelihood(folder, text_of(symbols)) + 0.9 * len(symbols)
            expected[symbols] = math.log(p) + fused
        hypotheses = prefix_search(log_probs, 1000, language)
        scores = {h.symbols: h.score for h in hypotheses}
        assert scores == pytest.approx(expected, abs=1e-4)
        assert hypotheses[0].symbols == max(expected, key=lambda symbols: expected[symbols])


def test_a_weight_of_zero_changes_nothing(tmp_path):
    options = FusionOptions(lm=language_run(tmp_path, "ab\n"), lm_weight=0.0)
    language = fused_language(options, 3, lambda symbols: "".join("ab"[k - 1] for k in symbols))
    log_probs = torch.randn(6, 3).log_softmax(-1)
    fused, plain = prefix_search(log_probs, 9, language), prefix_search(log_probs, 9)
    assert [h.symbols for h in fused] == [h.symbols for h in plain]


@pytest.fixture
def speech(tmp_path):
    for i in range(4):
        (tmp_path / f"{i}.wav").write_bytes(as_file(tone(0.3, seed=i)))
    (tmp_path / "all.tsv").write_text("0.wav\tab\n1.wav\tba\n2.wav\tbb\n3.wav\ta\n")
    options = {"hidden_size": 8, "num_filters": 20, "valid_fraction": 0.25, "split": "order"}
    return lambda **further: Transcription(
        TranscriptionConfig(data=str(tmp_path / "all.tsv"), **options, **further)
    )


def test_commands_fuse_a_model_and_its_weight_has_an_effect(speech, tmp_path, capsys):
    run = run_of(speech(), tmp_path / "run")
    folder = language_run(tmp_path, "ab\nba\n")
    outputs = []
    for options in (["--lm", folder, "--length_bonus", "9"], ["--lm", folder], []):
        assert main(["predict", run, str(tmp_path / "0.wav"), *options]) == 0
        outputs.append(len(capsys.readouterr().out))
    # A large bonus gives a long transcript.
    assert outputs[0] > max(outputs[1:])
    assert main(["evaluate", run, "--lm", folder, "--beam_width", "4", "--json"]) == 0
    judged = json.loads(capsys.readouterr().out)
    assert judged["beam_width"] == 4
    assert judged["character_error_rate"] >= 0


def test_models_that_do_not_fit_are_refused(speech, tmp_path):
    task = speech()
    other = language_run(tmp_path, "xa\n", "other")
    with pytest.raises(ValueError, match=r"other: does not know 1 of the 2 symbols .*\('b'\)"):
        task.evaluate(task.model(), options=JudgingTranscripts(lm=other))
    # The letters are known, and the space between them is not.
    folder = language_run(tmp_path, "ab\n")
    with pytest.raises(ValueError, match=r"lm: does not know 2 of the 2 symbols .* or the space"):
        fused_language(FusionOptions(lm=folder), 3, lambda s: " ".join("ab"[k - 1] for k in s))
    run = run_of(task, tmp_path / "run")
    with pytest.raises(ValueError, match=r"expected a run of a language model \(char-lm\), got on"):
        task.evaluate(task.model(), options=JudgingTranscripts(lm=run))
    with pytest.raises(ValueError, match="gone"):
        task.evaluate(task.model(), options=JudgingTranscripts(lm=str(tmp_path / "gone")))
    decoder = speech(readout="attention")
    with pytest.raises(ValueError, match="--lm: takes part in a search over the classes of each"):
        decoder.evaluate(decoder.model(), options=JudgingTranscripts(lm=folder))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lm_weight": 1.0}, "--lm_weight is of --lm, which is missing"),
        ({"length_bonus": 0.0}, "--length_bonus is of --lm, which is missing"),
        ({"lm": "x", "lm_weight": -1.0}, "--lm_weight: expected a number of 0 or more, got -1.0"),
        ({"lm": "x", "length_bonus": math.inf}, "--length_bonus: expected a number that is finite"),
        ({"lm": "x", "stream": True}, "--lm: --stream writes the best symbol of each step"),
        ({"beam_width": 3, "stream": True}, "--beam_width: --stream writes the best symbol"),
        ({"raw_format": "mu-law"}, "--raw_format is that of raw samples; say their rate"),
    ],
)
def test_options_without_effect_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TranscribingOptions(**options)

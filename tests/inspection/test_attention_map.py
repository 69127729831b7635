"""The heat map of attention: its labels and shades, and its path from the model to the report."""

import json
import re
import warnings

import numpy as np
import pytest
import torch

from throughtime.inspection.alignments import record_alignments, recorded_alignments
from throughtime.inspection.attention_map import attention_svg, write_attention
from throughtime.inspection.report import write_report
from throughtime.tasks.addition import Addition, AdditionConfig
from throughtime.tasks.alignments import align, tokens_of
from throughtime.tasks.run import Run
from throughtime.tasks.uses import AttentionMap
from throughtime.training.journal import Journal

SMALL = {"digits": 1, "num_pairs": 40, "num_test": 10, "hidden_size": 8, "batch_size": 8}
SMALL |= {"network": "two", "attention": "general"}
DOG = AttentionMap(["ein", "Hund"], ["a", "dog", "."], [[1, 0], [0, 1], [0.2, 0.8]])


def words(svg):
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def pixels(path):
    from matplotlib.image import imread

    return imread(path)


def test_both_axes_have_their_words_as_text():
    shown = words(attention_svg(DOG))
    assert shown[:5] == ["ein", "Hund", "a", "dog", "."]


def test_rows_are_what_was_written_and_dark_is_much(tmp_path):
    one, long = tmp_path / "one.png", 30
    weights = np.zeros((4, long))
    weights[0, 0] = weights[3, long - 1] = 1
    write_attention(one, [AttentionMap(["a"] * long, ["b"] * 4, weights)])
    picture = pixels(one)
    # The darkest blue, which no letter has; the colour scale is to the right of the cells.
    is_dark = (picture[..., 0] < 0.1) & (picture[..., 2] > 0.35)
    rows, columns = np.nonzero(is_dark[:, :-110])
    height, width = is_dark.shape
    assert columns[rows < height / 2].mean() < width * 0.1
    assert columns[rows > height / 2].mean() > width * 0.85


def test_words_cannot_become_markup_or_formulas():
    svg = attention_svg(AttentionMap(["<script>", "$x$"], ["&", "a_$b$"], [[1, 0], [0, 1]]))
    assert words(svg)[:4] == ["&lt;script&gt;", "$x$", "&amp;", "a_$b$"]


def test_what_cannot_be_seen_is_shown_by_a_sign_and_what_is_long_is_cut():
    svg = attention_svg(AttentionMap([" ", "\x07", "x" * 80], ["y"], [[1, 0, 0]]))
    assert words(svg)[:3] == ["␣", "␇", "x" * 23 + "…"]


def test_white_space_and_control_characters_have_signs_of_their_own():
    tokens = ["\t", "\n", "\r", "\u00a0", "\u2003", "\u3000", "", "a b", "\ud800", "👨\u200d👩"]
    svg = attention_svg(AttentionMap(tokens, ["y"], [[0.0] * len(tokens)]))
    signs = ["⇥", "↵", "␍", "⍽", "U+2003", "U+3000", "∅", "a␣b", "�", "👨\u200d👩"]
    assert words(svg)[: len(tokens)] == signs


@pytest.mark.parametrize(("num", "pixels"), [(10, 15), (30, 7.5), (60, 4.5), (200, 4.5)])
def test_letters_stay_readable_where_a_phone_shows_a_map_smaller(num, pixels):
    svg = attention_svg(AttentionMap(["a"] * num, ["b"] * num, np.zeros((num, num))))
    size = float(re.search(r"font-size: ([\d.]+)px[^>]*>a<", svg)[1])
    width = float(re.search(r"width:([\d.]+)in", svg)[1])
    # A phone of 400 pixels leaves 368 to the map; a unit of the drawing is a point.
    assert size / 72 * min(96, 368 / width) >= pixels


def test_words_of_other_scripts_are_no_warning(tmp_path):
    map_ = AttentionMap(["犬", "مرحبا", "नमस्ते"], ["👍"], [[1, 0, 0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "犬" in attention_svg(map_)
        write_attention(tmp_path / "map.png", [map_])


def test_long_texts_fit_on_the_page_with_some_of_their_words():
    svg = attention_svg(AttentionMap(["a"] * 900, ["b"] * 900, np.zeros((900, 900))))
    assert 20 < len(words(svg)) < 900
    width = float(re.search(r"width:([\d.]+)in", svg)[1])
    assert width < 13
    assert len(svg) < 500_000


@pytest.mark.parametrize("weights", [[], [[1.0]], [[1.0, 0.0]] * 2])
def test_weights_of_another_shape_are_refused(weights):
    with pytest.raises(ValueError, match=r"expected weights of shape \(3, 2\)"):
        attention_svg(DOG._replace(weights=weights))


def test_a_page_holds_all_maps_and_a_picture_too(tmp_path):
    write_attention(tmp_path / "a.html", [DOG._replace(title="<1>"), DOG])
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert "&lt;1&gt;" in page
    write_attention(tmp_path / "1.png", [DOG])
    write_attention(tmp_path / "2.png", [DOG, DOG])
    assert pixels(tmp_path / "2.png").shape[0] > 2 * pixels(tmp_path / "1.png").shape[0]
    with pytest.raises(ValueError, match="at least one map"):
        write_attention(tmp_path / "0.png", [])


# From the model to the report.


@pytest.fixture
def task():
    return Addition(AdditionConfig(**SMALL))


@pytest.fixture
def run(task, tmp_path):
    run = Run(tmp_path / "run")
    run.create(task, {"clip_norm": 1.0})
    return run


def test_the_weights_are_those_of_the_model(task):
    from throughtime.data import collate
    from throughtime.tasks.rewriting import hypotheses

    model = task.model()
    ids = task.tokenisers[0].encode("2+1")
    ((best,),) = hypotheses(model, [ids], longest_target=2)
    drawn = align(task.tokenisers, "2+1", best, task.shown("2+1"))
    assert drawn.source == ["2", "+", "1"]
    assert "".join(drawn.target) == task.tokenisers[1].decode(best.tokens)
    assert drawn.title.startswith("1+2 → ")
    batch = collate([ids], [best.tokens])
    with torch.no_grad():
        expected = model.attention_weights(batch.source, None, batch.target_in)[0]
    torch.testing.assert_close(
        torch.tensor(drawn.weights), expected[: len(best.tokens)], rtol=0, atol=1e-4
    )


def test_unknown_words_are_shown_as_they_were_written(task):
    reads = task.tokenisers[0]
    text = "1x2y"
    assert tokens_of(reads, reads.encode(text), reads.unknown(text)) == list(text)
    assert tokens_of(reads, [3]) == ["<unk>"]


def test_the_report_shows_where_the_model_looks(task, run):
    assert recorded_alignments(run) == (0, [])
    assert "Attention" not in write_report(run).read_text(encoding="utf-8")
    record_alignments(run, task, task.model(), 7)
    step, maps = recorded_alignments(run)
    assert step == 7
    assert len(maps) == 4
    pairs = task.split("valid")
    for pair, drawn in zip(pairs[:4], maps, strict=True):
        assert "".join(drawn.source) == pair.source
        assert np.shape(drawn.weights) == (len(drawn.target), len(drawn.source))
        assert drawn.title.startswith(f"{task.shown(pair.source)} → ")
        assert drawn.title.endswith(f"({pair.target})")
    page = write_report(run).read_text(encoding="utf-8")
    assert "<h2>Attention at step 7</h2>" in page
    assert page.count("<svg") == len(maps)
    assert not re.search(r"""(src|href)\s*=\s*["']https?:""", page)


def test_a_model_without_attention_has_no_map(tmp_path):
    task = Addition(AdditionConfig(**SMALL | {"attention": "none"}))
    run = Run(tmp_path / "run")
    run.create(task, {})
    assert task.nothing_to_explain == "attention=none"
    record_alignments(run, task, task.model(), 1)
    assert not run.attention_file.exists()


def test_the_figures_of_the_validation_are_drawn_by_their_unit(run):
    config = json.loads(run.config_file.read_text())
    config["figures"]["bleu"] = {"unit": "BLEU", "better": "higher"}
    run.config_file.write_text(json.dumps(config))
    journal = Journal(run, ["loss", "bleu", "exact_match", "accuracy", "gradient_norm"], 0)
    # A validation before the first row of the training is drawn as well.
    for step in (1, 2):
        figures = {"loss": 2.0, "bleu": 30.0 + step, "exact_match": 0.5, "accuracy": 0.7}
        journal.record(step, 1.0, 1.0, "valid", figures)
        page = write_report(run).read_text(encoding="utf-8")
        assert page.count("<h2>Validation</h2>") == 2
        journal.record(step, 1.0, 1.0, "train", {"loss": 2.0, "gradient_norm": 1.0})
    journal.close()
    assert write_report(run).read_text(encoding="utf-8").count("<h2>Validation</h2>") == 2

"""The answers of the lens are the numbers of the tensors; wrong requests are answered in words."""

import base64
import json
import re
import shutil
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from throughtime.inspection.page import opened, patterns
from throughtime.inspection.page.session import Session
from throughtime.inspection.recording import record
from throughtime.layers.evaluation import evaluating
from throughtime.models import EncoderDecoder, beam_search
from throughtime.tasks.loading import load_run
from throughtime.tasks.run import Run

KINDS = ["language", "gru", "tagging", "texts", "series", "pairs", "symbols", "cloze"]
STATE = {
    **dict.fromkeys(["language", "gru"], "recurrent.h_l1"),
    **dict.fromkeys(["tagging", "texts", "series", "symbols", "cloze"], "recurrent.h_l0"),
    "pairs": "decoder.recurrent.h_l0",
}


def numbers(values):
    data = np.frombuffer(base64.b64decode(values["data"]), "<f4")
    return torch.from_numpy(data.copy()).reshape(values["shape"])


def about(session):
    return session.answer("runs", {})["runs"][0]


def names(run):
    return [value["name"] for part in run["parts"] for value in part["values"]]


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_run_says_of_itself(kind, sessions):
    run = about(sessions[kind])
    json.dumps(run, allow_nan=False)
    assert run["is_language"] == (kind in ("language", "gru"))
    assert run["is_typed"] == (kind != "series")
    assert run["has_beam"] == (kind == "pairs")
    title = {"series": "1: 7 steps", "symbols": "1: 110", "tagging": "1: b cat Katze"}
    assert run["examples"][0].startswith(title.get(kind, "1: the "))
    assert max(map(len, run["examples"])) <= 64
    assert run["notes"] == []
    assert set(run["embeddings"]) == {
        "pairs": {"embedding", "decoder.embedding"},
        "series": set(),
        "tagging": set(),
        "symbols": set(),
    }.get(kind, {"embedding"})
    values = {v["name"]: v for part in run["parts"] for v in part["values"]}
    assert values[STATE[kind]] == {
        "name": STATE[kind],
        "label": "h, layer 2" if run["is_language"] else "h, layer 1",
        "width": 8,
        "is_state": True,
        "is_attention": False,
    }
    if kind == "pairs":
        assert [part["name"] for part in run["parts"]] == ["encoder", "decoder"]
        weights = values["decoder.attention.weights"]
        assert weights["is_attention"]
        assert weights["width"] is None


@pytest.mark.parametrize("kind", KINDS)
def test_the_numbers_of_a_reading_are_the_tensors(kind, sessions, folders):
    session, loaded = sessions[kind], load_run(folders[kind])
    run = about(session)
    inputs = {"example": 0}
    texts = {"language": "the dog sat", "gru": "a", "pairs": "the b dog", "tagging": "e Hund x"}
    if kind in texts:
        inputs["text"] = texts[kind]
    for field, value in inputs.items():
        request = {"run": 0, field: value, "values": names(run)}
        answer = session.answer("read", request)
        json.dumps(answer, allow_nan=False)
        input = value if field == "text" else session.runs[0].examples[0]
        recording = record(loaded.task, loaded.model, input)
        assert answer["steps"] == {part: list(s) for part, s in recording.steps.items()}
        assert [v["name"] for v in answer["values"]] == list(recording.values)
        for values in answer["values"]:
            torch.testing.assert_close(numbers(values), recording.values[values["name"]])
        assert recording.probabilities is not None
        best = recording.probabilities.topk(min(8, len(recording.outputs)))
        expected = [
            [(recording.outputs[i], p) for p, i in zip(row, indices, strict=True) if p > 0]
            for row, indices in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]
        assert [[name for name, _ in row] for row in answer["top"]] == [
            [name for name, _ in row] for row in expected
        ]
        assert [p for row in answer["top"] for _, p in row] == pytest.approx(
            [p for row in expected for _, p in row], rel=1e-4
        )
        if field == "text" or isinstance(input, str):
            assert answer["text"] == input
        else:
            joined = {"tagging": " ", "symbols": ""}
            (tokens,) = recording.steps.values()
            assert answer["text"] == (joined[kind].join(tokens) if kind in joined else None)
        if kind == "series":
            torch.testing.assert_close(numbers(answer["features"]), recording.features)
            assert answer["feature_names"] == ["x1", "x2"]
        else:
            assert answer["features"] is None


def test_the_page_gets_only_what_it_does_not_know(sessions):
    session, text = sessions["language"], "the cat sat on the mat"
    request = {"run": 0, "text": text, "values": [STATE["language"]]}
    whole = session.answer("read", request)
    for known in (0, 5, 16, 21, 22):
        rest = session.answer("read", {**request, "known": known, "version": whole["version"]})
        assert rest["known"] == known
        assert rest["steps"] == whole["steps"]
        assert rest["top"] == whole["top"][known:]
        assert torch.equal(numbers(rest["values"][0]), numbers(whole["values"][0])[known:])
    # The text was shortened; the values are those of another model.
    assert session.answer("read", {**request, "known": 99})["known"] == 22
    assert session.answer("read", {**request, "known": 5, "version": 99})["known"] == 0
    # A model that reads the whole input before it says anything.
    other = {"run": 0, "text": "the b dog", "values": [], "known": 2}
    assert sessions["pairs"].answer("read", other)["known"] == 0


def test_unknown_words_are_told(sessions):
    answer = sessions["pairs"].answer("read", {"run": 0, "text": "the zebra"})
    assert "zebra" in answer["unknown"]
    assert sessions["pairs"].answer("read", {"run": 0, "text": "the a cat"})["unknown"] == ""
    assert "zebra" in sessions["texts"].answer("read", {"run": 0, "text": "zebra"})["unknown"]


def held_out(session, name):
    """The held-out tokens and values of a run, computed here."""
    run = session.runs[0]
    recordings = [record(run.task, run.model, input) for input in run.inputs]
    return [(list(r.tokens(name)), r.values[name]) for r in recordings]


@pytest.mark.parametrize("kind", KINDS[:6])
def test_places_where_a_unit_fires(kind, sessions):
    session, name = sessions[kind], STATE[kind]
    answer = session.answer("fires", {"run": 0, "name": name, "unit": 3, "most": 4})
    data = held_out(session, name)
    assert answer["steps"] == sum(len(tokens) for tokens, _ in data)
    values = torch.cat([v[:, 3] for _, v in data])
    first = answer["places"][0]
    assert abs(first["values"][first["at"]]) == pytest.approx(float(values.abs().max()), rel=2e-3)
    peaks = [abs(place["values"][place["at"]]) for place in answer["places"]]
    assert peaks == sorted(peaks, reverse=True)
    for place in answer["places"]:
        assert len(place["values"]) == len(place["tokens"]) <= 81
        near = [
            value[max(0, t - place["at"]) :][: len(place["values"]), 3]
            for tokens, value in data
            for t in range(len(tokens))
            if tokens[max(0, t - place["at"]) :][: len(place["tokens"])] == list(place["tokens"])
        ]
        at = torch.tensor(place["values"])
        assert any(len(v) == len(at) and torch.allclose(v, at, atol=2e-3) for v in near)


@pytest.mark.parametrize("is_strict", [False, True])
def test_a_pattern_is_matched_as_a_search_by_hand_finds_it(sessions, is_strict):
    session, name, threshold = sessions["language"], STATE["language"], -0.02
    text, begin, end = "the cat sat on the mat", 4, 7
    request = {"run": 0, "name": name, "text": text, "from": begin, "to": end}
    request |= {"threshold": threshold, "is_strict": is_strict}
    answer = session.answer("match", request)
    values = numbers(
        session.answer("read", {"run": 0, "text": text, "values": [name]})["values"][0]
    )
    is_above = (values > threshold).tolist()
    units = [
        u
        for u in range(8)
        if all(is_above[t][u] for t in range(begin, end))
        and not (is_strict and (is_above[begin - 1][u] or is_above[end][u]))
    ]
    assert answer["units"] == units
    assert units or is_strict
    ((tokens, data),) = held_out(session, name)
    data = data.half()
    counts = [
        sum(bool((data[t : t + 3, u] > threshold).all()) for u in units)
        for t in range(len(tokens) - 2)
    ]
    if not units:
        assert answer["places"] == []
        return
    assert answer["places"][0]["count"] == max(counts)
    shown = [place["count"] for place in answer["places"]]
    assert shown == sorted(shown, reverse=True)
    for place in answer["places"]:
        around, first = list(place["tokens"]), place["from"]
        assert place["to"] - first == 3
        assert place["count"] in {
            count
            for t, count in enumerate(counts)
            if tokens[max(0, t - first) :][: len(around)] == around
        }


@pytest.mark.parametrize("question", [{"property": "word start"}, {"pattern": "[aeiou]"}])
def test_units_that_follow_the_text(sessions, question):
    session = sessions["language"]
    answer = session.answer("follow", {"run": 0, **question})
    best = answer["units"][0]
    ((tokens, data),) = held_out(session, best["name"])
    text = "".join(tokens)
    pattern = question.get("pattern", r"\b\w")
    wanted = np.zeros(len(text))
    for match in re.finditer(pattern, text):
        wanted[match.start() : match.end()] = 1
    r = np.corrcoef(data[:, best["unit"]].numpy(), wanted)[0, 1]
    assert best["correlation"] == pytest.approx(r, abs=2e-3)
    sizes = [abs(unit["correlation"]) for unit in answer["units"]]
    assert sizes == sorted(sizes, reverse=True)


def test_words_follow_a_pattern_with_spaces_between_them(sessions):
    # Of "die a Katze" the pattern is true at one word only.
    answer = sessions["tagging"].answer("follow", {"run": 0, "pattern": r"\bKatze\b"})
    assert answer["units"]
    # Of the parts of a translator only the encoder reads this word.
    units = sessions["pairs"].answer("follow", {"run": 0, "pattern": r"\bcat\b"})["units"]
    assert {unit["name"].split(".")[0] for unit in units} == {"encoder"}


def by_hand(run, ids, length, units=()):
    """The greedy continuation of token ids, with the state set before each step."""
    tokens, model = [], run.model
    with evaluating(model):
        scores, state = model(torch.tensor([ids]))
        for _ in range(length):
            tokens.append(int(scores[0, -1].argmax()))
            state = tuple(s.clone() for s in state)
            for index, row, unit, value in units:
                state[index][row, :, unit] = value
            scores, state = model(torch.tensor([[tokens[-1]]]), state)
    return [run.language.tokens[i] for i in tokens]


def test_writing_goes_on_from_the_state(sessions):
    session = sessions["language"]
    run, text = session.runs[0], "the cat sat"
    request = {"run": 0, "text": text, "length": 30, "temperature": 0}
    for at in (3, 11):
        answer = session.answer("write", {**request, "at": at})
        assert answer["tokens"] == by_hand(run, run.ids(text)[:at], 30)
        # Greedily the likeliest was taken.
        assert [row[0][0] for row in answer["top"]] == answer["tokens"]
    start = session.answer("write", {**request, "at": 0})
    assert start["tokens"] == by_hand(run, run.ids("\n"), 30)
    assert session.answer("write", {**request, "at": 3, "length": 0}) == {"tokens": [], "top": []}


def test_writing_with_held_units(sessions):
    session = sessions["language"]
    run, text = session.runs[0], "the cat sat"
    request = {"run": 0, "text": text, "at": 11, "length": 40, "temperature": 0}
    units = [
        {"name": "recurrent.c_l0", "unit": 2, "value": 6.0},
        {"name": "recurrent.h_l1", "unit": 5, "value": -9.0},
    ]
    answer = session.answer("write", {**request, "set": units})
    assert answer["tokens"] == by_hand(run, run.ids(text), 40, [(1, 0, 2, 6.0), (0, 1, 5, -9.0)])
    free = session.answer("write", {**request, "set": None})
    assert free["tokens"] == by_hand(run, run.ids(text), 40)
    assert free["tokens"] != answer["tokens"]
    # Nothing of it stays in the model.
    assert session.answer("write", request) == free
    # A single state is no tuple.
    unit = {"name": "recurrent.h_l0", "unit": 0, "value": 5}
    set_one = {"run": 0, "text": text, "at": 11, "length": 40, "temperature": 0, "set": [unit]}
    with_one, without = (
        sessions["gru"].answer("write", {**set_one, "set": units}) for units in ([unit], [])
    )
    assert with_one != without


def test_drawing_is_repeatable_and_limited(sessions):
    session = sessions["language"]
    request = {"run": 0, "text": "the", "at": 3, "length": 50, "seed": 7, "temperature": 1.5}
    drawn = session.answer("write", request)
    assert session.answer("write", request) == drawn
    assert session.answer("write", {**request, "seed": 8})["tokens"] != drawn["tokens"]
    few = session.answer("write", {**request, "top_k": 2})
    for token, row in zip(few["tokens"], few["top"], strict=True):
        assert token in [name for name, _ in row[:2]]
    with pytest.raises(ValueError, match="temperature=0 takes the likeliest"):
        session.answer("write", {**request, "temperature": 0, "top_p": 0.5})


def test_runs_are_compared_token_by_token(folders):
    session = Session([folders["language"], folders["gru"]])
    text = "the cat\nsat on\nthe"
    answer = session.answer("compare", {"runs": [0, 1], "text": text})
    assert answer["tokens"] == list(text)
    assert [line["text"] for line in answer["lines"]] == ["the cat\n", "sat on\n", "the"]
    for index, run in enumerate(session.runs):
        with evaluating(run.model):
            logs = run.model(torch.tensor([run.ids(text)]))[0][0].log_softmax(-1)
        expected = [-float(logs[t, i]) for t, i in enumerate(run.ids(text)[1:])]
        assert answer["nats"][index][1:] == pytest.approx(expected, rel=1e-4)
        sums = [line["nats"][index] for line in answer["lines"]]
        assert sums[1] == pytest.approx(sum(answer["nats"][index][8:15]))
        assert sum(sums) == pytest.approx(sum(answer["nats"][index]))
    with pytest.raises(ValueError, match="language: the text has 1 character"):
        session.answer("compare", {"runs": [0, 1], "text": "the%"})


@pytest.mark.parametrize("width", [1, 4])
def test_the_tree_of_a_beam_search(sessions, width):
    session, text = sessions["pairs"], "the c house"
    run = session.runs[0]
    answer = session.answer("beam", {"run": 0, "text": text, "width": width})
    assert answer["source"] == text.split()
    nodes = answer["nodes"]
    assert nodes[0]["parent"] == -1
    assert all(node["parent"] < i for i, node in enumerate(nodes))
    ids = run.task.tokenisers[0].encode(text)
    (best,) = run.task.search(run.model, [ids], beam_width=width)[0]
    path = [node for node in nodes[1:] if node["is_best"]]
    assert sum(node["log_probability"] for node in path) == pytest.approx(best.score, rel=1e-4)
    tokens = [run.task.tokenisers[1].decode([i]) for i in best.tokens]
    assert [node["token"] for node in path][: len(tokens)] == tokens
    assert path[-1]["is_end"] == best.is_finished
    # Each depth has at most as many nodes as the beam is wide.
    depths = [0]
    for node in nodes[1:]:
        depths.append(depths[node["parent"]] + 1)
    assert max(map(depths.count, depths[1:])) <= width
    with evaluating(run.model):
        scores = run.model(torch.tensor([ids]), None, torch.tensor([[run.model.bos]]))
        logs = run.model.writable(scores[0, 0].log_softmax(-1))
    shown = sorted(node["log_probability"] for node in nodes if node["parent"] == 0)
    assert shown == pytest.approx(sorted(logs.topk(width).values.tolist()), rel=1e-4)


def test_watching_a_beam_search_changes_nothing():
    model = EncoderDecoder(9, 9, hidden_size=5).eval()
    sources, steps = torch.randint(4, 9, (3, 4)), []
    watched = beam_search(model, sources, width=3, max_length=7, watch=steps.append)
    plain = beam_search(model, sources, width=3, max_length=7)
    assert [[h.tokens for h in row] for row in watched] == [
        [h.tokens for h in row] for row in plain
    ]
    assert steps[0].sources == [0, 1, 2]
    assert steps[0].parents.tolist() == [[0] * 3] * 3
    assert steps[0].scores.shape == (3, 3)


def test_maps_of_states_and_embeddings(sessions):
    session = sessions["language"]
    request = {"run": 0, "method": "pca"}
    answer = session.answer("project", {**request, "name": STATE["language"]})
    ((tokens, data),) = held_out(session, STATE["language"])
    assert answer["tokens"] == tokens
    assert len(answer["points"]) == len(tokens)
    shares = torch.pca_lowrank(data.double(), 8)[1].square()
    assert answer["explained"] == pytest.approx((shares / shares.sum())[:2].tolist(), abs=1e-3)
    answer = session.answer("project", {**request, "embedding": "embedding"})
    assert answer["tokens"] == list(session.runs[0].language.tokens)
    # Each side of a translator has its own tokens.
    pairs = sessions["pairs"].answer("project", {**request, "embedding": "decoder.embedding"})
    assert {"Katze", "die"} <= set(pairs["tokens"])
    assert (
        "cat"
        in sessions["pairs"].answer("project", {**request, "embedding": "embedding"})["tokens"]
    )


WRONG = [
    ("language", "red", {}, 'unknown request "red"; did you mean "read"'),
    ("language", "read", {"run": 1, "text": "a"}, "run: expected an index below 1, got 1"),
    ("language", "read", {"run": 0}, 'expected either "text" or "example", got neither'),
    ("language", "read", {"run": 0, "text": "a", "example": 0}, "got both"),
    ("language", "read", {"run": 0, "text": ""}, "at least one character, got an empty text"),
    ("language", "read", {"run": 0, "text": "the cät"}, "'ä'; the first in line 1, column 6"),
    ("language", "read", {"run": 0, "text": "a" * 10_001}, "has 10,001 characters; .*10,000"),
    ("language", "read", {"run": 0, "text": 5}, "text: expected a text, got 5"),
    ("language", "read", {"run": 0, "text": "a", "know": 5}, 'did you mean "known"'),
    ("language", "read", {"run": 0, "text": "a", "known": -5}, "known: expected a whole number"),
    ("language", "read", {"run": 0, "text": "a", "values": ["recurrent.k_l0"]}, "unknown value"),
    ("language", "read", {"run": 0, "text": "a", "values": ["x" * 10**6]}, "expected a name"),
    ("language", "read", {"run": 0, "example": 99}, "example: expected a number below"),
    ("tagging", "read", {"run": 0, "text": " "}, "at least one word"),
    ("series", "read", {"run": 0, "text": "a b"}, "a"),
    ("pairs", "read", {"run": 0, "text": ""}, "at least one token"),
    ("language", "fires", {"run": 0, "name": "recurrent.h_l0", "unit": 8}, "below 8, got 8"),
    ("language", "fires", {"run": 0, "name": "recurrent.h_l7", "unit": 0}, "unknown value"),
    ("pairs", "fires", {"run": 0, "name": "decoder.attention.weights", "unit": 0}, "unknown value"),
    ("language", "fires", {"run": 0, "name": "h", "unit": 0, "most": 10**9}, "from 1 to 100"),
    (
        "language",
        "match",
        {"run": 0, "text": "cat", "name": "recurrent.h_l0", "from": 2, "to": 9, "threshold": 0},
        "to of at most 3",
    ),
    (
        "language",
        "match",
        {"run": 0, "text": "cat", "name": "recurrent.h_l0", "from": 2, "to": 2, "threshold": 0},
        "expected from < to",
    ),
    ("language", "follow", {"run": 0, "property": "line lenght so far"}, 'mean "line length so'),
    ("language", "follow", {"run": 0, "pattern": "(a"}, "pattern: expected a regular expression"),
    ("language", "follow", {"run": 0, "pattern": "a" * 1001}, "at most 1,000 characters"),
    ("language", "follow", {"run": 0, "pattern": "%"}, "never changes"),
    ("language", "write", {"run": 0, "text": "cat", "at": 4, "length": 3}, "at most 3, the number"),
    ("language", "write", {"run": 0, "text": "a", "at": 1, "length": 10**6}, "from 0 to 2,000"),
    (
        "language",
        "write",
        {"run": 0, "text": "a", "at": 1, "length": 1, "temperature": -1},
        "temperature of 0 or more",
    ),
    ("tagging", "write", {"run": 0, "text": "a", "at": 1, "length": 3}, "does not write token by"),
    ("language", "compare", {"runs": [], "text": "a"}, "at least one run"),
    ("tagging", "compare", {"runs": [0], "text": "a"}, "does not write token by token"),
    ("language", "beam", {"run": 0, "text": "a", "width": 3}, "does not write by a beam search"),
    ("pairs", "beam", {"run": 0, "text": "a", "width": 1000}, "from 1 to 20"),
    ("pairs", "beam", {"run": 0, "text": "", "width": 2}, "at least one token"),
    ("language", "project", {"run": 0, "embedding": "x", "method": "pca"}, "unknown embedding"),
    (
        "language",
        "project",
        {"run": 0, "embedding": "embedding", "method": "umap"},
        "'pca', 'tsne'",
    ),
]


@pytest.mark.parametrize(("kind", "name", "request_", "words"), WRONG)
def test_wrong_requests_are_answered_in_words(sessions, kind, name, request_, words):
    with pytest.raises(ValueError, match=words):
        sessions[kind].answer(name, request_)


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        ({"name": "recurrent.h_l0", "unit": 8, "value": 0}, "from 0 to 7, got 8"),
        ({"name": "recurrent.i_l0", "unit": 0, "value": 0}, "unknown state"),
        ({"name": "recurrent.h_l2", "unit": 0, "value": 0}, "unknown state"),
        ({"name": "recurrent.h_l0_reverse", "unit": 0, "value": 0}, "unknown state"),
        ({"name": "h", "unit": 0, "value": 0}, "unknown state"),
        ({"name": "embedding.h_l0", "unit": 0, "value": 0}, "unknown state"),
        ({"name": "recurrent.h_l0", "unit": 0, "value": float("inf")}, "value: expected a number"),
    ],
)
def test_wrong_units_are_not_held(sessions, unit, words):
    request = {"run": 0, "text": "the", "at": 3, "length": 3, "set": [unit]}
    with pytest.raises(ValueError, match=words):
        sessions["language"].answer("write", request)


def test_a_slow_regular_expression_is_ended(sessions, monkeypatch):
    monkeypatch.setattr(patterns, "_MOST_SECONDS", 0.3)
    with pytest.raises(ValueError, match=r"takes more than 0\.3 seconds"):
        sessions["language"].answer("follow", {"run": 0, "pattern": r"(\w|\s|.)+%"})


def test_numbers_that_json_has_not(folders, tmp_path):
    folder = shutil.copytree(folders["language"], tmp_path / "run")
    loaded = load_run(folder)
    with torch.no_grad():
        loaded.model.scores.bias[0] = float("nan")
        loaded.model.recurrent.bias_ih_l1[:] = float("nan")
    Run(folder).save_model(loaded.model)
    session = Session([folder])
    read = session.answer("read", {"run": 0, "text": "the", "values": ["recurrent.h_l1"]})
    assert numbers(read["values"][0]).isnan().all()
    answers = [
        read,
        session.answer("fires", {"run": 0, "name": "recurrent.h_l1", "unit": 0}),
        session.answer("compare", {"runs": [0], "text": "the"}),
        session.answer("follow", {"run": 0, "property": "word start"}),
    ]
    for answer in answers:
        json.dumps(answer, allow_nan=False)
    with pytest.raises(ValueError, match="no finite scores"):
        session.answer("write", {"run": 0, "text": "the", "at": 3, "length": 3})


def test_a_run_that_is_still_training(folders, tmp_path):
    folder = shutil.copytree(folders["language"], tmp_path / "run")
    session = Session([folder])
    assert about(session)["notes"] == []
    request = {"run": 0, "text": "the cat", "values": [STATE["language"]]}
    before = session.answer("read", request)
    lock = Run(folder).lock()
    try:
        assert "The training is going on" in about(session)["notes"][0]
    finally:
        lock.release()
    loaded = load_run(folder)
    with torch.no_grad():
        loaded.model.embedding.weight += 1
    time.sleep(0.01)
    Run(folder).save_model(loaded.model)
    # The page keeps the model that it shows until it is loaded again.
    assert session.answer("read", request) == before
    about(session)
    after = session.answer("read", {**request, "known": 7, "version": before["version"]})
    assert after["known"] == 0
    assert after["version"] != before["version"]
    assert after["values"] != before["values"]


def test_a_run_without_its_data(folders, tmp_path):
    folder = shutil.copytree(folders["pairs"], tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    config["settings"]["data"] = str(tmp_path / "gone.tsv")
    config["versions"]["throughtime"] = "0.0.1"
    (folder / "config.json").write_text(json.dumps(config))
    session = Session([folder])
    run = about(session)
    assert run["parts"] == run["examples"] == []
    assert any("gone.tsv" in note for note in run["notes"])
    assert any("Trained with throughtime 0.0.1" in note for note in run["notes"])
    answer = session.answer("read", {"run": 0, "text": "the a cat"})
    assert answer["steps"]["encoder"] == ["the", "a", "cat"]
    assert [part["name"] for part in about(session)["parts"]] == ["encoder", "decoder"]
    with pytest.raises(ValueError, match=r"data of this run cannot be read: .*gone.tsv"):
        session.answer("fires", {"run": 0, "name": STATE["pairs"], "unit": 0})


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(ValueError, match="expected a run folder"):
        Session([tmp_path])


def test_a_model_without_recurrent_layers(tmp_path, save):
    folder = save(tmp_path / "run", "memory", problem="parity", network="window", hidden_size=8)
    session = Session([folder])
    assert names(about(session)) == []
    read = session.answer("read", {"run": 0, "text": "101"})
    assert len(read["top"]) == 3
    with pytest.raises(ValueError, match="unknown value"):
        session.answer("fires", {"run": 0, "name": "recurrent.h_l0", "unit": 0})


def test_a_long_computation_ends_with_the_session(folders):
    session = Session([folders["language"]])
    session.close()
    with pytest.raises(ValueError, match="is ending"):
        session.answer("fires", {"run": 0, "name": STATE["language"], "unit": 0})


def test_clients_that_ask_at_once_get_their_own_answers(folders):
    session = Session([folders["language"]])
    texts = [["the cat", "the dog sat on", "to the mat"], ["a", "cat, dog", "the dog ran to the"]]
    alone = Session([folders["language"]])
    requests = [
        [{"run": 0, "text": text, "values": [STATE["language"]]} for text in of_client * 6]
        for of_client in texts
    ]
    answers = [[], []]

    def ask(client):
        for request in requests[client]:
            answers[client].append(session.answer("read", request))
            write = {"run": 0, "text": request["text"], "at": 1, "length": 3, "seed": 0}
            session.answer(
                "write", {**write, "set": [{"name": STATE["language"], "unit": 1, "value": 9}]}
            )

    threads = [threading.Thread(target=ask, args=(client,)) for client in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for client in range(2):
        for request, answer in zip(requests[client], answers[client], strict=True):
            expected = alone.answer("read", request)
            assert answer["steps"] == expected["steps"]
            first, second = (numbers(a["values"][0]) for a in (answer, expected))
            torch.testing.assert_close(first, second)


def test_a_task_that_cannot_be_inspected(folders, monkeypatch):
    loaded = replace(load_run(folders["language"]), task=SimpleNamespace(name="pole"))
    monkeypatch.setattr(opened, "load_run", lambda folder: loaded)
    with pytest.raises(ValueError, match="the task pole cannot be inspected"):
        Session([folders["language"]])

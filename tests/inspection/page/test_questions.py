"""The answers of the questions of the lens are the numbers of the tensors."""

import re

import numpy as np
import pytest
import torch

from throughtime.inspection.page.session import Session
from throughtime.layers.evaluation import evaluating
from throughtime.models import EncoderDecoder, beam_search

from .answers import KINDS, STATE, held_out, numbers


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

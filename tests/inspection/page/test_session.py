"""What a run says of itself, readings as tensors, and sessions that several clients use."""

import json
import shutil
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from throughtime.inspection.page import opened
from throughtime.inspection.page.session import Session
from throughtime.inspection.recording import record
from throughtime.tasks.loading import load_run
from throughtime.tasks.run import Run

from .answers import KINDS, STATE, about, names, numbers


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

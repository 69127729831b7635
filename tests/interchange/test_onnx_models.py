"""Models that run step by step as ONNX files, and their check on ONNX Runtime."""

import errno
import functools
import typing

import numpy as np
import pytest
import torch

import throughtime as tt
from throughtime import tasks
from throughtime.interchange.onnx import save_onnx
from throughtime.interchange.onnx.checking import check_onnx
from throughtime.interchange.streamed import _PARTS, _WHOLE, outputs_of
from throughtime.models.classifier import Classifier
from throughtime.models.cloze import Cloze
from throughtime.models.encoder_decoder import EncoderDecoder
from throughtime.models.encoder_tree_decoder import EncoderTreeDecoder
from throughtime.models.search import greedy_search
from throughtime.models.tagger import Tagger
from throughtime.models.transcriber import SignalEncoder, Transcriber
from throughtime.models.tree_search import tree_search
from throughtime.models.writer import Writer

from .onnx_runs import session
from .streamed_models import MODELS, REFUSED, WHOLE


@pytest.mark.parametrize("name", MODELS)
def test_a_model_in_pieces_equals_the_model(name, tmp_path):
    torch.manual_seed(0)
    model = MODELS[name]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    save_onnx(model, tmp_path / "a.onnx")
    # The check compares a sequence in two pieces with the model on the whole.
    assert check_onnx(tmp_path / "a.onnx", model) < 1e-5
    with torch.no_grad():
        next(p for n, p in model.named_parameters() if "weight_ih" in n).add_(1.0)
    with pytest.raises(ValueError, match="the outputs differ from those of the model"):
        check_onnx(tmp_path / "a.onnx", model)


def written(model, folder):
    """The model with larger weights, after its files have been written."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    return save_onnx(model, folder / "a.onnx")


@pytest.mark.parametrize("name", WHOLE)
def test_a_model_of_whole_sequences_equals_the_model(name, tmp_path):
    model = WHOLE[name][0]().train()
    files = written(model, tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert check_onnx(tmp_path / "a.onnx", model) < 1e-5
    with torch.no_grad():
        # The vectors of a Verifier's persons serve the training alone, and are not written.
        first = next(
            p for n, p in model.named_parameters() if "embedding" not in n and n != "persons"
        )
        first.add_(0.5)
    with pytest.raises(ValueError, match="the outputs differ from those of the model"):
        check_onnx(tmp_path / "a.onnx", model)


def pair(**options):
    return EncoderDecoder(9, 8, hidden_size=6, **options)


def tree(**options):
    return EncoderTreeDecoder(9, 7, hidden_size=6, **options)


ALLOWED = ([1, 1, 1, 0], [[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 1, 1], [0, 1, 1, 1]], [1, 1, 0, 1])
# Each a choice of the networks that is written in a way of its own.
VARIANTS = {
    "no attention": lambda: pair(attention="none"),
    "no bridge": lambda: pair(attention="none", bidirectional=False),
    "dot": lambda: pair(attention="dot", input_feeding=True),
    "general, fed": lambda: pair(input_feeding=True, num_layers=2),
    "additive": lambda: pair(attention="additive"),
    "additive, fed": lambda: pair(attention="additive", input_feeding=True, cell="lstm"),
    "other cells": lambda: pair(cell="lem", encoder_cell="lstm", tied=True),
    "starts": lambda: pair(cell="slstm", learned_state=True),
    "depths": lambda: EncoderDecoder(8, 8, hidden_size=6, shared=True,
                                     encoder_options={"num_layers": 3}),
    "default gaps": lambda: pair(cell="ltc"),
    "projection": lambda: pair(cell="lstm", proj_size=3),
    "down": lambda: tree(recurrence="V"),
    "across": lambda: tree(recurrence="H", topology="end"),
    "ends": lambda: tree(topology="end", attention="none"),
    "two cells": lambda: tree(sibling_cell="gru", num_layers=2, attention="additive"),
    "gaps, both directions": lambda: Classifier(
        4, input_size=3, hidden_size=6, cell="cfc", has_gaps=True, bidirectional=True),
    "window of the last step": lambda: Classifier(
        4, vocab_size=9, hidden_size=6, network="window", window=3, pooling="last"),
    "mean": lambda: Classifier(
        4, vocab_size=9, hidden_size=6, pooling="mean", bidirectional=True, cell="ltc"),
    "allowed labels": lambda: Tagger(9, 4, letter_feature="none", hidden_size=6, allowed=ALLOWED),
    "one layer": lambda: Cloze(9, hidden_size=6, tied=True, embedding_size=4),
    "blocks": lambda: Transcriber(5, 4, hidden_size=6, bidirectional=True, stack=3,
                                  learned_state=True),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_variants_equal_the_model(name, tmp_path):
    model = VARIANTS[name]()
    written(model, tmp_path)
    assert check_onnx(tmp_path / "a.onnx", model) < 1e-5


def run_by_name(path, **values):
    ran = cached_session(path)
    passed = {i.name: values[i.name] for i in ran.get_inputs()}
    return dict(zip([o.name for o in ran.get_outputs()], ran.run(None, passed), strict=True))


cached_session = functools.cache(session)


def greedy(folder, source, lengths, most):
    """Decodes with the two files alone."""
    feed = {"tokens": source.numpy(), "lengths": np.array(lengths, np.int32)}
    memory = run_by_name(folder / "a_encoder.onnx", **feed)
    ran = session(folder / "a_decoder.onnx")
    about = ran.get_modelmeta().custom_metadata_map
    token, eos = np.full(len(source), int(about["bos"])), int(about["eos"])
    written, is_open = [[] for _ in lengths], np.ones(len(source), bool)
    for _ in range(most):
        names = [i.name for i in ran.get_inputs()]
        feed = {"token": token, **memory}
        outputs = ran.run(None, {name: feed[name] for name in names})
        outputs = dict(zip([o.name for o in ran.get_outputs()], outputs, strict=True))
        memory |= {n[:-2] + "_0": v for n, v in outputs.items() if n.endswith("_n")}
        token = outputs["scores"].argmax(-1)
        is_open &= token != eos
        for row in np.flatnonzero(is_open):
            written[row].append(int(token[row]))
    return written


@pytest.mark.parametrize(
    ("attention", "fed"), [("none", False), ("dot", True), ("general", True), ("additive", True)]
)
def test_greedy_search_by_the_two_files(attention, fed, tmp_path):
    model = pair(attention=attention, input_feeding=fed, cell="lstm")
    written(model, tmp_path)
    source, lengths = torch.randint(3, 9, (4, 6)), [6, 2, 5, 1]
    wanted = greedy_search(model, source, lengths, max_length=12)
    assert greedy(tmp_path, source, lengths, 12) == [each[0].tokens for each in wanted]


def greedy_tree(folder, source, most):
    """Writes a tree with the three files alone, of a model that predicts the topology."""
    feed = {"tokens": source.numpy(), "lengths": np.array([source.shape[1]], np.int32)}
    memory = run_by_name(folder / "a_encoder.onnx", **feed)
    reader, about = folder / "a_reader.onnx", session(folder / "a_reader.onnx")
    begin = int(about.get_modelmeta().custom_metadata_map["begin"])
    ids = lambda value: np.array([value])  # noqa: E731

    def read(label, move, down, across):
        """What each recurrence gives after a node that it reads."""
        states = {k: v for k, v in down.items() if k.startswith("vertical_")}
        states |= {k: v for k, v in across.items() if k.startswith("horizontal_")}
        outputs = run_by_name(reader, label=ids(label), move=ids(move), **states)
        return outputs | {n[:-2] + "_0": v for n, v in outputs.items() if n.endswith("_n")}

    first = read(begin, 0, memory, memory)
    nodes, parents, open_slots = [], [], [(-1, 0, first, first)]
    while open_slots and len(nodes) < most:
        parent, move, down, across = open_slots.pop()
        feed = memory | {"vertical": down["vertical"], "horizontal": across["horizontal"]}
        is_root = np.array([parent == -1 and move == 0])
        outputs = run_by_name(folder / "a_chooser.onnx", move=ids(move), is_root=is_root, **feed)
        has_children, has_next, label = np.unravel_index(
            outputs["scores"][0].argmax(), outputs["scores"][0].shape
        )
        nodes.append(int(label))
        parents.append(parent)
        state = read(label, move, down, across)
        if has_next:
            open_slots.append((parent, 1, down, state))
        if has_children:
            open_slots.append((len(nodes) - 1, 0, state, state))
    return nodes, parents


def test_greedy_search_of_trees_by_the_three_files(tmp_path):
    model = tree()
    # So that nodes have children and siblings.
    model.decoder.decisions.bias.data.fill_(0.4)
    written(model, tmp_path)
    source = torch.tensor([[3, 8, 1, 5, 2]])
    (best,) = tree_search(model, source, max_nodes=40)[0]
    nodes, parents = greedy_tree(tmp_path, source, 15)
    # Near its bound our search writes what ends the tree.
    count = min(15, len(best.labels))
    assert len(set(best.parents[:count])) > 2
    assert nodes == best.labels[:count]
    assert parents == best.parents[:count]


def test_a_source_that_is_a_tree_is_refused(tmp_path):
    model = EncoderTreeDecoder(7, 7, source="child-sum", hidden_size=6)
    with pytest.raises(ValueError, match="source=child-sum reads a tree from its leaves upwards"):
        save_onnx(model, tmp_path / "a.onnx")


def test_an_encoder_of_your_own_is_refused(tmp_path):
    class Mine(torch.nn.Module):
        output_size = 6

    model = EncoderDecoder(None, 8, hidden_size=6, encoder=Mine())
    with pytest.raises(ValueError, match="the encoder is a Mine of your own"):
        save_onnx(model, tmp_path / "a.onnx")


def test_an_encoder_of_signals_is_refused(tmp_path):
    encoder = SignalEncoder(5, hidden_size=6)
    with pytest.raises(ValueError, match="SignalEncoder, which reads the features of a signal"):
        save_onnx(EncoderDecoder(None, 8, hidden_size=6, encoder=encoder), tmp_path / "a.onnx")


def test_a_full_disk_leaves_the_file_that_was_there(tmp_path, monkeypatch):
    path = tmp_path / "a.onnx"
    path.write_bytes(b"before")

    def full(self, content):
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match=r"No space left on device.*a\.onnx"):
        save_onnx(tt.GRU(3, 4), path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.onnx"]
    assert path.read_bytes() == b"before"


@pytest.mark.parametrize("pooling", ["mean", "largest"])
def test_the_pooled_states_of_a_classifier(pooling, tmp_path):
    model = MODELS[pooling]()
    save_onnx(model, tmp_path / "a.onnx")
    outputs = {o.name: o.shape for o in session(tmp_path / "a.onnx").get_outputs()}
    assert outputs["scores"] == ["batch", 4]
    assert outputs["pooled_n"] == ["batch", 6]
    assert ("steps_n" in outputs) == (pooling == "mean")


@pytest.mark.parametrize("layer", [
    lambda: tt.LSTM(3, 5, 2), lambda: tt.Recurrent("lem", 3, 5, learned_state=True),
    lambda: tt.Recurrent("slstm", 3, 5, batch_first=True),
])  # fmt: skip
def test_layers_are_checked_too(layer, tmp_path):
    module = layer()
    save_onnx(module, tmp_path / "a.onnx")
    assert check_onnx(tmp_path / "a.onnx", module) < 1e-5


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_run_step_by_step_is_refused_with_the_reason(name, tmp_path):
    make, reason = REFUSED[name]
    with pytest.raises(ValueError, match=reason):
        save_onnx(make(), tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_outputs_are_those_of_the_forward_call():
    model, tokens = MODELS["tagger"]().eval(), torch.randint(9, (2, 5))
    assert torch.equal(outputs_of(model, tokens), model(tokens, [5, 5]).words)


def test_every_model_of_a_task_is_written_or_refused_with_a_reason_of_its_own():
    for task in map(tasks.get, tasks.names()):
        kind = typing.get_type_hints(task.model)["return"]
        if kind in (torch.nn.Module, Writer):
            # Models that the settings choose; all of them stand in the tables too.
            continue
        assert kind in {**_PARTS, **_WHOLE}, task.name

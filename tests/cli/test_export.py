"""throughtime export: a trained model as a C file or an ONNX file."""

import json

import numpy as np
import pytest
import torch

from throughtime.cli.main import main
from throughtime.interchange.streamed import outputs_of
from throughtime.models.search import greedy_search
from throughtime.tasks.run import Run

from ..interchange.c_runs import compiled, ran

TEXT = "def cat():\n    return 'mat'\n\n" * 60
SMALL = "--hidden_size 8 --epochs 1 --batch_size 8".split()


def trained(folder, task, *options):
    run = folder / task
    assert main(["train", task, *SMALL, *map(str, options), "--run", str(run)]) == 0
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of each task whose model runs step by step, and one that does not."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.py").write_text(TEXT)
    return {
        "char-lm": trained(folder, "char-lm", "--data", folder / "text.py", "--num_steps", 10),
        "memory": trained(folder, "memory", "--problem", "parity", "--length", 3),
        "addition": trained(
            *(
                folder,
                "addition",
                "--network",
                "two",
                "--num_pairs",
                60,
                "--num_test",
                20,
                "--digits",
                2,
            )
        ),
    }


def steps_of(run, model):
    if run.config()["task"] == "char-lm":
        return torch.randint(model.scores.out_features, (1, 12))
    return torch.randn(1, 12, model.input_size)


@pytest.mark.parametrize("task", ["char-lm", "memory"])
def test_a_trained_model_is_written_as_c(task, runs, said, tmp_path):
    run = Run(runs[task])
    status, out, err = said("export", runs[task], "--to", "c", "--output", tmp_path / "new")
    assert (status, err) == (0, "")
    name = task.replace("-", "_")
    assert [line.split()[0] for line in out.splitlines()] == [
        str(tmp_path / "new" / f"{name}{end}") for end in (".h", ".c", ".json")
    ]
    model = run.load_model(run.task())
    steps = steps_of(run, model)
    wanted = outputs_of(model, steps)[0].detach()
    library = compiled(tmp_path, [tmp_path / "new" / f"{name}.h"])
    got = ran(library, name, [steps[0].numpy()], wanted.shape[1], np.float32)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-5)
    about = json.loads((tmp_path / "new" / f"{name}.json").read_text())
    assert about["task"] == task
    assert about["assets"] == run.config()["assets"]


@pytest.mark.parametrize("task", ["char-lm", "memory"])
def test_a_trained_model_is_written_as_onnx(task, runs, said, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    words = ("export", runs[task], "--to", "onnx", "--output", tmp_path, "--name", "net")
    status, out, err = said(*words)
    assert (status, err) == (0, "")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.json", "net.onnx"]
    assert f"{tmp_path / 'net.onnx'}  {(tmp_path / 'net.onnx').stat().st_size:,} bytes" in out
    session = onnxruntime.InferenceSession(
        str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"]
    )
    assert "h_n" in [o.name for o in session.get_outputs()]


def test_an_onnx_file_that_computes_something_else_is_not_kept(runs, said, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    wrong = lambda module, steps: outputs_of(module, steps) + 1  # noqa: E731
    monkeypatch.setattr("throughtime.interchange.onnx.streaming.outputs_of", wrong)
    status, out, err = said("export", runs["memory"], "--to", "onnx", "--output", tmp_path)
    assert (status, out) == (1, "")
    assert "the outputs differ from those of the model" in err
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_cannot_run_step_by_step_is_refused_as_c(runs, said, tmp_path):
    status, _, err = said("export", runs["addition"], "--to", "c", "--output", tmp_path / "new")
    assert status == 1
    assert "it reads a whole source before it writes" in err
    assert not list(tmp_path.rglob("*.*"))


def test_an_encoder_and_a_decoder_are_two_onnx_files(runs, said, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    words = ("export", runs["addition"], "--to", "onnx", "--output", tmp_path, "--name", "sum")
    assert said(*words)[0] == 0
    names = ["sum.json", "sum_decoder.onnx", "sum_encoder.onnx"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    status, _, err = said(*words[:-1], "other")
    (tmp_path / "sum.json").unlink()
    status, _, err = said(*words)
    assert status == 1
    assert f"{tmp_path / 'sum_encoder.onnx'} exists" in err
    assert not (tmp_path / "sum.json").exists()

    run = Run(runs["addition"])
    task, about = run.task(), json.loads((tmp_path / "other.json").read_text())
    assert about["task"] == "addition"
    model = run.load_model(task)
    encoder, decoder = (
        onnxruntime.InferenceSession(str(tmp_path / f"other_{end}.onnx"))
        for end in ("encoder", "decoder")
    )
    outputs = [o.name for o in decoder.get_outputs()]
    for pair in task.ids("test")[:5]:
        ids = list(pair[0])
        memory = encoder.run(None, {"tokens": np.array([ids]), "lengths": np.int32([len(ids)])})
        feed = dict(zip([o.name for o in encoder.get_outputs()], memory, strict=True))
        token, target = np.array([model.bos]), []
        for _ in range(2 * len(ids) + 10):
            results = decoder.run(None, {"token": token, **feed})
            results = dict(zip(outputs, results, strict=True))
            feed |= {n[:-2] + "_0": v for n, v in results.items() if n.endswith("_n")}
            token = results["scores"].argmax(-1)
            if token[0] == model.eos:
                break
            target.append(int(token[0]))
        ((wanted,),) = greedy_search(model, torch.tensor([ids]))
        assert target == wanted.tokens


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--to", "c", "--name", "my-net"], "expected a name of letters, digits and underscores"),
        (["--to", "c", "--name", "../net"], "expected the name of a file"),
        (["--to", "onnx", "--name", "a/b"], "expected the name of a file"),
        (["--to", "tflite"], "--to: expected one of c, onnx, got tflite"),
        (["--to", "onnx", "--weights", "int8"], "--weights is an option of --to c"),
        (["--to", "c", "--weights", "int4"], "--weights: expected one of float, double, int8"),
        (["--to", "c", "--step", "9"], "expected the step of a model that was kept"),
        ([], "to"),
    ],
)
def test_wrong_options_are_refused(options, message, runs, said, tmp_path):
    status, out, err = said("export", runs["memory"], "--output", tmp_path, *options)
    assert status in (1, 2)
    assert out == ""
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_existing_files_stay_unless_they_may_be_replaced(runs, said, tmp_path):
    (tmp_path / "memory.json").write_text("mine")
    words = ("export", runs["memory"], "--to", "c", "--output", tmp_path)
    status, _, err = said(*words)
    assert status == 1
    assert f"{tmp_path / 'memory.json'} exists" in err
    assert [p.name for p in tmp_path.iterdir()] == ["memory.json"]
    assert said(*words, "--overwrite", "--binary", "--weights", "int8")[0] == 0
    assert (tmp_path / "memory.bin").exists()
    assert (tmp_path / "memory.json").read_text() != "mine"


def test_the_output_is_a_folder(runs, said, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, err = said("export", runs["memory"], "--to", "c", "--output", tmp_path / "file")
    assert status == 2
    assert "--output: expected a folder, got the file" in err

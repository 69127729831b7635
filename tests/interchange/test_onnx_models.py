"""Models that run step by step as ONNX files, and their check on ONNX Runtime."""

import pytest
import torch

import throughtime as tt
from throughtime.interchange.onnx import save_onnx
from throughtime.interchange.onnx.checking import check_onnx
from throughtime.interchange.streamed import outputs_of

from .onnx_runs import session
from .streamed_models import MODELS, REFUSED


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
        next(iter(model.recurrent.parameters())).add_(1.0)
    with pytest.raises(ValueError, match="the outputs differ from those of the model"):
        check_onnx(tmp_path / "a.onnx", model)


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

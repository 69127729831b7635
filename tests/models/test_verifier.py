"""Verifier: unit vectors of sequences, and their cosines with persons."""

import pytest
import torch

from throughtime.models.verifier import Verifier


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
def test_vectors_have_the_length_one_and_padding_does_not_leak(pooling):
    torch.manual_seed(0)
    options = {"input_size": 3, "hidden_size": 5, "vector_size": 4, "pooling": pooling}
    model = Verifier(6, cell="gru", bidirectional=True, **options).double()
    x, lengths = torch.randn(3, 9, 3, dtype=torch.float64), torch.tensor([9, 4, 1])
    vectors = model(x, lengths)
    assert vectors.shape == (3, 4)
    assert vectors.norm(dim=1).allclose(torch.ones(3, dtype=torch.float64))
    for row, length, vector in zip(x, lengths, vectors, strict=True):
        alone = model(row[None, :length], length[None])[0]
        assert alone.allclose(vector, atol=1e-12)
    persons = model.persons / model.persons.norm(dim=1, keepdim=True)
    assert model.cosines(vectors).allclose(vectors @ persons.T)
    assert model.threshold.isnan()


def test_a_model_for_no_person_is_refused():
    with pytest.raises(ValueError, match="num_persons"):
        Verifier(0, input_size=3)

"""The Tree-LSTM: its equations, one call for each height, deep trees, bridges and bad input."""

import pytest
import torch

from throughtime.models import EncoderTreeDecoder, TreeEncoder, Trees

from .plain_trees import plain_encoding, random_tree

V = 5


def some_trees():
    draw = torch.Generator().manual_seed(3)
    return [random_tree(size, V, draw) for size in (7, 1, 12, 3)]


def small_encoder(cell):
    torch.manual_seed(0)
    most = {"n-ary": 12}.get(cell)
    return TreeEncoder(V, cell=cell, hidden_size=4, embedding_size=3, max_children=most).double()


@pytest.mark.parametrize("cell", ["child-sum", "n-ary"])
def test_a_batch_has_the_states_and_gradients_of_a_recursion(cell):
    encoder, trees = small_encoder(cell), some_trees()
    h, (root_h, root_c) = encoder(Trees.of(trees))
    assert h.shape == (4, 12, 4)
    expected = [plain_encoding(encoder, *tree) for tree in trees]
    for b, (plain_h, plain_c) in enumerate(expected):
        n = len(plain_h)
        torch.testing.assert_close(h[b, :n], plain_h)
        assert (h[b, n:] == 0).all()
        torch.testing.assert_close(root_h[0, b], plain_h[0])
        torch.testing.assert_close(root_c[0, b], plain_c)
    weights = list(encoder.parameters())
    ours = torch.autograd.grad((h * h).sum() + root_c.sum(), weights)
    plain = sum((plain_h * plain_h).sum() + plain_c.sum() for plain_h, plain_c in expected)
    for a, b in zip(ours, torch.autograd.grad(plain, weights), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("cell", ["child-sum", "n-ary"])
def test_only_an_n_ary_encoder_minds_the_order_of_children(cell):
    trees = Trees.of([([0, 1, 2], [-1, 0, 0]), ([0, 2, 1], [-1, 0, 0])])
    _, (root, _) = small_encoder(cell)(trees)
    assert torch.allclose(root[0, 0], root[0, 1]) == (cell == "child-sum")


@pytest.mark.parametrize(
    ("form", "N"),
    [("deep", 1000), ("wide", 10_000), pytest.param("deep", 10_000, marks=pytest.mark.slow)],
)
def test_a_tree_of_many_nodes_has_finite_gradients(form, N):
    encoder = small_encoder("child-sum").float()
    parents = list(range(-1, N - 1)) if form == "deep" else [-1] + [0] * (N - 1)
    _, (_, root_c) = encoder(Trees.of([([1] * N, parents)]))
    root_c.sum().backward()
    assert all(weight.grad.isfinite().all() for weight in encoder.parameters())
    assert encoder.embedding.weight.grad[1].abs().sum() > 0


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("source", ["child-sum", "n-ary"])
def test_a_tree_autoencoder_sees_all_of_its_source(source, cell):
    torch.manual_seed(0)
    model = EncoderTreeDecoder(
        *(V, V),
        source=source,
        max_children={"n-ary": 12}.get(source),
        cell=cell,
        hidden_size=4,
    ).double()
    trees = some_trees()
    before = model.log_likelihood(Trees.of(trees), None, Trees.of(trees))
    assert before.shape == (4,)
    # The last leaf of a source, with another label.
    labels, parents = trees[2]
    changed = [*labels[:-1], (labels[-1] + 1) % V]
    sources = [*trees[:2], (changed, parents), trees[3]]
    after = model.log_likelihood(Trees.of(sources), None, Trees.of(trees))
    assert ((before - after).abs() > 1e-12).tolist() == [False, False, True, False]


def test_what_is_read_must_be_what_the_model_reads():
    trees, tokens = Trees.of(some_trees()), torch.zeros(4, 3, dtype=torch.int64)
    of_trees = EncoderTreeDecoder(V, V, source="child-sum", hidden_size=4)
    with pytest.raises(ValueError, match="expected trees as the source"):
        of_trees.encode(tokens)
    with pytest.raises(ValueError, match="without lengths"):
        of_trees.encode(trees, [1, 1, 1, 1])
    with pytest.raises(ValueError, match="expected the source as a tensor"):
        EncoderTreeDecoder(V, V, hidden_size=4).encode(trees)
    few = TreeEncoder(V, cell="n-ary", max_children=1, hidden_size=4)
    with pytest.raises(ValueError, match="tree 1, node 0: expected at most max_children=1"):
        few(Trees.of([([0, 1], [-1, 0]), ([0, 1, 2], [-1, 0, 0])]))
    with pytest.raises(ValueError, match='expected max_children with cell="n-ary"'):
        TreeEncoder(V, max_children=2)
    with pytest.raises(ValueError, match="unknown cell of a tree encoder"):
        TreeEncoder(V, cell="child_sum")
    with pytest.raises(
        ValueError, match="at least one valid step in every row, got length 0 in row 1"
    ):
        EncoderTreeDecoder(V, V, hidden_size=4).encode(tokens, [3, 0, 1, 1])

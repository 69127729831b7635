"""The tree decoder: its equations, its probabilities, and how few calls it takes."""

import pytest
import torch

from throughtime import cells
from throughtime.layers import Recurrent
from throughtime.models import EncoderTreeDecoder, Trees
from throughtime.models.tree_decoder import log_probabilities_of

from .plain_trees import Leaky, all_trees, random_tree, tree_log_probability

V, LENGTHS = 5, [4, 2, 3, 4, 1]
CELLS = {"lstm": "lstm", "gru": "gru", "own": Leaky()}


def small_model(**options):
    torch.manual_seed(0)
    small = {"hidden_size": 6, "embedding_size": 4}
    return EncoderTreeDecoder(9, V, **{**small, **options}).double().eval()


def sources(rows=5):
    draw = torch.Generator().manual_seed(1)
    return torch.randint(0, 9, (rows, 4), generator=draw)


def some_trees():
    draw = torch.Generator().manual_seed(2)
    return [random_tree(size, V, draw) for size in (9, 1, 6, 14, 2)]


# Each recurrence with each topology; cells and kinds of attention in turn.
SETTINGS = [
    ("V", "predicted", "lstm", "none"),
    ("V", "predicted", "gru", "general"),
    ("V", "end", "own", "general"),
    ("V", "end", "lstm", "none"),
    ("H", "predicted", "gru", "none"),
    ("H", "predicted", "own", "additive"),
    ("H", "end", "lstm", "additive"),
    ("H", "end", "gru", "none"),
    ("VH", "predicted", "own", "none"),
    ("VH", "predicted", "lstm", "general"),
    ("VH", "end", "gru", "general"),
    ("VH", "end", "own", "none"),
]


@pytest.mark.parametrize(("recurrence", "topology", "cell", "attention"), SETTINGS)
def test_a_batch_has_the_probabilities_of_a_recursion(recurrence, topology, cell, attention):
    options = {"recurrence": recurrence, "topology": topology, "attention": attention}
    model, trees = small_model(cell=CELLS[cell], **options), some_trees()
    for weight in model.decoder.parameters():
        torch.nn.init.uniform_(weight, -0.7, 0.7)
    together = model.log_likelihood(sources(), LENGTHS, Trees.of(trees))
    memory = model.encode(sources(), LENGTHS)
    expected = [
        tree_log_probability(model.decoder, labels, parents, memory, b)
        for b, (labels, parents) in enumerate(trees)
    ]
    torch.testing.assert_close(together, torch.stack(expected))
    # And their gradients.
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    ours = torch.autograd.grad(together.sum(), weights, allow_unused=True)
    plain = torch.autograd.grad(sum(expected), weights, allow_unused=True)
    for a, b in zip(ours, plain, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b)


def test_two_cells_may_differ_and_layers_may_be_stacked():
    model, trees = small_model(cell="gru", sibling_cell="lstm"), some_trees()
    memory = model.encode(sources(), LENGTHS)
    expected = [
        tree_log_probability(model.decoder, *tree, memory, b) for b, tree in enumerate(trees)
    ]
    batch = Trees.of(trees)
    torch.testing.assert_close(
        model.log_likelihood(sources(), LENGTHS, batch), torch.stack(expected)
    )
    deep = small_model(num_layers=2)
    together = deep.log_likelihood(sources(), LENGTHS, batch)
    alone = [
        deep.log_likelihood(sources()[b : b + 1, :n], [n], Trees.of([tree]))
        for b, (n, tree) in enumerate(zip(LENGTHS, trees, strict=True))
    ]
    torch.testing.assert_close(together, torch.cat(alone))


@pytest.mark.parametrize("topology", ["predicted", "end"])
def test_gradients_are_those_of_finite_differences(topology):
    model = small_model(hidden_size=2, embedding_size=2, topology=topology, cell="gru")
    weights = {k: v.detach().requires_grad_() for k, v in model.decoder.named_parameters()}
    batch = Trees.of(some_trees()[1:3])
    memory = model.encode(sources(2), [4, 2])

    def likelihood(*values):
        named = dict(zip(weights, values, strict=True))
        scores = torch.func.functional_call(model.decoder, named, (batch, memory))
        return log_probabilities_of(scores).sum()

    assert torch.autograd.gradcheck(likelihood, tuple(weights.values()), fast_mode=True)


@pytest.mark.parametrize("topology", ["predicted", "end"])
@pytest.mark.parametrize("recurrence", ["V", "VH"])
def test_the_probabilities_of_all_trees_sum_to_one(recurrence, topology):
    torch.manual_seed(0)
    model = EncoderTreeDecoder(9, 2, recurrence=recurrence, topology=topology, hidden_size=4)
    model = model.double().eval()
    with torch.no_grad():
        # Trees of six and more nodes are so rare that they may be left out.
        if topology == "predicted":
            model.decoder.decisions.bias.fill_(-5.0)
        else:
            model.decoder.scores.bias.copy_(torch.tensor([0.3, 0.0, 5.5]))
        trees = all_trees(2, 4)
        assert len(trees) == 2 + 4 + 2 * 8 + 5 * 16
        source = sources(1).expand(len(trees), -1)
        total = model.log_likelihood(source, None, Trees.of(trees)).exp().sum()
    assert abs(total.item() - 1) < 1e-3
    larger = all_trees(2, 1)
    assert model.log_likelihood(source[:2], None, Trees.of(larger)).exp().sum() < 1 - 1e-3


@pytest.mark.parametrize("topology", ["predicted", "end"])
def test_equally_labelled_siblings_may_have_different_children_unless_v_is_alone(topology):
    labels, parents = [0, 1, 2, 1, 3], [-1, 0, 1, 0, 3]
    for recurrence, differ in (("V", False), ("H", True), ("VH", True)):
        model = small_model(recurrence=recurrence, topology=topology)
        scores = model(sources(1), None, Trees.of([(labels, parents)]))
        first, second = scores.labels[2], scores.labels[4]
        assert torch.equal(first, second) != differ


class Calls:
    """Counts the calls of recurrent layers, and their steps with padding."""

    def __init__(self, monkeypatch):
        self.num, self.steps = 0, 0
        forward = Recurrent.forward

        def counted(layer, input, *arguments, **named):
            self.num += 1
            self.steps += input.shape[0] * input.shape[1]
            return forward(layer, input, *arguments, **named)

        monkeypatch.setattr(Recurrent, "forward", counted)


def chain(size):
    return [0] * size, list(range(-1, size - 1))


def star(size):
    return [0] * size, [-1] + [0] * (size - 1)


@pytest.mark.parametrize("form", [chain, star])
def test_a_tree_of_ten_thousand_nodes_takes_few_calls(form, monkeypatch):
    model = small_model(attention="none").float()
    memory = model.encode(sources(2))
    calls = Calls(monkeypatch)
    trees = Trees.of([form(10_000), ([0, 1, 2], [-1, 0, 0])])
    model.decoder.log_likelihood(trees, memory).sum().backward()
    assert calls.num <= 8
    assert calls.steps <= 4 * 2 * 10_005
    for weight in model.decoder.parameters():
        assert weight.grad.isfinite().all()


def test_a_batch_takes_no_more_calls_than_its_most_branched_tree(monkeypatch):
    model, trees = small_model(), some_trees()
    memory = model.encode(sources())
    calls = Calls(monkeypatch)
    model.decoder(Trees.of(trees), memory)
    alone = []
    for b, tree in enumerate(trees):
        calls.num = 0
        model.decoder(Trees.of([tree]), memory.rows(torch.tensor([b])))
        alone.append(calls.num)
    calls.num = 0
    model.decoder(Trees.of(trees), memory)
    # Besides, branches of very different lengths are read in separate calls.
    assert calls.num <= 2 * max(alone)


def test_padding_and_other_trees_have_no_influence():
    model, trees = small_model(), some_trees()
    alone = model.log_likelihood(sources()[1:2, :2], [2], Trees.of(trees[1:2]))
    batch = Trees.of(trees)
    batch.labels[1, 1:], batch.parents[1, 1:] = 77, 99
    together = model.log_likelihood(sources(), LENGTHS, batch)
    torch.testing.assert_close(together[1:2], alone)


def test_the_scores_of_slots_add_up_to_the_likelihood():
    model = small_model(topology="end")
    scores = model(sources(), LENGTHS, Trees.of(some_trees()))
    assert scores.labels.shape == (2 * (9 + 1 + 6 + 14 + 2), V + 1)
    logs = log_probabilities_of(scores)
    assert scores.weights.shape == (len(logs), 4)
    torch.testing.assert_close(scores.weights.sum(1), torch.ones_like(logs))
    rows = [logs[scores.slots.rows == b].sum() for b in range(5)]
    torch.testing.assert_close(
        torch.stack(rows), model.log_likelihood(sources(), LENGTHS, Trees.of(some_trees()))
    )


@pytest.mark.parametrize(
    ("trees", "message"),
    [
        ([([0, 1], [-1, 1])], "tree 0, node 1: expected an index from 0 to 0 as the parent, got 1"),
        ([([0], [-1]), ([0, 1], [-1, -1])], "tree 1, node 1: expected an index from 0"),
        ([([0], [0])], "tree 0, node 0: expected -1 as the parent, got 0"),
        ([([0], [-1]), ([0, 5], [-1, 0])], "tree 1, node 1: expected a label from 0 to 4, got 5"),
        ([([0], [-1]), ([], [])], "tree 1: expected at least one node, got none"),
        ([([0], [-1])] * 3, "expected 2 tree.s., as many as the memory has sources, got 3"),
    ],
)
def test_a_wrong_tree_is_refused_with_its_place(trees, message):
    with pytest.raises(ValueError, match=message):
        small_model().log_likelihood(sources(2), None, Trees.of(trees))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recurrence": "HV"}, 'unknown recurrence "HV"'),
        ({"topology": "ends"}, 'unknown topology "ends"; did you mean "end"'),
        ({"attention": "dots"}, 'unknown attention "dots"'),
        ({"recurrence": "H", "sibling_cell": "gru"}, "sibling_cell .* would have no effect"),
        ({"decoder_options": {"bidirectional": True}}, "bidirectional=True would have no effect"),
        ({"source": "trees"}, 'unknown source "trees"'),
        ({"max_children": 3}, "max_children=3 .* would have no effect"),
        ({"source": "n-ary"}, 'max_children with cell="n-ary"'),
        ({"source": "child-sum", "encoder_cell": "gru"}, "encoder_cell .* would have no effect"),
    ],
)
def test_an_option_without_effect_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        small_model(**options)


@pytest.mark.slow
@pytest.mark.parametrize("cell", [name for name in cells.names() if not cells.get(name).inputs])
def test_any_cell_reads_a_batch_as_it_reads_each_tree(cell):
    model = small_model(cell=cell, encoder_cell="gru", topology="end", backend="reference")
    trees = some_trees()
    with torch.no_grad():
        together = model.log_likelihood(sources(), None, Trees.of(trees))
        alone = [
            model.log_likelihood(sources()[b : b + 1], None, Trees.of([tree]))
            for b, tree in enumerate(trees)
        ]
    torch.testing.assert_close(together, torch.cat(alone))

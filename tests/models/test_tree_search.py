"""Searches of trees: the best tree by brute force, bounds, grammars, and eight trees learnt."""

import math

import pytest
import torch

from throughtime.models import EncoderTreeDecoder, Grammar, Trees, tree_search

from .plain_trees import Leaky, all_trees, random_tree

V = 3
TOPOLOGIES = ("predicted", "end")
every_topology = pytest.mark.parametrize("topology", TOPOLOGIES)


def small_model(seed=0, **options):
    torch.manual_seed(seed)
    small = {"hidden_size": 6, "embedding_size": 4}
    model = EncoderTreeDecoder(9, V, **{**small, **options}).double().eval()
    for weight in model.decoder.parameters():
        torch.nn.init.uniform_(weight, -1, 1)
    return model


def sources(rows=2):
    draw = torch.Generator().manual_seed(1)
    return torch.randint(0, 9, (rows, 4), generator=draw)


def likelihoods(model, source, trees):
    """log P of each of many trees given the one source."""
    with torch.no_grad():
        return model.log_likelihood(source.expand(len(trees), -1), None, Trees.of(trees))


@every_topology
@pytest.mark.parametrize("recurrence", ["H", "VH"])
def test_a_beam_that_drops_nothing_gives_all_trees_in_their_order(topology, recurrence):
    model = small_model(topology=topology, recurrence=recurrence)
    trees = all_trees(V, 3)
    results = tree_search(model, sources(), width=400, n_best=len(trees), max_nodes=3)
    for b, hypotheses in enumerate(results):
        expected, order = likelihoods(model, sources()[b : b + 1], trees).sort(descending=True)
        assert len(hypotheses) == len(trees)
        assert torch.allclose(torch.tensor([h.score for h in hypotheses]).double(), expected)
        best = trees[int(order[0])]
        assert (hypotheses[0].labels, hypotheses[0].parents) == best


@every_topology
@pytest.mark.parametrize("cell", ["lstm", "gru", Leaky()], ids=["lstm", "gru", "own"])
def test_the_score_is_the_likelihood_of_the_tree(topology, cell):
    model = small_model(topology=topology, cell=cell, attention="additive", num_layers=2)
    results = tree_search(model, sources(5), [4, 1, 3, 2, 4], width=3, n_best=2, max_nodes=30)
    for b, hypotheses in enumerate(results):
        length = [4, 1, 3, 2, 4][b]
        for h in hypotheses:
            score = likelihoods(model, sources(5)[b : b + 1, :length], [(h.labels, h.parents)])
            assert h.score == pytest.approx(score.item(), rel=1e-6)
            assert h.attention.shape == (len(h.labels), length)
            assert torch.allclose(h.attention.sum(1), torch.ones(len(h.labels)).double())
    # A wide beam of several sources finds what it finds for each alone.
    alone = tree_search(model, sources(5)[2:3, :3], width=3, n_best=2, max_nodes=30)
    assert [h.labels for h in alone[0]] == [h.labels for h in results[2]]


@every_topology
def test_the_attention_is_that_of_the_forced_tree(topology):
    model = small_model(topology=topology, attention="general")
    [[h]] = tree_search(model, sources(1), width=3, max_nodes=12)
    scores = model(sources(1), None, Trees.of([(h.labels, h.parents)]))
    torch.testing.assert_close(h.attention, scores.weights[: len(h.labels)].detach())
    assert tree_search(model, sources(1), keep_attention=False)[0][0].attention is None


@every_topology
@pytest.mark.parametrize("bias", [9.0, math.nan])
def test_a_search_of_a_model_that_never_ends_a_tree_ends(topology, bias):
    model = small_model(topology=topology)
    with torch.no_grad():
        if topology == "predicted":
            model.decoder.decisions.bias.fill_(bias)
        else:
            model.decoder.scores.bias[-1] = -bias
    for width in (1, 3):
        [[h]] = tree_search(model, sources(1), width=width, max_nodes=9, max_depth=4)
        assert len(h.labels) <= 9
        depths = [0]
        for parent in h.parents[1:]:
            depths.append(depths[parent] + 1)
        assert max(depths) <= 4
        assert not h.is_finished
        if not math.isnan(bias):
            assert len(h.labels) == 9


def test_a_tree_that_the_model_ends_is_finished():
    model = small_model()
    with torch.no_grad():
        model.decoder.decisions.bias.fill_(-9.0)
    [[h]] = tree_search(model, sources(1), max_nodes=1)
    assert h.is_finished
    assert h.parents == [-1]


# 0 is a sum of two, 1 a negation, 2 a leaf; no negation of a negation.
GRAMMAR = Grammar(V, {0: [2], 1: [1], 2: [0]}, {None: [[0, 1]], 1: [[0, 2]]})


def is_of_grammar(labels, parents):
    arity = [0] * len(labels)
    for parent in parents[1:]:
        arity[parent] += 1
    return (
        labels[0] != 2
        and all({0: 2, 1: 1, 2: 0}[y] == n for y, n in zip(labels, arity, strict=True))
        and not any(p >= 0 and labels[p] == labels[i] == 1 for i, p in enumerate(parents))
    )


@every_topology
def test_a_grammar_allows_exactly_its_trees(topology):
    model = small_model(topology=topology)
    trees = [tree for tree in all_trees(V, 5) if is_of_grammar(*tree)]
    [hypotheses] = tree_search(
        model, sources(1), width=500, n_best=500, max_nodes=5, grammar=GRAMMAR
    )
    finished = {(tuple(h.labels), tuple(h.parents)): h.score for h in hypotheses}
    assert len(hypotheses) == len(finished)
    assert set(finished) == {(tuple(labels), tuple(parents)) for labels, parents in trees}
    assert len(trees) == 10
    scores = likelihoods(model, sources(1), trees)
    for (labels, parents), score in zip(trees, scores.tolist(), strict=True):
        assert finished[tuple(labels), tuple(parents)] == pytest.approx(score, rel=1e-6)


@every_topology
def test_a_grammar_without_a_way_to_an_end_gives_a_part(topology):
    # A sum needs two children, and no leaf is allowed.
    endless = Grammar(V, {0: [2]}, {None: [[0]], 0: [[0]]})
    [[h]] = tree_search(
        small_model(topology=topology), sources(1), width=2, max_nodes=6, grammar=endless
    )
    assert not h.is_finished
    assert set(h.labels) == {0}


def test_the_observed_grammar_is_the_smallest():
    trees = Trees.of([([0, 1, 2], [-1, 0, 0]), ([1, 2], [-1, 0])])
    grammar = Grammar.observed(V, [trees])
    at = (torch.tensor([V, 0, 0, 0, 1, 2]), torch.tensor([0, 0, 1, 7, 0, 0]))
    allowed = [row.nonzero().flatten().tolist() for row in grammar.labels(*at)]
    assert allowed == [[0, 1], [1], [2], [2], [2], [0, 1, 2]]
    counts = torch.arange(4)
    assert grammar.may_have(torch.tensor(0), counts).tolist() == [False, False, True, False]
    assert grammar.may_have(torch.tensor(1), counts).tolist() == [True, True, False, False]
    assert grammar.may_have_more(torch.tensor(0), counts).tolist() == [True, True, False, False]
    free = Grammar(V)
    assert free.may_have_more(torch.tensor([0]), torch.tensor([99])).all()
    assert free.may_have(torch.tensor([0]), torch.tensor([99])).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((V, {3: [1]}), "expected labels from 0 to 2 in arities, got 3"),
        ((V, {0: []}), "label 0 at least one arity"),
        ((V, {0: [-1]}), "none below 0"),
        ((V, None, {0: [[7]]}), "in children of 0, got 7"),
        ((V, None, {0: []}), "children of 0 at least one collection"),
        ((V, None, {0: [[1], []]}), "none that is empty"),
    ],
)
def test_a_wrong_grammar_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Grammar(*arguments)


def test_wrong_settings_of_a_search_are_refused():
    model = small_model()
    for settings, message in (
        ({"width": 0}, "width as a whole number of at least 1"),
        ({"n_best": 2}, "n_best of at most width=1"),
        ({"max_nodes": 0}, "max_nodes"),
        ({"max_depth": -1}, "max_depth of 0 or more"),
        ({"grammar": Grammar(V + 1)}, "a grammar of num_labels=3"),
    ):
        with pytest.raises(ValueError, match=message):
            tree_search(model, sources(1), **settings)


@pytest.mark.parametrize(
    ("source", "topology", "recurrence"),
    [("sequence", "predicted", "VH"), ("child-sum", "end", "VH")],
)
def test_eight_trees_are_learnt_exactly(source, topology, recurrence):
    torch.manual_seed(0)
    draw = torch.Generator().manual_seed(5)
    trees = [random_tree(size, 6, draw) for size in (6, 5, 1, 7, 3, 4, 6, 2)]
    batch = Trees.of(trees)
    settings = {"topology": topology, "recurrence": recurrence, "hidden_size": 48}
    model = EncoderTreeDecoder(8, 6, source=source, **settings)
    read = torch.arange(8).unsqueeze(1) if source == "sequence" else batch
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(150):
        optimizer.zero_grad()
        logs = model.log_likelihood(read, None, batch)
        if logs.min() > -0.4:
            break
        (-logs.mean()).backward()
        optimizer.step()
    results = tree_search(model, read, width=2)
    assert [(h.labels, h.parents) for [h] in results] == trees
    assert all(h.is_finished for [h] in results)
    assert all(h.score > -1 for [h] in results)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["deep", "wide"])
def test_a_tree_of_ten_thousand_nodes_is_written(form):
    model = small_model(hidden_size=4)
    with torch.no_grad():
        is_deep = form == "deep"
        model.decoder.decisions.bias.copy_(torch.tensor([99.0, -99.0]) * (1 if is_deep else -1))
        # A root has no sibling, so that a wide tree needs children below it.
    chain = Grammar(V, {0: [10_000 - 1], 1: [0]}, {None: [[0]], 0: [[1]]})
    settings = {"grammar": None if is_deep else chain, "max_nodes": 10_000, "max_depth": 10_000}
    [[h]] = tree_search(model, sources(1), **settings)
    assert len(h.labels) == 10_000
    assert h.parents == (list(range(-1, 9_999)) if is_deep else [-1] + [0] * 9_999)
    score = likelihoods(model, sources(1), [(h.labels, h.parents)])
    assert h.score == pytest.approx(score.item(), rel=1e-4)

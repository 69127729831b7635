"""The CRF: sums, best paths and marginals beside enumeration of all label sequences, in float64."""

import itertools

import pytest
import torch

from throughtime.layers.crf import CRF
from throughtime.layers.label_softmax import LabelSoftmax

K, LENGTHS = 3, [5, 1, 3, 2]


def crf_and_scores(allowed=None, scale=1.0, dtype=torch.float64):
    torch.manual_seed(0)
    crf = CRF(K, allowed, dtype=dtype)
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter, std=scale)
    return crf, scale * torch.randn(len(LENGTHS), max(LENGTHS), K, dtype=dtype)


ALLOWED = (
    torch.tensor([True, True, False]),
    # Label 2 follows 1 and 2 only, and 0 does not follow 2.
    torch.tensor([[True, True, False], [True, True, True], [False, True, True]]),
    torch.tensor([True, True, True]),
)


def sequences(crf, scores, row, allowed=None):
    """Every allowed label sequence of a row with its score, by the definition."""
    table = []
    for y in itertools.product(range(K), repeat=LENGTHS[row]):
        if allowed is not None:
            start, between, end = allowed
            is_allowed = start[y[0]] and end[y[-1]]
            is_allowed = is_allowed and all(between[a, b] for a, b in itertools.pairwise(y))
            if not is_allowed:
                continue
        score = crf.start[y[0]] + crf.end[y[-1]]
        score = score + sum(scores[row, t, label] for t, label in enumerate(y))
        score = score + sum(crf.transitions[a, b] for a, b in itertools.pairwise(y))
        table.append((y, score))
    return table


# With scores of a hundred the cell would leave the range of float64, and logarithms take over.
@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("allowed", [None, ALLOWED], ids=["free", "constrained"])
def test_it_is_the_sum_over_all_label_sequences(scale, allowed):
    crf, scores = crf_and_scores(allowed, scale)
    lengths, e = torch.tensor(LENGTHS), scores.clone().requires_grad_()
    assert crf._is_in_range(scores, lengths, crf._potentials()) == (scale == 1.0)
    total = crf.log_partition(e, lengths)
    marginals = crf.marginals(scores, lengths)
    labels, best = crf.viterbi(scores, lengths)
    k_labels, k_scores = crf.k_best(scores, 4, lengths)
    expected = []
    for row, length in enumerate(LENGTHS):
        table = sequences(crf, e, row, allowed)
        values = torch.stack([score for _, score in table])
        expected.append(torch.logsumexp(values, 0))
        chances = values.softmax(0)
        for t, k in itertools.product(range(length), range(K)):
            share = sum(
                (p for (y, _), p in zip(table, chances, strict=True) if y[t] == k), e.new_zeros(())
            )
            torch.testing.assert_close(marginals[row, t, k], share, atol=1e-12, rtol=1e-9)
        assert (marginals[row, length:] == 0).all()
        assert (labels[row, length:] == 0).all()
        ranked = sorted(table, key=lambda entry: -entry[1].item())[:4]
        assert tuple(labels[row, :length].tolist()) == ranked[0][0]
        torch.testing.assert_close(best[row], ranked[0][1])
        for i, (y, score) in enumerate(ranked):
            assert tuple(k_labels[row, i, :length].tolist()) == y
            torch.testing.assert_close(k_scores[row, i], score)
        assert (k_scores[row, len(ranked) :] == -torch.inf).all()
        y = torch.zeros(1, max(LENGTHS), dtype=torch.int64)
        y[0, :length] = torch.tensor(table[-1][0])
        likelihood = crf.log_likelihood(scores[row : row + 1], y, [length])
        torch.testing.assert_close(likelihood[0], table[-1][1] - expected[-1], atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(total, torch.stack(expected))
    inputs = [e, *crf.parameters()]
    ours = torch.autograd.grad(total.sum(), inputs)
    for gradient, by_hand in zip(
        ours, torch.autograd.grad(sum(expected), inputs, allow_unused=True), strict=True
    ):
        torch.testing.assert_close(gradient, by_hand, atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize("scale", [1.0, 60.0])
def test_gradcheck(scale):
    crf, scores = crf_and_scores(None, scale)
    labels = torch.randint(0, K, scores.shape[:2])

    def likelihood(e, transitions, start, end):
        parameters = {"transitions": transitions, "start": start, "end": end}
        return torch.func.functional_call(crf, parameters, (e, labels, torch.tensor(LENGTHS)))

    inputs = [scores, crf.transitions, crf.start, crf.end]
    assert torch.autograd.gradcheck(likelihood, [x.detach().requires_grad_() for x in inputs])


@pytest.mark.parametrize("scale", [1.0, 20.0, 100.0])
def test_a_long_row_loses_no_path_in_single_precision(scale):
    torch.manual_seed(0)
    crf = CRF(K)
    scores = scale * torch.randn(1, 400, K)
    # Independent steps: log Z is the sum of those of the steps.
    expected = scores.double().logsumexp(2).sum(1)
    torch.testing.assert_close(crf.log_partition(scores), expected)
    with torch.no_grad():
        crf.transitions.copy_(torch.tensor([[0.0, -90, -90], [-90, 0, -90], [-90, -90, 0]]))
    by_cell, exact = (
        crf.log_partition(scores),
        crf._by_logarithms(scores.double(), torch.tensor([400]), crf._potentials()),
    )
    torch.testing.assert_close(by_cell, exact)


@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("allowed", [None, ALLOWED], ids=["free", "constrained"])
def test_the_chance_of_a_window_is_the_share_of_the_sequences_that_fit(scale, allowed):
    crf, scores = crf_and_scores(allowed, scale)
    table = sequences(crf, scores, 0, allowed)
    chances = torch.stack([score for _, score in table]).detach().softmax(0)
    windows = [(begin, torch.rand(n, K) < 0.6) for begin, n in [(0, 1), (0, 5), (1, 3), (3, 2)]]
    for (begin, mask), chance in zip(windows, crf.window_chances(scores[0], windows), strict=True):
        fits = [
            all(mask[t, label] for t, label in enumerate(y[begin : begin + len(mask)]))
            for y, _ in table
        ]
        expected = float(chances[torch.tensor(fits)].sum())
        assert chance == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_independent_labels_have_the_same_methods():
    torch.manual_seed(0)
    crf, labels = CRF(K), LabelSoftmax(K)
    scores, y = torch.randn(3, 5, K, dtype=torch.float64), torch.randint(0, K, (3, 5))
    lengths = torch.tensor([5, 1, 3])
    # A CRF without transitions is a softmax at each word.
    close = torch.testing.assert_close
    close(labels(scores, y, lengths), crf(scores, y, lengths), check_dtype=False)
    close(labels.marginals(scores, lengths), crf.marginals(scores, lengths))
    for ours, theirs in zip(
        labels.viterbi(scores, lengths), crf.viterbi(scores, lengths), strict=True
    ):
        close(ours, theirs)
    windows = [(0, torch.rand(2, K) < 0.6), (3, torch.rand(1, K) < 0.6)]
    ours, theirs = (x.window_chances(scores[0], windows) for x in (labels, crf))
    assert ours == pytest.approx(theirs)


def test_padding_does_not_count():
    crf, scores = crf_and_scores()
    changed = scores.clone()
    labels = torch.zeros(scores.shape[:2], dtype=torch.int64)
    for row, length in enumerate(LENGTHS):
        changed[row, length:] = 1e6
        labels[row, length:] = -100
    lengths = torch.tensor(LENGTHS)
    assert torch.equal(
        crf.log_likelihood(scores, labels, lengths), crf.log_likelihood(changed, labels, lengths)
    )
    assert torch.equal(crf.viterbi(scores, lengths)[0], crf.viterbi(changed, lengths)[0])


def test_the_constraints_hold_whatever_the_scores():
    crf, _ = crf_and_scores(ALLOWED)
    scores = torch.zeros(1, 6, K, dtype=torch.float64)
    scores[0, :, 2] = 1000.0
    labels, _ = crf.viterbi(scores)
    assert labels.tolist() == [[1, 2, 2, 2, 2, 2]]
    with pytest.raises(ValueError, match="expected labels in an allowed order, got a forbidden"):
        crf.log_likelihood(scores, torch.full((1, 6), 2))
    assert "allowed_start" not in crf.state_dict()


@pytest.mark.parametrize(
    ("lengths", "message"),
    [([2, 0], "expected lengths of at least 1, got 0"), ([2, 4], "lengths from 0 to 3")],
)
def test_rows_without_words_are_refused(lengths, message):
    with pytest.raises(ValueError, match=message):
        CRF(K).log_partition(torch.zeros(2, 3, K), lengths)


def test_it_agrees_with_pytorch_crf():
    torchcrf = pytest.importorskip("torchcrf", reason="torchcrf is not installed")
    crf, scores = crf_and_scores()
    theirs = torchcrf.CRF(K, batch_first=True).double()
    with torch.no_grad():
        theirs.transitions.copy_(crf.transitions)
        theirs.start_transitions.copy_(crf.start)
        theirs.end_transitions.copy_(crf.end)
    lengths, labels = torch.tensor(LENGTHS), torch.randint(0, K, scores.shape[:2])
    mask = torch.arange(max(LENGTHS)) < lengths.unsqueeze(1)
    ours = crf.log_likelihood(scores, labels, lengths)
    torch.testing.assert_close(ours, theirs(scores, labels, mask, reduction="none"))
    paths = [
        row[:n].tolist() for row, n in zip(crf.viterbi(scores, lengths)[0], LENGTHS, strict=True)
    ]
    assert paths == theirs.decode(scores, mask)

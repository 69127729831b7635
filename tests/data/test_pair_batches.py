import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from throughtime.data import RaggedBatches, pad_rows
from throughtime.data.pair_batches import PairBatches, collate


def pairs(num: int, most: int = 30, seed: int = 0) -> tuple[list[list[int]], list[list[int]]]:
    """Ragged pairs; each source begins with a number of its own, each target ends with it."""
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, most + 1, (num, 2), generator=draw).tolist()
    sources = [[4 + n] + [4] * (s - 1) for n, (s, _) in enumerate(lengths)]
    return sources, [[4] * (t - 1) + [4 + n] for n, (_, t) in enumerate(lengths)]


def numbers(batch) -> list[int]:
    return [row[0] - 4 for row in batch.source.tolist()]


def epoch(batches: PairBatches) -> list[list[int]]:
    return [numbers(batch) for batch in batches]


# A batch


def test_begin_and_end_are_added_and_padding_is_zero():
    batch = collate([[5, 6, 7], [8]], [[9], []])
    assert batch.source.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch.source_lengths.tolist() == [3, 1]
    assert batch.target_in.tolist() == [[1, 9], [1, 0]]
    assert batch.target_out.tolist() == [[9, 2], [2, 0]]
    assert batch.target_lengths.tolist() == [2, 1]
    assert {part.dtype for part in batch} == {torch.int64}


# An epoch


@settings(database=None, deadline=None)
@given(st.integers(1, 60), st.integers(1, 9), st.sampled_from(["pairs", "tokens"]), st.data())
def test_every_pair_is_read_once_in_every_epoch_with_its_own_target(num, size, by, data):
    sources, targets = pairs(num, seed=data.draw(st.integers(0, 9)))
    size = size if by == "pairs" else 20 * size
    batches = PairBatches(sources, targets, size, by=by)
    for _ in range(3):
        seen = []
        for batch in batches:
            seen += numbers(batch)
            for b, n in enumerate(numbers(batch)):
                s, t = batch.source_lengths[b], batch.target_lengths[b]
                assert batch.source[b, :s].tolist() == sources[n]
                assert batch.target_out[b, :t].tolist() == [*targets[n], 2]
                assert not batch.source[b, s:].any()
                assert not batch.target_in[b, t:].any()
            if by == "pairs":
                assert len(batch.source) <= size
            elif len(batch.source) > 1:
                longest = max(batch.source.shape[1], batch.target_in.shape[1])
                assert len(batch.source) * longest <= size
        assert sorted(seen) == list(range(num))
    assert len(epoch(batches)) == len(batches)


def test_lengths_in_a_batch_are_similar():
    sources, targets = pairs(2000)
    targets = [[4] * len(source) for source in sources]
    batches = PairBatches(sources, targets, 32)
    padded = sum(batch.target_out.numel() for batch in batches)
    assert padded < 1.1 * sum(len(target) + 1 for target in targets)
    drawn = [
        max(len(targets[n]) + 1 for n in range(k, min(k + 32, 2000))) * 32
        for k in range(0, 2000, 32)
    ]
    assert sum(drawn) > 1.5 * sum(len(target) + 1 for target in targets)


def test_the_order_is_new_in_every_epoch_and_the_same_for_a_seed():
    sources, targets = pairs(200)
    first, second = (PairBatches(sources, targets, 8, seed=3) for _ in range(2))
    epochs = [epoch(first) for _ in range(3)]
    assert [epoch(second) for _ in range(3)] == epochs
    assert all(a != b for a, b in itertools.combinations(epochs, 2))
    # Not only the batches, but also which pairs are in one.
    sets = [{frozenset(batch) for batch in batches} for batches in epochs]
    assert len(sets[0] & sets[1]) < len(epochs[0]) / 2
    assert epoch(PairBatches(sources, targets, 8, seed=4)) != epochs[0]
    same = PairBatches(sources, targets, 8, is_shuffled=False)
    assert epoch(same) == epoch(same)


def test_a_pair_longer_than_the_size_is_a_batch_by_itself():
    batches = PairBatches([[4] * 50, [4], [4]], [[4]] * 3, 10, by="tokens")
    assert sorted(len(batch.source) for batch in batches) == [1, 2]


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize(("size", "by"), [(5, "pairs"), (40, "tokens")])
def test_the_processes_share_each_batch(world_size, size, by):
    sources, targets = pairs(41)
    shares = [
        PairBatches(sources, targets, size, by=by, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    assert len({len(share) for share in shares}) == 1
    seen = []
    for of_ranks in zip(*(list(share) for share in shares), strict=True):
        counts = [len(batch.source) for batch in of_ranks]
        assert min(counts) >= 1
        assert max(counts) - min(counts) <= 1
        seen += [n for batch in of_ranks for n in numbers(batch)]
    assert sorted(seen) == list(range(41))


# Resuming


def test_an_iteration_begins_where_it_is_told_and_the_epochs_after_it_as_they_would():
    sources, targets = pairs(50)
    whole = PairBatches(sources, targets, 8)
    order = [numbers(batch) for _ in range(6) for batch in whole]
    for seen in range(3 * len(whole) + 1):
        epoch, position = divmod(seen, len(whole))
        resumed = PairBatches(sources, targets, 8)
        resumed.seek(epoch, position)
        rest = [numbers(batch) for _ in range(2) for batch in resumed]
        assert rest == order[seen : seen + len(rest)]
        assert len(rest) == 2 * len(whole) - position


def test_an_iteration_that_was_left_starts_again_in_its_order():
    batches = PairBatches(*pairs(50), 8)
    first = epoch(PairBatches(*pairs(50), 8))
    next(iter(batches))
    assert epoch(batches) == first


@pytest.mark.parametrize(("name", "value"), [("position", -1), ("position", 7), ("epoch", -1)])
def test_a_place_that_does_not_exist_is_refused(name, value):
    batches = PairBatches(*pairs(50), 8)
    with pytest.raises(ValueError, match=f"expected {name} .*got {value}"):
        batches.seek(**{"epoch": 0, "position": 0, name: value})


def test_rows_of_features_are_batched_like_ids_and_no_symbols_are_added():
    rows = [torch.randn(length, 3) for length in (2, 5, 2, 4)]
    batches = RaggedBatches(
        [len(row) for row in rows],
        lambda some: pad_rows([rows[i] for i in some], torch.float32),
        2,
        is_shuffled=False,
    )
    first, second = batches
    assert torch.equal(first.rows, torch.stack([rows[0], rows[2]]))
    assert second.lengths.tolist() == [4, 5]
    assert torch.equal(second.rows[0, 4], torch.zeros(3))


# Errors


@pytest.mark.parametrize(
    ("sources", "targets", "options", "message"),
    [
        ([], [], {}, "expected pairs, got 0 sources"),
        ([[4]], [], {}, "got 1 sources and 0 targets"),
        ([[4], []], [[4], [4]], {}, "at least one token, got none in number 1"),
        ([[4]], [[4]], {"size": 0}, "expected size of at least 1, got 0"),
        ([[4]], [[4]], {"by": "token"}, 'did you mean "tokens"'),
        ([[4]], [[4]], {"world_size": 2, "rank": 2}, "expected rank from 0 to 1, got 2"),
        ([[4]], [[4]], {"world_size": 2}, "for each of 2 processes, got 1 pairs"),
        ([[4]] * 9, [[4]] * 9, {"world_size": 3, "size": 2}, "larger --batch_size"),
    ],
)
def test_what_does_not_fit_is_refused(sources, targets, options, message):
    with pytest.raises(ValueError, match=message):
        PairBatches(sources, targets, **{"size": 4, **options})

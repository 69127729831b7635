import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from throughtime.checks import ShapeError
from throughtime.data.batching import ContiguousBatches, rows_for_scoring


def text(num: int) -> torch.Tensor:
    """Characters that are all different, so that each tells its place."""
    return torch.arange(num)


def as_lists(batches: ContiguousBatches) -> list[tuple[list, list]]:
    return [(x.tolist(), y.tolist()) for x, y in batches]


@settings(database=None, deadline=None)
@given(st.data(), st.integers(1, 8), st.integers(1, 12))
def test_every_character_is_predicted_once_from_the_one_before(data, batch_size, steps):
    num = data.draw(st.integers(batch_size + 1, 120))
    batches = ContiguousBatches(text(num), batch_size, steps)
    seen = list(batches)
    for x, y in seen:
        assert torch.equal(x + 1, y)
    assert [x.shape[1] for x, _ in seen[:-1]] == [steps] * (len(batches) - 1)
    assert len(seen) == len(batches)

    predicted = torch.cat([y.flatten() for _, y in seen]).sort().values
    assert predicted.tolist() == list(range(1, 1 + batches.num_characters))
    assert batches.num_characters + batches.num_left_over + 1 == num
    assert 0 <= batches.num_left_over < batch_size


@settings(database=None, deadline=None)
@given(st.integers(1, 8), st.integers(1, 12), st.integers(9, 120))
def test_every_row_goes_on_where_it_stopped(batch_size, steps, num):
    seen = list(ContiguousBatches(text(num), batch_size, steps))
    for (_, y), (x, _) in itertools.pairwise(seen):
        assert torch.equal(y[:, -1], x[:, 0])


def test_the_last_batch_is_shorter_and_not_dropped():
    # Worked out by hand: 12 = 1 + 2 rows of 5 + 1 left over.
    batches = ContiguousBatches(text(12), batch_size=2, steps=3)
    assert as_lists(batches) == [
        ([[0, 1, 2], [5, 6, 7]], [[1, 2, 3], [6, 7, 8]]),
        ([[3, 4], [8, 9]], [[4, 5], [9, 10]]),
    ]
    assert (len(batches), batches.num_characters, batches.num_left_over) == (2, 10, 1)


@pytest.mark.parametrize("world_size", [1, 2, 3, 6])
def test_the_processes_share_the_rows(world_size):
    whole = as_lists(ContiguousBatches(text(100), 6, 5))
    shares = [
        ContiguousBatches(text(100), 6, 5, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    assert {share.num_characters for share in shares} == {96}
    for k, of_ranks in enumerate(zip(*map(as_lists, shares), strict=True)):
        for side in (0, 1):
            assert [row for batch in of_ranks for row in batch[side]] == whole[k][side]
            assert {len(batch[side]) for batch in of_ranks} == {6 // world_size}


def test_the_batches_are_views_of_the_text():
    tokens = text(20)
    for x, y in ContiguousBatches(tokens, 2, 4):
        assert x.untyped_storage().data_ptr() == tokens.untyped_storage().data_ptr()
        assert y.untyped_storage().data_ptr() == tokens.untyped_storage().data_ptr()


def test_a_text_with_gaps_in_memory_is_read_like_any_other():
    strided = torch.arange(40)[::2]
    expected = as_lists(ContiguousBatches(strided.clone(), 3, 4))
    assert as_lists(ContiguousBatches(strided, 3, 4)) == expected


# Resuming


@pytest.mark.parametrize("seen", range(5))
def test_an_iteration_begins_where_it_is_told_and_the_next_one_at_the_start(seen):
    batches = ContiguousBatches(text(40), 3, 3)
    assert len(batches) == 5
    whole = as_lists(batches)
    batches.seek(7, seen)
    assert as_lists(batches) == whole[seen:]
    assert as_lists(batches) == whole


def test_an_iteration_that_was_left_starts_again():
    batches = ContiguousBatches(text(40), 3, 3)
    whole = as_lists(batches)
    next(iter(batches))
    assert as_lists(batches) == whole


def test_every_process_seeks_its_own_rows():
    of_second = ContiguousBatches(text(40), 4, 3, rank=1, world_size=2)
    whole = as_lists(of_second)
    of_second.seek(0, 1)
    assert as_lists(of_second) == whole[1:]


@pytest.mark.parametrize(("name", "value"), [("position", -1), ("position", 5), ("epoch", -1)])
def test_a_place_that_does_not_exist_is_refused(name, value):
    batches = ContiguousBatches(text(40), 3, 3)
    with pytest.raises(ValueError, match=f"expected {name} .*got {value}"):
        batches.seek(**{"epoch": 0, "position": 0, name: value})


# Errors


@pytest.mark.parametrize(
    ("num", "options", "message"),
    [
        (32, {"batch_size": 32}, r"at least 33 characters because batch_size=32, got 32\. Give"),
        (0, {}, r"at least 5 characters .* got 0\. .* smaller --batch_size"),
        (10, {"batch_size": 0}, "expected batch_size of at least 1, got 0"),
        (10, {"steps": 0}, "expected steps of at least 1, got 0"),
        (10, {"world_size": 0}, "expected world_size of at least 1, got 0"),
        (10, {"world_size": 2, "rank": 2}, "expected rank from 0 to 1, got 2"),
        (10, {"world_size": 3}, "3 processes can share equally, got 4. .* a multiple of 3"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(num, options, message):
    with pytest.raises(ValueError, match=message):
        ContiguousBatches(text(num), **{"batch_size": 4, "steps": 3, **options})


def test_the_shortest_text_gives_one_batch_of_one_step():
    assert as_lists(ContiguousBatches(text(3), 2, 50)) == [([[0], [1]], [[1], [2]])]


def test_tokens_of_another_shape_or_type_are_refused():
    with pytest.raises(ShapeError, match=r"tokens of shape \(N\).*, got \(2, 10\)"):
        ContiguousBatches(torch.zeros(2, 10, dtype=torch.int64), 1, 1)
    with pytest.raises(ValueError, match=r"tokens of int64, got torch\.float32"):
        ContiguousBatches(torch.zeros(10), 1, 1)


# Scoring


@pytest.mark.parametrize(
    ("num", "rows"),
    [(0, 1), (1, 1), (8191, 1), (8192, 2), (131_071, 31), (131_072, 32), (5_000_000, 32)],
)
def test_a_text_is_scored_in_long_rows(num, rows):
    assert rows_for_scoring(num) == rows


def test_the_rows_for_scoring_can_be_limited():
    assert rows_for_scoring(1_000, most=4, least_length=10) == 4
    assert rows_for_scoring(35, most=4, least_length=10) == 3

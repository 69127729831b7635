"""The compiled kernels with any number of threads, and in several Python threads at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from throughtime.kernels.cpp import backend as cpp
from throughtime.kernels.cpp import threads as sharing
from throughtime.kernels.cpp.build import missing

from .cpp_calls import check_close, chosen, make, parity, ragged, results

pytestmark = pytest.mark.skipif(bool(missing()), reason="; ".join(missing()))


@pytest.fixture
def set_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [2, 8])
@pytest.mark.parametrize("name", chosen(["lstm", "gru-reset-before", "LayerNormRNN", "UnitByUnit"]))
def test_any_number_of_threads(set_threads, name, threads):
    set_threads(threads)
    lengths, resets = ragged(5, 13)
    for dtype in (torch.float64, torch.bfloat16):
        parity(make(name, 5, 13, 63, dtype=dtype))
        parity(make(name, 5, 13, 63, dtype=dtype, lengths=lengths, resets=resets, reverse=True))
    parity(make(name, 2, 1, 200))


@pytest.mark.parametrize("split", [(2, 1), (1, 2), (2, 2), (1, 8), (4, 2), (3, 1)])
@pytest.mark.parametrize("name", chosen(["lstm", "Chained", "LayerNormRNN", "SoftmaxRNN"]))
def test_rows_and_units_may_be_split_over_threads_in_any_way(
    monkeypatch, set_threads, short_chunks, name, split
):
    """Also with fewer rows than groups of threads, and with threads that have no units."""
    set_threads(split[0] * split[1])
    monkeypatch.setattr(sharing, "split", lambda *args: split)
    lengths, resets = ragged(5, 6)
    parity(make(name, 5, 6, 100))
    parity(make(name, 5, 6, 20, lengths=lengths, resets=resets, reverse=True, save="states"))
    parity(make(name, 3, 1, 20))


@pytest.mark.everywhere
@pytest.mark.parametrize("threads", [1, 2])
def test_several_python_threads_at_once(set_threads, threads):
    set_threads(threads)
    names = ["lstm", "LayerNormRNN", "Chained", "lstm"]
    calls = [make(names[i % 4], 9, 3 + i, 33, seed=i) for i in range(8)]
    alone = [results(cpp, call) for call in calls]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            together = list(pool.map(lambda call: results(cpp, call), calls))
            for ours, theirs in zip(together, alone, strict=True):
                check_close(ours, theirs, torch.float64)

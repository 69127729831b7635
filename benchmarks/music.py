"""What a training step of the music tasks costs, beside the same models in plain torch.nn.

The models have the sizes of recipes/music-roll/jsb.yaml, music-roll/jsb-nade.yaml, tune/oneill.yaml
and performance/groove.yaml; music-roll has batches of 16 pieces of 45 to 60 frames of four keys,
tune 32 tunes of 120 to 160 tokens, and performance 16 excerpts of 256 events, all drawn at random.
Forward, backward, clipping and AdamW are timed, in alternation. Ours runs as the task and the
training run it. The plain models are written as tutorials write them: packed sequences for pieces
of unequal lengths, and a NADE that goes from key to key. Before they are timed, both must give the
same loss and the same norm of the gradients. Units a second; aim: 1.3 times as many as the plain
ones. The time is that of the processor, on one thread, so that other work of the machine has little
influence.

    python benchmarks/music.py [--rounds N] [--only NAME]

Writes results/music.json.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from throughtime.data import RaggedBatch, SymbolTokeniser, pad_rows
from throughtime.data.music import NUM_EVENTS, NUM_KEYS
from throughtime.measuring.machine import write_results
from throughtime.measuring.training_steps import Contender, check_same, seconds_of_steps
from throughtime.tasks.frame_batches import FrameBatch
from throughtime.tasks.music_roll import MusicRoll, MusicRollConfig
from throughtime.tasks.performance import PerformanceConfig, PerformanceTask
from throughtime.tasks.task import BatchTask
from throughtime.tasks.tune import TuneConfig, TuneTask

RESULT = Path(__file__).parent / "results" / "music.json"
NUM_TOKENS = 101
NADE_SIZE = 150


class PlainRoll(nn.Module):
    """An LSTM over frames and a distribution over the keys of the next one."""

    def __init__(self, is_nade: bool) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(NUM_KEYS, 256, batch_first=True)
        self.dropout, self.input_dropout = nn.Dropout(0.4), nn.Dropout(0.1)
        self.scores = nn.Linear(256, NUM_KEYS)
        self.is_nade = is_nade
        if is_nade:
            self.unit_biases = nn.Linear(256, NADE_SIZE)
            self.W = nn.Parameter(torch.zeros(NUM_KEYS, NADE_SIZE))
            self.V = nn.Parameter(torch.zeros(NUM_KEYS, NADE_SIZE))

    def forward(self, batch: FrameBatch) -> Tensor:
        x = self.input_dropout(batch.frames[:, :-1].float())
        packed = pack_padded_sequence(x, batch.lengths, True, enforce_sorted=False)
        h, _ = pad_packed_sequence(self.recurrent(packed)[0], batch_first=True)
        h, mask = self.dropout(h), batch.is_valid
        targets = batch.frames[:, 1:].float()
        scores = self.scores(h)
        if self.is_nade:
            a, columns = self.unit_biases(h), []
            for key in range(NUM_KEYS):
                columns.append(scores[..., key] + a.sigmoid() @ self.V[key])
                a = a + targets[..., key, None] * self.W[key]
            scores = torch.stack(columns, -1)
        losses = F.binary_cross_entropy_with_logits(scores, targets, reduction="none").sum(-1)
        return (losses * mask).sum() / mask.sum()


class PlainTokens(nn.Module):
    """A language model of padded rows."""

    def __init__(self, num_tokens: int, hidden_size: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_tokens, 64)
        between = dropout if num_layers > 1 else 0.0
        self.recurrent = nn.LSTM(64, hidden_size, num_layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(dropout)
        self.scores = nn.Linear(hidden_size, num_tokens)

    def forward(self, batch: RaggedBatch) -> Tensor:
        rows, lengths = batch
        scores = self.scores(self.dropout(self.recurrent(self.embedding(rows[:, :-1]))[0]))
        is_padding = torch.arange(rows.shape[1] - 1) >= lengths[:, None] - 1
        targets = rows[:, 1:].masked_fill(is_padding, -100)
        return F.cross_entropy(scores.flatten(0, 1), targets.flatten(), ignore_index=-100)


def music_roll(head: str) -> tuple[BatchTask, nn.Module, nn.Module]:
    sizes: dict[str, Any] = {"head_size": NADE_SIZE} if head == "nade" else {}
    task = MusicRoll(
        MusicRollConfig(head=head, hidden_size=256, dropout=0.4, input_dropout=0.1, **sizes)
    )
    model, plain = task.model(), PlainRoll(head == "nade")
    plain.recurrent.load_state_dict(model.recurrent.state_dict())
    names = ("unit_biases", "W", "V") if head == "nade" else ()
    own = model.head.key_biases if head == "nade" else model.head.scores
    plain.scores.load_state_dict(own.state_dict())
    weights = {k: v for k, v in model.head.state_dict().items() if k.split(".")[0] in names}
    plain.load_state_dict(weights, strict=False)
    return task, model, plain


def tokens(task: BatchTask, num_tokens: int) -> tuple[BatchTask, nn.Module, nn.Module]:
    c, model = task.config, task.model()
    plain = PlainTokens(num_tokens, c.hidden_size, c.num_layers, c.dropout)
    plain.load_state_dict(model.state_dict())
    return task, model, plain


def tune() -> tuple[BatchTask, nn.Module, nn.Module]:
    names = " ".join(f"t{number}" for number in range(NUM_TOKENS - 4))
    assets = {"data": "drawn", "tokeniser": SymbolTokeniser.fit([names]).to_json()}
    task = TuneTask(TuneConfig(hidden_size=256, num_layers=2, dropout=0.4), assets)
    return tokens(task, NUM_TOKENS)


def performance() -> tuple[BatchTask, nn.Module, nn.Module]:
    task = PerformanceTask(PerformanceConfig(hidden_size=192, num_layers=1, dropout=0.1))
    return tokens(task, NUM_EVENTS + 1)


def frames() -> FrameBatch:
    lengths = torch.randint(45, 61, (16,)).tolist()
    rows = [F.one_hot(torch.randint(NUM_KEYS, (n + 1, 4)), NUM_KEYS).sum(1) > 0 for n in lengths]
    padded = pad_rows(rows, torch.bool)
    return FrameBatch(padded.rows, padded.lengths - 1)


def rows(num_rows: int, shortest: int, longest: int, num_tokens: int) -> RaggedBatch:
    lengths = torch.randint(shortest, longest + 1, (num_rows,)).tolist()
    return pad_rows([torch.randint(4, num_tokens, (n + 1,)) for n in lengths])


CASES: dict[str, tuple[Callable[[], tuple[BatchTask, nn.Module, nn.Module]], Callable]] = {
    "music-roll, independent": (lambda: music_roll("independent"), frames),
    "music-roll, nade": (lambda: music_roll("nade"), frames),
    "tune": (tune, lambda: rows(32, 120, 160, NUM_TOKENS)),
    "performance": (performance, lambda: rows(16, 256, 256, NUM_EVENTS + 1)),
}


def measured(name: str, rounds: int) -> dict[str, Any]:
    """The medians of a case, and their ratio."""
    torch.manual_seed(0)
    build, drawn = CASES[name]
    task, model, plain = build()
    batches = [drawn() for _ in range(4)]
    counts: list[int] = []

    def ours(batch: Any) -> Tensor:
        loss = task.loss(model, batch)
        counts.append(loss.count)
        return loss.mean

    contenders = {"ours": Contender(model, ours), "torch.nn": Contender(plain, plain)}
    check_same(contenders, batches[0])
    seconds = seconds_of_steps(contenders, batches, rounds)
    medians = {kind: statistics.median(times) for kind, times in seconds.items()}
    return {
        f"{task.unit}_per_second": {
            kind: round(statistics.mean(counts) / value) for kind, value in medians.items()
        },
        "ratio": round(medians["torch.nn"] / medians["ours"], 2),
        "milliseconds": {kind: round(1000 * value, 2) for kind, value in medians.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=CASES)
    args = parser.parse_args()
    torch.set_num_threads(1)
    result = {name: measured(name, args.rounds) for name in CASES if args.only in (None, name)}
    if args.only is None:
        write_results(RESULT, results=result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()

"""What a training step of a translation costs, beside the same model in plain torch.nn.

Both have the sizes of recipes/translation/multi30k-de-en.yaml, the same weights, and the same
batches of ragged pairs; forward, backward, clipping and AdamW are timed, in alternation. Ours runs
as the task and the training run it. The plain one is written as tutorials write it: packed
sequences for the encoder, one call of the decoder with the true tokens, attention by matrix
products, AdamW as it is by default. Before they are timed, both must give the same loss
and the same norm of the gradients. Target tokens a second; aim: 1.3 times as many as the plain one.

    python benchmarks/translation.py [--rounds N]

Writes results/translation.json.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from throughtime.data import PairBatch, PairBatches
from throughtime.measuring.machine import write_results
from throughtime.measuring.training_steps import Contender, check_same, seconds_of_steps
from throughtime.models import EncoderDecoder
from throughtime.tasks.linear_cross_entropy import linear_cross_entropy

RESULT = Path(__file__).parent / "results" / "translation.json"
SOURCE, TARGET, H, B = 7_800, 5_900, 256, 128
CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


class Plain(nn.Module):
    """The same network of torch.nn alone; its parameters in the order of ours."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.encoder = kind(H, H, batch_first=True, bidirectional=True)
        self.recurrent = kind(H, H, batch_first=True)
        self.key = nn.Linear(2 * H, H, bias=False)
        self.combine = nn.Linear(3 * H, H)
        self.embedding = nn.Embedding(TARGET, H)
        self.scores = nn.Linear(H, TARGET)
        states = 2 if kind is nn.LSTM else 1
        self.bridge = nn.ModuleList(nn.Linear(2 * H, H) for _ in range(states))
        self.source = nn.Embedding(SOURCE, H)
        self.dropout = nn.Dropout(0.3)

    def forward(self, batch: PairBatch) -> Tensor:
        S = batch.source.shape[1]
        x = self.dropout(self.source(batch.source))
        packed = pack_padded_sequence(x, batch.source_lengths, True, enforce_sorted=False)
        packed, last = self.encoder(packed)
        k, _ = pad_packed_sequence(packed, batch_first=True, total_length=S)
        last = last if isinstance(last, tuple) else (last,)
        first = [
            torch.tanh(to(s.transpose(0, 1).flatten(1))).unsqueeze(0)
            for to, s in zip(self.bridge, last, strict=True)
        ]
        y = self.dropout(self.embedding(batch.target_in))
        h, _ = self.recurrent(y, tuple(first) if len(first) > 1 else first[0])
        energy = h @ self.key(k).transpose(1, 2)
        past = torch.arange(S) >= batch.source_lengths.unsqueeze(1)
        weights = energy.masked_fill(past.unsqueeze(1), -torch.inf).softmax(-1)
        attended = torch.tanh(self.combine(torch.cat([weights @ k, h], -1)))
        return self.scores(self.dropout(attended))


def ours(cell: str) -> EncoderDecoder:
    return EncoderDecoder(SOURCE, TARGET, cell=cell, hidden_size=H, dropout=0.3)


def loss_of(model: nn.Module, batch: PairBatch) -> Tensor:
    """The loss as the task has it, and as tutorials have it."""
    if isinstance(model, Plain):
        scores, target = model(batch).flatten(0, 1), batch.target_out.flatten()
        return F.cross_entropy(scores, target, ignore_index=0, label_smoothing=0.1)
    assert isinstance(model, EncoderDecoder)
    is_token = batch.target_out != 0
    h = model.unscored(batch.source, batch.source_lengths, batch.target_in, batch.target_lengths)
    target = batch.target_out[is_token]
    return linear_cross_entropy(h[is_token], model.decoder.scores, target, 0.1) / len(target)


def copy_weights(model: EncoderDecoder, plain: Plain) -> None:
    """The weights of ours into the plain one, by their names."""
    names = {
        "encoder": model.encoder,
        "recurrent": model.decoder.recurrent,
        "key": model.decoder.attention.key,
        "combine": model.decoder.combine,
        "embedding": model.decoder.embedding,
        "scores": model.decoder.scores,
        "source": model.embedding,
    }
    for name, module in names.items():
        getattr(plain, name).load_state_dict(module.state_dict())
    for to, (own,) in zip(plain.bridge, model.bridge.maps.values(), strict=True):
        to.load_state_dict(own.state_dict())


def batches(count: int) -> list[PairBatch]:
    """Pairs of random tokens, as long as captions are."""
    draw = torch.Generator().manual_seed(0)

    def sides(size: int) -> list[list[int]]:
        lengths = torch.poisson(torch.full((count * B,), 12.0), generator=draw).clamp(3, 40)
        return [torch.randint(4, size, (int(n),), generator=draw).tolist() for n in lengths]

    return list(PairBatches(sides(SOURCE), sides(TARGET), B, by="pairs"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    given, result = batches(12), {}
    for cell, kind in CELLS.items():
        models = {"ours": ours(cell), "torch.nn": Plain(kind)}
        copy_weights(models["ours"], models["torch.nn"])
        contenders = {
            name: Contender(model, lambda batch, model=model: loss_of(model, batch))
            for name, model in models.items()
        }
        check_same(contenders, given[0])
        seconds = seconds_of_steps(contenders, given, rounds, clock=time.perf_counter)
        tokens = [int(batch.target_lengths.sum()) for batch in given] * rounds
        speeds = {
            name: [n / one for n, one in zip(tokens, times, strict=True)]
            for name, times in seconds.items()
        }
        medians = {name: round(statistics.median(values)) for name, values in speeds.items()}
        result[cell] = {
            "target tokens a second": medians,
            "ours of torch.nn": round(medians["ours"] / medians["torch.nn"], 3),
        }
        print(cell, result[cell])
    write_results(RESULT, cells=result)


if __name__ == "__main__":
    main()

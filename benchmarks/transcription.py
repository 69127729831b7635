"""What a training step of transcription by CTC costs, beside the same model in plain torch.nn.

Both have the sizes of recipes/transcription/fsdd-strings.yaml (12 classes, 26 features of which
three frames are joined, 128 units in each direction), with the cells gru and lstm, the same weights
and the same ragged batches of 16 recordings of 1 to 4 seconds. Forward, backward, clipping and
AdamW are timed, in alternation. Ours runs as the task runs it; the plain one packs the sequences,
as tutorials do, and takes the loss of torch, too. Before they are timed, both must give the same
loss and the same norm of the gradients. Frames a second; aim: 1.3 times as many as the plain one.
The time is that of the processor, on one thread, so that other work of the machine has little
influence.

    python benchmarks/transcription.py [--rounds N]

Writes results/transcription.json.
"""

import argparse
import json
import statistics
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from throughtime.data.transcribed import TranscribedBatch, collate_transcribed
from throughtime.measuring.machine import write_results
from throughtime.measuring.training_steps import Contender, check_same, seconds_of_steps
from throughtime.models.transcriber import Transcriber, joined, num_steps
from throughtime.tasks.readouts import CTC
from throughtime.tasks.transcription_settings import TranscriptionConfig

RESULT = Path(__file__).parent / "results" / "transcription.json"
CLASSES, FEATURES, STACK, H, B = 12, 26, 3, 128, 16


class Plain(nn.Module):
    """The same network of torch.nn alone."""

    def __init__(self, cell: str) -> None:
        super().__init__()
        layer = {"gru": nn.GRU, "lstm": nn.LSTM}[cell]
        self.recurrent = layer(STACK * FEATURES, H, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(0.3)
        self.output = nn.Linear(2 * H, CLASSES)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        steps = num_steps(lengths, STACK, 0)
        packed = pack_padded_sequence(joined(x, STACK), steps, True, enforce_sorted=False)
        h, _ = pad_packed_sequence(self.recurrent(packed)[0], batch_first=True)
        return self.output(self.dropout(h))


def loss_of(model: nn.Module, batch: TranscribedBatch, readout: CTC) -> Tensor:
    """The loss per symbol."""
    if isinstance(model, Transcriber):
        return readout.loss(model, batch).mean
    log_probs = model(batch.inputs, batch.lengths).log_softmax(-1).transpose(0, 1)
    steps = num_steps(batch.lengths, STACK, 0)
    losses = nn.functional.ctc_loss(
        log_probs, batch.targets, steps, batch.target_lengths, reduction="sum"
    )
    return losses / batch.target_lengths.sum()


def batches(count: int) -> list[TranscribedBatch]:
    """Batches of recordings of similar lengths, as the task makes them."""
    draw = torch.Generator().manual_seed(0)
    drawn = []
    for longest in torch.linspace(130, 400, count).long().tolist():
        lengths = torch.randint(longest * 7 // 8, longest + 1, (B,), generator=draw).tolist()
        rows = [torch.randn(length, FEATURES, generator=draw) for length in lengths]
        sizes = torch.randint(3, 8, (B,), generator=draw).tolist()
        symbols = [torch.randint(1, CLASSES, (n,), generator=draw).tolist() for n in sizes]
        drawn.append(collate_transcribed(rows, symbols))
    return drawn


def measured(cell: str, rounds: int) -> dict[str, object]:
    config = TranscriptionConfig(
        cell=cell, hidden_size=H, stack=STACK, dropout=0.3, bidirectional=True
    )
    readout, plain = CTC(config, CLASSES, (7, 400)), Plain(cell)
    model = readout.model(FEATURES)
    plain.recurrent.load_state_dict(model.blocks[0].state_dict())
    plain.output.load_state_dict(model.output.state_dict())
    contenders = {
        name: Contender(module, lambda batch, module=module: loss_of(module, batch, readout))
        for name, module in {"ours": model, "torch.nn": plain}.items()
    }
    drawn = batches(8)
    check_same(contenders, drawn[0])
    seconds = seconds_of_steps(contenders, drawn, rounds)
    # The batches have different lengths, so each is compared with itself.
    ratios = [b / a for a, b in zip(seconds["ours"], seconds["torch.nn"], strict=True)]
    frames = statistics.mean(int(batch.lengths.sum()) for batch in drawn)
    means = {name: statistics.mean(times) for name, times in seconds.items()}
    return {
        "cell": cell,
        "frames_per_second": {name: round(frames / means[name]) for name in seconds},
        "ratio": round(statistics.median(ratios), 2),
        "milliseconds": {name: round(1000 * value, 2) for name, value in means.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    results = [measured(cell, rounds) for cell in ("gru", "lstm")]
    write_results(RESULT, results=results)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()

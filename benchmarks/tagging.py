"""What a training step of tagging costs, beside the same model in plain torch.nn.

Both have the sizes of recipes/tagging/conll2003.yaml with 17 labels (IOBES of four types), the same
weights, and the same batches of 32 ragged sentences of up to 40 words; forward, backward, clipping
and AdamW are timed, in alternation. Ours runs as the task and the training run it. The plain one is
written as tutorials write it: packed sequences of words, the letters of every word of the batch as
packed sequences, and a CRF whose forward algorithm is a loop of logsumexp. Before they are timed,
both must give the same loss and the same norm of the gradients. Words a second; aim: 1.3 times as
many as the plain one, and a CRF that takes at most 15 % of our step. The time is that of the
processor, on one thread, so that other work of the machine has little influence.

    python benchmarks/tagging.py [--rounds N]

Writes results/tagging.json.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from throughtime.data.tagged_batches import CodedSentence, TaggedBatch, collate_tagged
from throughtime.measuring.machine import write_results
from throughtime.measuring.training_steps import Contender, check_same, seconds_of_steps
from throughtime.models.tagger import Tagger
from throughtime.tasks.labelling import losses_of, scores_of

RESULT = Path(__file__).parent / "results" / "tagging.json"
WORDS, LETTERS, LABELS, B, T = 20_000, 90, 17, 32, 40


class PlainCRF(nn.Module):
    """A CRF as tutorials write it; its parameters in the order of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.transitions = nn.Parameter(torch.zeros(LABELS, LABELS))
        self.start = nn.Parameter(torch.zeros(LABELS))
        self.end = nn.Parameter(torch.zeros(LABELS))

    def forward(self, e: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        rows = torch.arange(len(e))
        score = self.start[y[:, 0]] + e[rows, 0, y[:, 0]]
        alpha = self.start + e[:, 0]
        for t in range(1, e.shape[1]):
            move = self.transitions[y[:, t - 1], y[:, t]] + e[rows, t, y[:, t]]
            score = score + move * mask[:, t]
            ahead = torch.logsumexp(alpha.unsqueeze(2) + self.transitions, 1) + e[:, t]
            alpha = torch.where(mask[:, t].unsqueeze(1), ahead, alpha)
        last = y.gather(1, mask.sum(1, keepdim=True) - 1).squeeze(1)
        return torch.logsumexp(alpha + self.end, 1) - score - self.end[last]


class Plain(nn.Module):
    """The same network of torch.nn alone."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 100)
        self.letter_embedding = nn.Embedding(LETTERS, 25, padding_idx=0)
        self.letter_recurrent = nn.LSTM(25, 25, batch_first=True, bidirectional=True)
        self.recurrent = nn.LSTM(150, 200, batch_first=True, bidirectional=True)
        self.scores = nn.Linear(400, LABELS)
        self.crf = PlainCRF()
        self.dropout = nn.Dropout(0.5)

    def forward(self, batch: TaggedBatch, spelled: tuple[Tensor, Tensor]) -> Tensor:
        letters, lengths = spelled  # of each word of the batch, row after row
        x = self.letter_embedding(letters)
        packed = pack_padded_sequence(x, lengths, True, enforce_sorted=False)
        _, (last, _) = self.letter_recurrent(packed)
        mask = torch.arange(batch.words.shape[1]) < batch.lengths.unsqueeze(1)
        features = torch.zeros(*batch.words.shape, 50)
        features[mask] = torch.cat([last[0], last[1]], 1)
        x = self.dropout(torch.cat([self.embedding(batch.words), features], 2))
        packed = pack_padded_sequence(x, batch.lengths, True, enforce_sorted=False)
        h, _ = pad_packed_sequence(self.recurrent(packed)[0], batch_first=True)
        return self.crf(self.scores(self.dropout(h)), batch.labels, mask)


def ours() -> Tagger:
    sizes = {"letter_embedding_size": 25, "letter_size": 25, "embedding_size": 100}
    return Tagger(WORDS, LABELS, num_letters=LETTERS, hidden_size=200, dropout=0.5, **sizes)


def loss_of(model: nn.Module, batch: TaggedBatch, spelled: tuple[Tensor, Tensor]) -> Tensor:
    """The loss per word."""
    if isinstance(model, Tagger):
        losses = losses_of(model, batch, scores_of(model, batch))
    else:
        losses = model(batch, spelled)
    return losses.sum() / batch.lengths.sum()


def copy_weights(model: Tagger, plain: Plain) -> None:
    assert model.letters is not None
    names = {
        "embedding": model.embedding,
        "letter_embedding": model.letters.embedding,
        "letter_recurrent": model.letters.recurrent,
        "recurrent": model.recurrent,
        "scores": model.scores,
        "crf": model.labels,
    }
    for name, module in names.items():
        getattr(plain, name).load_state_dict(module.state_dict())


def batches(count: int) -> list[tuple[TaggedBatch, tuple[Tensor, Tensor]]]:
    """Sentences whose words are as frequent and as long as those of a text."""
    draw = torch.Generator().manual_seed(0)
    ranks = 1 / torch.arange(5.0, WORDS + 1)
    letters_of = {}
    made = []
    for _ in range(count):
        rows = []
        for length in torch.randint(T * 3 // 4, T + 1, (B,), generator=draw).tolist():
            words = (4 + torch.multinomial(ranks, length, True, generator=draw)).tolist()
            for word in words:
                if word not in letters_of:
                    n = int(torch.poisson(torch.tensor(4.5), generator=draw).clamp(1, 20))
                    drawn = torch.randint(4, LETTERS, (n,), generator=draw)
                    letters_of[word] = tuple(drawn.tolist())
            labels = torch.randint(0, LABELS, (length,), generator=draw).tolist()
            rows.append(CodedSentence(words, [letters_of[word] for word in words], labels))
        batch = collate_tagged(rows)
        index = torch.cat([row[:n] for row, n in zip(batch.spelling, batch.lengths, strict=True)])
        made.append((batch, (batch.letters[index], batch.letter_lengths[index])))
    return made


def crf_step(model: Tagger, batch: TaggedBatch) -> float:
    """The seconds of the CRF of a step: the likelihood of scores, and its backward pass."""
    scores = torch.randn(*batch.words.shape, LABELS, requires_grad=True)
    begun = time.process_time()
    model.labels(scores, batch.labels, batch.lengths).sum().backward()
    return time.process_time() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    drawn = batches(8)
    models: dict[str, nn.Module] = {"ours": ours(), "torch.nn": Plain()}
    model, plain = models.values()
    assert isinstance(model, Tagger)
    assert isinstance(plain, Plain)
    copy_weights(model, plain)
    contenders = {
        name: Contender(module, lambda drawn, module=module: loss_of(module, *drawn))
        for name, module in models.items()
    }
    check_same(contenders, drawn[0])
    seconds = seconds_of_steps(contenders, drawn, rounds)
    for turn in range(rounds + 1):
        times = [crf_step(model, batch) for batch, _ in drawn]
        # The first round warms up.
        if turn > 0:
            seconds.setdefault("our CRF", []).extend(times)
    words = statistics.mean(int(batch.lengths.sum()) for batch, _ in drawn)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    result = {
        "words_per_second": {name: round(words / medians[name]) for name in models},
        "ratio": round(medians["torch.nn"] / medians["ours"], 2),
        "share_of_the_crf": round(medians["our CRF"] / medians["ours"], 3),
        "milliseconds": {name: round(1000 * value, 2) for name, value in medians.items()},
    }
    write_results(RESULT, results=result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()

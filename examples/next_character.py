"""Many to one: 30 characters in, a distribution over the next one out.

"My cat is named Simo" -> "n". The text that is learned is the docstrings of Python's own library.
"""

import argparse
import inspect

import torch
import torch.nn.functional as F
from torch import nn

import throughtime as tt
from throughtime.data import Vocabulary

LENGTH = 30


class NextCharacter(nn.Module):
    """scores = W h_30 + c, with h_30 the last state of a GRU."""

    def __init__(self, vocab_size: int, hidden_size: int = 128) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, 32)
        self.recurrent = tt.GRU(32, hidden_size, batch_first=True)
        self.scores = nn.Linear(hidden_size, vocab_size)

    def forward(self, tokens):
        _, last = self.recurrent(self.embedding(tokens))  # (L, B, H)
        return self.scores(last[-1])  # (B, V)


def main(steps: int = 600) -> tuple[float, float]:
    torch.manual_seed(0)
    everything = (m for o in (argparse, inspect) for m in (o, *vars(o).values()))
    text = "\n".join(inspect.getdoc(m) or "" for m in everything)
    vocabulary = Vocabulary.from_text(text)
    snippets = vocabulary.encode(text).unfold(0, LENGTH + 1, 1)  # (N, 31)
    training, held_out = snippets[: -len(snippets) // 10], snippets[-len(snippets) // 10 :]

    network = NextCharacter(len(vocabulary))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for step in range(steps):
        batch = training[torch.randint(len(training), (64,))]
        loss = F.cross_entropy(network(batch[:, :LENGTH]), batch[:, LENGTH])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step:4}  loss {loss.item():.3f}")
    with torch.no_grad():
        right = network(held_out[:, :LENGTH]).argmax(-1) == held_out[:, LENGTH]
    chance = held_out[:, LENGTH].bincount().max() / len(held_out)
    accuracy = right.float().mean().item()
    print(f"next character right: {accuracy:.1%}; the commonest one: {chance:.1%}")
    return accuracy, chance.item()


if __name__ == "__main__":
    main()

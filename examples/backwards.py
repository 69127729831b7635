"""Encoder and decoder, as the lectures draw them: three letters in, and the same backwards out.

The encoder folds what it reads into its last state, with which the decoder's begins. It is trained
with the true letter before each (teacher forcing), and asked with its own fed back.
"""

import torch
import torch.nn.functional as F
from torch import nn

import throughtime as tt

LETTERS = "abcdefgh"
BEGIN = len(LETTERS)  # what the decoder reads first


class Seq2seq(nn.Module):
    def __init__(self, hidden_size: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(LETTERS) + 1, 16)
        self.encoder = tt.LSTM(16, hidden_size, batch_first=True)
        self.decoder = tt.LSTM(16, hidden_size, batch_first=True)
        self.scores = nn.Linear(hidden_size, len(LETTERS))

    def forward(self, source, target):
        """Teacher forcing: the scores of each letter of the target, given those before it."""
        _, state = self.encoder(self.embedding(source))
        begin = torch.full_like(target[:, :1], BEGIN)
        before = torch.cat([begin, target[:, :-1]], 1)  # the target, one step later
        hidden, _ = self.decoder(self.embedding(before), state)
        return self.scores(hidden)

    @torch.no_grad()
    def answer(self, source):
        """Querying: what is said at a step is read at the next."""
        _, state = self.encoder(self.embedding(source))
        token, said = torch.full_like(source[:, :1], BEGIN), []
        for _ in range(source.shape[1]):
            hidden, state = self.decoder(self.embedding(token), state)
            said.append(token := self.scores(hidden).argmax(-1))
        return torch.cat(said, 1)


def main(steps: int = 500) -> float:
    torch.manual_seed(0)
    network = Seq2seq()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(steps):
        source = torch.randint(len(LETTERS), (32, 3))
        target = source.flip(1)
        loss = F.cross_entropy(network(source, target).flatten(0, 1), target.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    source = torch.cartesian_prod(*[torch.arange(len(LETTERS))] * 3)  # all there are
    return (network.answer(source) == source.flip(1)).all(1).float().mean().item()


if __name__ == "__main__":
    print(f"{main():.1%} of all words are right")

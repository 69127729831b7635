"""The character-level language model of the lectures: vocabulary h, e, l, o; sequence "hello".

The network reads h, e, l, l and learns to say e, l, l, o. It needs its memory for that: after the
first l comes another l, after the second comes o.
"""

import torch
import torch.nn.functional as F
from torch import nn

import throughtime as tt

VOCABULARY = ["h", "e", "l", "o"]


class HelloNetwork(nn.Module):
    """h_t = tanh(U x_t + V h_{t-1} + b),  y_t = softmax(c + W h_t)"""

    def __init__(self, hidden_size: int = 3) -> None:
        super().__init__()
        self.recurrent = tt.Recurrent("rnn-tanh", len(VOCABULARY), hidden_size)
        self.scores = nn.Linear(hidden_size, len(VOCABULARY))

    def forward(self, tokens, state=None):
        one_hot = F.one_hot(tokens, len(VOCABULARY)).float()  # (T, B, V)
        hidden, state = self.recurrent(one_hot, state)
        return self.scores(hidden), state


def write(network: HelloNetwork, first: str, length: int) -> str:
    """Feeds each character that is said back as the next input."""
    token, state, said = torch.tensor([[VOCABULARY.index(first)]]), None, first
    for _ in range(length):
        scores, state = network(token, state)
        token = scores.argmax(-1)
        said += VOCABULARY[token.item()]
    return said


def main() -> str:
    torch.manual_seed(0)
    word = torch.tensor([VOCABULARY.index(c) for c in "hello"]).unsqueeze(1)  # (T, B)
    network = HelloNetwork()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    for step in range(300):
        scores, _ = network(word[:-1])
        loss = F.cross_entropy(scores.flatten(0, 1), word[1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step:3}  loss {loss.item():.3f}  {write(network, 'h', 4)}")
    said = write(network, "h", 4)
    print(f"after training: {said}")
    return said


if __name__ == "__main__":
    main()

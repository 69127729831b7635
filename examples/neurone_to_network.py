"""One neurone, one feed-forward network, one recurrent network, side by side.

    neurone         y   = tanh(w x + b)
    feed-forward    y   = W2 tanh(W1 x + b1) + b2
    recurrent       y_t = W h_t + c,  h_t = tanh(U x_t + V h_{t-1} + b)

All three see one bit at a time, and shall say whether the number of ones so far is odd. The first
two see only the bit at hand, and cannot know; the third keeps a state.
"""

import torch
import torch.nn.functional as F
from torch import nn

import throughtime as tt


class Recurrent(nn.Module):
    def __init__(self, hidden_size: int = 8) -> None:
        super().__init__()
        self.recurrent = tt.Recurrent("rnn-tanh", 1, hidden_size, batch_first=True)
        self.score = nn.Linear(hidden_size, 1)

    def forward(self, x):
        hidden, _ = self.recurrent(x)
        return self.score(hidden)


def networks() -> dict[str, nn.Module]:
    return {
        "neurone": nn.Sequential(nn.Linear(1, 1), nn.Tanh()),
        "feed-forward": nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)),
        "recurrent": Recurrent(),
    }


def accuracy(network: nn.Module, steps: int = 1500) -> float:
    """Trains on strings of 8 bits; the accuracy on others, over all their steps."""
    torch.manual_seed(1)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(steps):
        bits = torch.randint(2, (64, 8, 1)).float()  # (B, T, 1)
        loss = F.binary_cross_entropy_with_logits(network(bits), bits.cumsum(1) % 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        bits = torch.randint(2, (1000, 8, 1)).float()
        return ((network(bits) > 0) == (bits.cumsum(1) % 2 > 0)).float().mean().item()


def main() -> dict[str, float]:
    found = {name: accuracy(network) for name, network in networks().items()}
    for name, value in found.items():
        print(f"{name:<14} {value:.1%}")
    return found


if __name__ == "__main__":
    main()

"""What a training step of sequences to trees costs, beside the same model written recursively.

Both have a bidirectional LSTM as encoder, the doubly recurrent decoder VH with attention, the same
weights, and the same batches of 32 random trees of 5 to 25 nodes; forward, backward, clipping and
Adam are timed, in alternation. The plain model is of torch.nn alone and written as published code
of such decoders is: it visits one node after the other, tree after tree, with the cells of
torch.nn. Before they are timed, both must give the same loss and the same norm of the gradients.
Nodes a second; aim: at least 5 times as many as the plain one. The time is that of the processor,
on one thread, so that other work of the machine has little influence.

    python benchmarks/trees.py [--rounds N]

Writes results/trees.json.
"""

import argparse
import json
import statistics
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.measuring.machine import write_results
from throughtime.measuring.training_steps import Contender, check_same, seconds_of_steps
from throughtime.models import EncoderTreeDecoder, Trees

RESULT = Path(__file__).parent / "results" / "trees.json"
WORDS, LABELS, B, S, H, E = 300, 60, 32, 20, 256, 128

State = tuple[Tensor, Tensor]


class Plain(nn.Module):
    """The same network with a recursion over the nodes."""

    def __init__(self, topology: str) -> None:
        super().__init__()
        self.has_ends = topology == "end"
        self.words = nn.Embedding(WORDS, E)
        self.encoder = nn.LSTM(E, H, batch_first=True, bidirectional=True)
        self.starts = nn.ModuleList([nn.Linear(2 * H, H) for _ in range(4)])
        self.labels = nn.Embedding(LABELS + 1, E)
        self.read_moves = nn.Embedding(2, E)
        self.vertical, self.horizontal = nn.LSTMCell(E, H), nn.LSTMCell(E, H)
        self.merge_v, self.merge_h = nn.Linear(H, H), nn.Linear(H, H, bias=False)
        self.moves = nn.Embedding(2, H)
        self.key = nn.Linear(2 * H, H, bias=False)
        self.combine = nn.Linear(3 * H, H)
        self.scores = nn.Linear(H, LABELS + self.has_ends)
        self.decisions = None if self.has_ends else nn.Linear(H, 2)
        self.shifts = None if self.has_ends else nn.Parameter(torch.zeros(2, LABELS))

    def forward(self, source: Tensor, trees: list[tuple[list[int], list[int]]]) -> Tensor:
        """log P of each tree."""
        values, (h, c) = self.encoder(self.words(source))
        last = [torch.cat(list(s.unbind(0)), 1) for s in (h, c)]
        v_h, v_c, h_h, h_c = (start(last[i % 2]).tanh() for i, start in enumerate(self.starts))
        logs = []
        for b, (labels, parents) in enumerate(trees):
            children: list[list[int]] = [[] for _ in labels]
            for node, parent in enumerate(parents):
                if parent >= 0:
                    children[parent].append(node)
            row = slice(b, b + 1)
            begin = self.labels.weight[LABELS:]
            above = self.vertical(begin, (v_h[row], v_c[row]))
            before = self.horizontal(begin + self.read_moves.weight[:1], (h_h[row], h_c[row]))
            memory = (values[b], self.key(values[b]))
            logs.append(self.siblings([0], labels, children, above, before, memory, True))
        return torch.stack(logs)

    def siblings(
        self,
        nodes: list[int],
        labels: list[int],
        children: list[list[int]],
        above: State,
        before: State,
        memory: State,
        is_root: bool = False,
    ) -> Tensor:
        """log P of these siblings and of everything below them."""
        log = torch.zeros(())
        for i, node in enumerate(nodes):
            move, below = int(i > 0), children[node]
            m = self.state(above, before, move, memory)
            scores = self.scores(m)
            if self.decisions is None or self.shifts is None:
                log = log + (scores[:LABELS] if is_root else scores).log_softmax(0)[labels[node]]
            else:
                has_next = i + 1 < len(nodes)
                odds = self.decisions(m)
                scores = scores + bool(below) * self.shifts[0] + has_next * self.shifts[1]
                log = log + scores.log_softmax(0)[labels[node]]
                log = log + F.logsigmoid(odds[0] if below else -odds[0])
                if not is_root:
                    log = log + F.logsigmoid(odds[1] if has_next else -odds[1])
            x = self.labels.weight[labels[node]].unsqueeze(0)
            if below or i + 1 < len(nodes) or self.has_ends:
                before = self.horizontal(x + self.read_moves.weight[move], before)
            if below or self.has_ends:
                deeper = self.vertical(x, above)
                log = log + self.siblings(below, labels, children, deeper, before, memory)
        if self.has_ends and not is_root:
            m = self.state(above, before, int(bool(nodes)), memory)
            log = log + self.scores(m).log_softmax(0)[LABELS]
        return log

    def state(self, above: State, before: State, move: int, memory: State) -> Tensor:
        merged = self.merge_v(above[0][0]) + self.merge_h(before[0][0]) + self.moves.weight[move]
        m, (values, keys) = merged.tanh(), memory
        context = (keys @ m).softmax(0) @ values
        return self.combine(torch.cat([context, m])).tanh()


def copy_weights(model: EncoderTreeDecoder, plain: Plain) -> None:
    decoder = model.decoder
    assert decoder.attention is not None
    layers = dict(decoder.layers())
    pairs = {
        "words": model.embedding,
        "encoder": model.encoder,
        "labels": decoder.embedding,
        "read_moves": decoder.read_moves,
        "merge_v": decoder.merges["vertical"],
        "merge_h": decoder.merges["horizontal"],
        "moves": decoder.moves,
        "key": decoder.attention.key,
        "combine": decoder.combine,
        "scores": decoder.scores,
        "decisions": decoder.decisions,
    }
    for name, module in pairs.items():
        if module is not None:
            getattr(plain, name).load_state_dict(module.state_dict())
    for name in ("vertical", "horizontal"):
        weights = {k.removesuffix("_l0"): v for k, v in layers[name].state_dict().items()}
        getattr(plain, name).load_state_dict(weights)
    maps = [bridge.maps[s][0] for bridge in model.bridges.values() for s in ("h_0", "c_0")]
    for start, linear in zip(plain.starts, maps, strict=True):
        start.load_state_dict(linear.state_dict())


def batches(count: int) -> list[tuple[Tensor, list[tuple[list[int], list[int]]]]]:
    draw = torch.Generator().manual_seed(0)
    drawn = []
    for _ in range(count):
        trees = []
        for size in torch.randint(5, 26, (B,), generator=draw).tolist():
            parents, path = [-1], [0]
            for node in range(1, size):
                path = path[: int(torch.randint(1, len(path) + 1, (), generator=draw))]
                parents.append(path[-1])
                path.append(node)
            trees.append((torch.randint(0, LABELS, (size,), generator=draw).tolist(), parents))
        drawn.append((torch.randint(0, WORDS, (B, S), generator=draw), trees))
    return drawn


def loss_of(model: nn.Module, source: Tensor, trees: list[tuple[list[int], list[int]]]) -> Tensor:
    if isinstance(model, EncoderTreeDecoder):
        return -model.log_likelihood(source, None, Trees.of(trees)).mean()
    return -model(source, trees).mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    drawn, results = batches(3), {}
    for topology in ("predicted", "end"):
        torch.manual_seed(0)
        ours = EncoderTreeDecoder(WORDS, LABELS, topology=topology, hidden_size=H, embedding_size=E)
        models: dict[str, nn.Module] = {"ours": ours, "recursive": Plain(topology)}
        copy_weights(ours, models["recursive"])
        contenders = {
            name: Contender(model, lambda drawn, model=model: loss_of(model, *drawn))
            for name, model in models.items()
        }
        check_same(contenders, drawn[0])
        steps = {name: torch.optim.Adam(m.parameters(), 1e-3) for name, m in models.items()}
        seconds = seconds_of_steps(contenders, drawn, rounds, steps)
        nodes = statistics.mean(sum(len(labels) for labels, _ in trees) for _, trees in drawn)
        medians = {name: statistics.median(times) for name, times in seconds.items()}
        results[topology] = {
            "nodes_per_second": {name: round(nodes / medians[name]) for name in models},
            "ratio": round(medians["recursive"] / medians["ours"], 2),
            "milliseconds": {name: round(1000 * value, 1) for name, value in medians.items()},
        }
    write_results(RESULT, results=results)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()

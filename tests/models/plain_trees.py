"""The equations of the tree decoder and of the Tree-LSTM, node by node and recursively."""

import itertools

import torch
import torch.nn.functional as F

from throughtime.cells.cell import Cell


class Leaky(Cell):
    """A cell of two states that is not registered; h = tanh(c), and c leaks."""

    gates = ("c", "o")
    states = ("h", "c")

    def step(self, x, W, R, s, p):
        c = 0.7 * s.c + 0.3 * (W.c(x) + R.c(s.h))
        return {"h": (W.o(x) + R.o(s.h)).sigmoid() * c.tanh(), "c": c}


def one_step(recurrent, x, states):
    """The next states of a layer by the cells of torch.nn, or the equations of Leaky."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights = [getattr(recurrent, f"{name}_l0") for name in names]
    x = x.unsqueeze(0)
    if isinstance(recurrent.cell, Leaky):
        h, c = states
        W, R, b_W, b_R = weights
        in_c, in_o = (x @ W.T + b_W + h @ R.T + b_R).chunk(2, 1)
        c = 0.7 * c + 0.3 * in_c
        return in_o.sigmoid() * c.tanh(), c
    if recurrent.cell.name == "gru":
        return (torch.gru_cell(x, states[0], *weights),)
    return torch.lstm_cell(x, states, *weights)


def tree_log_probability(decoder, labels, parents, memory, b):
    """log P of tree b of a batch, by recursion over its nodes."""
    V, has_ends = decoder.num_labels, decoder.decisions is None
    children = {i: [j for j, p in enumerate(parents) if p == i] for i in range(-1, len(labels))}
    layers = dict(decoder.layers())
    keys = None
    if decoder.attention is not None:
        keys = [t[b, : memory.lengths[b]] for t in (memory.attention.keys, memory.attention.values)]

    def read(name, label, move, states):
        x = decoder.embedding.weight[label]
        if name == "horizontal":
            x = x + decoder.read_moves.weight[move]
        return one_step(layers[name], x, states)

    def gain(above, before, move, label, has_children, has_next, is_root):
        total = 0.0
        for name, states in (("vertical", above), ("horizontal", before)):
            if name in layers:
                merge = decoder.merges[name]
                total = total + states[0][0] @ merge.weight.T
                total = total if merge.bias is None else total + merge.bias
        if "horizontal" in layers:
            total = total + decoder.moves.weight[move]
        m = total.tanh()
        if keys is not None:
            k, values = keys
            if decoder.attention.kind == "additive":
                look = decoder.attention
                e = look.energy((look.query.weight @ m + k).tanh()).squeeze(-1)
            else:
                e = k @ m
            m = decoder.combine(torch.cat([e.softmax(0) @ values, m])).tanh()
        scores = decoder.scores(m)
        if has_ends:
            return (scores[:V] if is_root else scores).log_softmax(0)[label]
        odds = decoder.decisions(m)
        scores = scores + has_children * decoder.shifts[0] + has_next * decoder.shifts[1]
        log = scores.log_softmax(0)[label] + F.logsigmoid(odds[0] if has_children else -odds[0])
        return log if is_root else log + F.logsigmoid(odds[1] if has_next else -odds[1])

    def siblings(nodes, above, before, is_root=False):
        """log P of these siblings and all below them."""
        log = 0.0
        for i, node in enumerate(nodes):
            move = int(i > 0)
            has_next = i + 1 < len(nodes)
            below = children[node]
            decided = (bool(below), has_next, is_root)
            log = log + gain(above, before, move, labels[node], *decided)
            a = read("vertical", labels[node], move, above) if "vertical" in layers else None
            if "horizontal" in layers:
                before = read("horizontal", labels[node], move, before)
            if below or has_ends:
                log = log + siblings(below, a, before)
        if has_ends and not is_root:
            log = log + gain(above, before, int(bool(nodes)), V, False, False, False)
        return log

    starts = {
        name: read(name, V, 0, tuple(s[0, b : b + 1] for s in memory.state.recurrent[name]))
        for name in layers
    }
    return siblings(children[-1], starts.get("vertical"), starts.get("horizontal"), True)


def plain_encoding(encoder, labels, parents):
    """h of each node, and c of the root, by recursion."""
    H, N = encoder.hidden_size, encoder.max_children
    W = encoder.inputs.weight.split([H] * 4)
    b = encoder.inputs.bias.split([H] * 4)
    outputs = {}

    def visit(node):
        children = [visit(j) for j, p in enumerate(parents) if p == node]
        x = encoder.embedding.weight[labels[node]]
        in_i, in_o, in_u, in_f = (w @ x + c for w, c in zip(W, b, strict=True))
        zero = x.new_zeros(H)
        if N is None:
            below = sum((h for h, _ in children), zero)
            forget = [encoder.forget.weight @ h for h, _ in children]
        else:
            below = torch.cat([*(h for h, _ in children), *[zero] * (N - len(children))])
            forget = (encoder.forget.weight @ below).split([H] * N)
        u_i, u_o, u_u = (encoder.gates.weight @ below).split([H] * 3)
        c = (in_i + u_i).sigmoid() * (in_u + u_u).tanh()
        for f, (_, c_k) in zip(forget, children, strict=False):
            c = c + (in_f + f).sigmoid() * c_k
        h = (in_o + u_o).sigmoid() * c.tanh()
        outputs[node] = h
        return h, c

    _, c = visit(0)
    return torch.stack([outputs[node] for node in range(len(labels))]), c


def random_tree(size, num_labels, draw):
    """A tree in prefix order, each node below one on the path to the node before it."""
    parents, path = [-1], [0]
    for node in range(1, size):
        keep = int(torch.randint(1, len(path) + 1, (), generator=draw))
        path = path[:keep]
        parents.append(path[-1])
        path.append(node)
    labels = torch.randint(0, num_labels, (size,), generator=draw).tolist()
    return labels, parents


def all_trees(num_labels, most):
    """All trees of at most so many nodes, as pairs of labels and parents."""
    trees = []
    for size in range(1, most + 1):
        for parents in itertools.product(*[range(node) for node in range(1, size)]):
            if is_prefix_order([-1, *parents]):
                for labels in itertools.product(range(num_labels), repeat=size):
                    trees.append((list(labels), [-1, *parents]))
    return trees


def is_prefix_order(parents):
    path = []
    for node, parent in enumerate(parents):
        while path and path[-1] != parent:
            path.pop()
        if node and not path:
            return False
        path.append(node)
    return True

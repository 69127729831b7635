r"""The bridge: where a decoder begins, given where an encoder ended."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from throughtime.layers import Recurrent
from throughtime.layers.recurrent import RecurrentState

__all__ = ["Bridge", "MeanBridge"]


class Bridge(nn.Module):
    r"""From the last states of an encoder to the first states of a decoder, layer by layer.

    Where the encoder has one direction, as many layers, and states of the same names and widths,
    they are handed over as they are. Elsewhere each state s of each layer of the decoder has its
    own matrix:

        s_0 = tanh(W_s [e→; e←] + b_s)

    with e the encoder's state of the same name; or, where the two cells have different states, all
    the states that the encoder's cell has. Of a decoder's cell with a state that does not begin at
    zero (sLSTM, whose normaliser must stay positive) only the first state is made so, and the
    others begin as the cell has them.

    Args:
        encoder, decoder: the layers, the decoder of one direction. Of different depths, layer
            L - k of the decoder begins from layer L_e - k of the encoder, or from its first.

    Shapes:
        states of the encoder: (L_e*D, B, H_e). of the decoder: (L, B, H).

    Source: Bahdanau, Cho and Bengio, arXiv 1409.0473, appendix A.2.2 (there s_0 is made of the
    reverse direction alone).

    >>> from throughtime.layers import GRU, LSTM
    >>> bridge = Bridge(GRU(3, 4, bidirectional=True), LSTM(3, 5))
    >>> [tuple(s.shape) for s in bridge(torch.zeros(2, 7, 4))]
    [(1, 7, 5), (1, 7, 5)]
    """

    def __init__(self, encoder: Recurrent, decoder: Recurrent) -> None:
        super().__init__()
        theirs, ours = encoder.state_sizes, decoder.state_sizes
        self.names, self.states = list(theirs), ours
        self.initial = {k: v.initial for k, v in decoder.cell.state_specs.items()}
        self.num_layers, self.num_directions = encoder.num_layers, encoder.num_directions
        L, L_e = decoder.num_layers, encoder.num_layers
        # Aligned at the top: the last layer of one begins where the last of the other ended.
        self.layers = [max(0, L_e - L + layer) for layer in range(L)]
        self.is_identity = theirs == ours and self.num_directions == 1 and L == L_e
        self.maps = nn.ModuleDict()
        if self.is_identity:
            return
        begins_at_zero = not any(self.initial.values())
        for name in ours if begins_at_zero else list(ours)[:1]:
            width = sum(theirs[k] for k in self._read_by(name)) * self.num_directions
            layers = [nn.Linear(width, ours[name]) for _ in range(L)]
            self.maps[f"{name}_0"] = nn.ModuleList(layers)

    def _read_by(self, name: str) -> list[str]:
        """The encoder's states that the decoder's state of that name is made of."""
        return [name] if set(self.names) == set(self.states) else self.names

    def forward(self, last: RecurrentState) -> tuple[Tensor, ...]:
        """The decoder's first states."""
        states = (last,) if isinstance(last, Tensor) else tuple(last)
        if self.is_identity:
            return states
        # (L*D, B, H) -> for each state, and each layer of the decoder, (B, D*H)
        L, D = self.num_layers, self.num_directions
        by_layer = {
            k: s.unflatten(0, (L, D)).transpose(1, 2).flatten(2)[self.layers]
            for k, s in zip(self.names, states, strict=True)
        }
        first = []
        for name, size in self.states.items():
            if f"{name}_0" in self.maps:
                read = torch.cat([by_layer[k] for k in self._read_by(name)], -1)  # (L, B, …)
                maps = self.maps[f"{name}_0"].children()
                made = [m(r).tanh() for m, r in zip(maps, read, strict=True)]
                first.append(torch.stack(made))  # (L, B, H)
            else:
                shape = (len(self.layers), states[0].shape[1], size)
                first.append(states[0].new_full(shape, self.initial[name]))
        return tuple(first)


class MeanBridge(nn.Module):
    r"""From what any encoder gives out to the first states of a decoder:

        s_0 = tanh(W_s mean_t(k_t) + b_s)

    with the mean over the valid steps, for each state s of each layer; the states of a cell that
    do not begin at zero, all but the first, begin as the cell has them.

    Args:
        size: M, the features of k_t.
        decoder: the layers of the decoder.

    Shapes:
        values: (B, S, M). lengths: (B), or None. states: (L, B, H).

    Source: Xu et al., Show, attend and tell, arXiv 1502.03044, section 3.1.2.
    """

    def __init__(self, size: int, decoder: Recurrent) -> None:
        super().__init__()
        self.num_layers, self.states = decoder.num_layers, decoder.state_sizes
        self.initial = {k: v.initial for k, v in decoder.cell.state_specs.items()}
        mapped = list(self.states)[: 1 if any(self.initial.values()) else None]
        self.maps = nn.ModuleDict(
            {f"{k}_0": nn.Linear(size, self.num_layers * self.states[k]) for k in mapped}
        )

    def forward(self, values: Tensor, lengths: Tensor | None) -> tuple[Tensor, ...]:
        """The decoder's first states."""
        B, S, _ = values.shape
        if lengths is None:
            mean = values.mean(1)  # (B, M)
        else:
            lengths = lengths.to(values.device)
            valid = torch.arange(S, device=values.device) < lengths.unsqueeze(1)  # (B, S)
            total = values.masked_fill(~valid.unsqueeze(-1), 0.0).sum(1)
            mean = total / lengths.unsqueeze(1).clamp(min=1).to(values.dtype)
        first = []
        for name, size in self.states.items():
            if f"{name}_0" in self.maps:
                state = self.maps[f"{name}_0"](mean).tanh()  # (B, L*H)
                first.append(state.unflatten(1, (self.num_layers, size)).transpose(0, 1))
            else:
                shape = (self.num_layers, B, size)
                first.append(values.new_full(shape, self.initial[name]))
        return tuple(state.contiguous() for state in first)

"""The LSTM of Troupe in PyTorch: with layer normalisation of what each layer puts out, and dropout after it."""

import torch
from torch import nn

ZONEOUT_CELL = 0.5
"""Zoneout of the cell relative to that of the hidden state, as in Krueger et al. 2017."""


class LstmLayer(nn.LSTM):
    """One layer of nn.LSTM, batch first, with the initial distribution and the single bias that Troupe has."""

    def __init__(self, inputs, hidden):
        super().__init__(inputs, hidden, batch_first=True)
        with torch.no_grad():
            # The second bias is only ever added to the first. If it were trained too, the sum would move twice as fast.
            self.bias_hh_l0.zero_().requires_grad_(False)
            self.bias_ih_l0[hidden : 2 * hidden] = 1


class ZoneoutStep(torch.jit.ScriptModule):
    """All time steps of a layer whose units keep their value of the step before with probability `zoneout` (Krueger et al. 2017)."""

    def __init__(self, zoneout):
        super().__init__()
        self.zoneout = zoneout
        self.zoneout_cell = zoneout * ZONEOUT_CELL

    @torch.jit.script_method
    def forward(self, projected: torch.Tensor, weight: torch.Tensor, h: torch.Tensor, c: torch.Tensor):
        outputs = []
        shape = [projected.size(0), projected.size(1), h.size(1)]
        if self.training:
            keep_h, keep_c = torch.rand(shape) < self.zoneout, torch.rand(shape) < self.zoneout_cell
            keep_h, keep_c = keep_h.float(), keep_c.float()
        else:
            keep_h, keep_c = torch.full(shape, self.zoneout), torch.full(shape, self.zoneout_cell)
        for t in range(projected.size(1)):
            i, f, g, o = (projected[:, t] + torch.mm(h, weight.t())).chunk(4, 1)
            cell = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            c = torch.lerp(cell, c, keep_c[:, t])
            h = torch.lerp(torch.sigmoid(o) * torch.tanh(cell), h, keep_h[:, t])
            outputs.append(h)
        return torch.stack(outputs, 1), h, c


class ZoneoutLayer(LstmLayer):
    def __init__(self, inputs, hidden, zoneout):
        super().__init__(inputs, hidden)
        self.steps = ZoneoutStep(zoneout)

    def forward(self, inputs, state):
        projected = nn.functional.linear(inputs, self.weight_ih_l0, self.bias_ih_l0)
        output, h, c = self.steps(projected, self.weight_hh_l0, state[0][0], state[1][0])
        return output, (h.unsqueeze(0), c.unsqueeze(0))


class Network(nn.Module):
    def __init__(self, order, vocabulary):
        super().__init__()
        layers, hidden, zoneout = order["layers"], order["hidden"], order.get("zoneout", 0)
        make = (lambda inputs: ZoneoutLayer(inputs, hidden, zoneout)) if zoneout else (lambda inputs: LstmLayer(inputs, hidden))
        self.layers = nn.ModuleList(make(hidden if k else vocabulary) for k in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) if order.get("layerNorm") else nn.Identity() for _ in range(layers))
        self.linear = nn.Linear(hidden, vocabulary)
        self.drops = [order.get("dropout", 0)] * (layers - 1) + [order.get("dropoutOutput", 0)]
        self.vocabulary, self.hidden = vocabulary, hidden

    def forward(self, ids, states):
        """Characters [B, T] and a state per layer to logits [B * T, V] and the states after them."""
        values = nn.functional.one_hot(ids, self.vocabulary).float()
        ends = []
        for layer, norm, drop, state in zip(self.layers, self.norms, self.drops, states):
            values, end = layer(values, state)
            values = nn.functional.dropout(norm(values), drop, self.training)
            ends.append(end)
        return self.linear(values).reshape(-1, self.vocabulary), ends

    def zero_states(self, streams):
        return [tuple(torch.zeros(1, streams, self.hidden) for _ in range(2)) for _ in self.layers]

    @torch.no_grad()
    def load(self, vector, tensors):
        """Takes parameters from a flat vector whose tensors have the names of Troupe's checkpoints."""
        own = dict(self.named_parameters())
        for name, offset, size in tensors:
            parameter = own[self._own_name(name)]
            parameter.copy_(vector[offset : offset + size].view_as(parameter))

    @staticmethod
    def _own_name(name):
        if not name.startswith("lstm."):
            return name
        kind, layer = name[len("lstm.") :].rsplit("_l", 1)
        return f"layers.{layer}.{kind}_l0"

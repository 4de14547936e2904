"""Trains the same model in PyTorch on the same characters in the same order, until the validation loss is low enough.

    /usr/bin/python3 tests/bench/contestants/torch_train.py TEXT.txt '{"layers": 2, "hidden": 256, ...}'

Prints one JSON object per validation: {"round", "seconds", "validationLoss"}. The seconds are those of training alone. Validation does
not count, because Troupe's coordinator validates beside the training. A run of Troupe has the same vocabulary, the same split into 90 %
and 10 %, the same streams and hidden states, Adam with betas 0.9 and 0.99, the cosine schedule, the clip norm, and PyTorch's initial
distribution with forget biases of 1. `layerNorm` trains an LSTM with layer normalisation of both products and the cell (Ba, Kiros &
Hinton 2016), in a scripted loop, because nn.LSTM has none.
"""

import json
import math
import sys
import time

import torch
from torch import nn

VALIDATION_LANES = 32
VALIDATION_WINDOW = 512


class LayerNormLayer(torch.jit.ScriptModule):
    def __init__(self, inputs, hidden, normalise):
        super().__init__()
        bound = hidden**-0.5
        uniform = lambda *shape: nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))
        self.weight_ih, self.weight_hh, self.bias = uniform(4 * hidden, inputs), uniform(4 * hidden, hidden), uniform(4 * hidden)
        norm = (lambda size: nn.LayerNorm(size)) if normalise else (lambda size: nn.Identity())
        self.norm_ih, self.norm_hh, self.norm_c = norm(4 * hidden), norm(4 * hidden), norm(hidden)
        with torch.no_grad():
            self.bias[hidden : 2 * hidden].fill_(1)

    @torch.jit.script_method
    def forward(self, inputs: torch.Tensor, h: torch.Tensor, c: torch.Tensor):
        outputs = []
        projected = self.norm_ih(torch.matmul(inputs, self.weight_ih.t())) + self.bias
        for t in range(inputs.size(1)):
            gates = projected[:, t] + self.norm_hh(torch.mm(h, self.weight_hh.t()))
            i, f, g, o = gates.chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(self.norm_c(c))
            outputs.append(h)
        return torch.stack(outputs, 1), h, c


class LayerNormLstm(nn.Module):
    """nn.LSTM's interface, batch first."""

    def __init__(self, inputs, hidden, layers, normalise):
        super().__init__()
        self.parts = nn.ModuleList(LayerNormLayer(inputs if k == 0 else hidden, hidden, normalise) for k in range(layers))

    def forward(self, inputs, state):
        ends = []
        for k, layer in enumerate(self.parts):
            inputs, h, c = layer(inputs, state[0][k], state[1][k])
            ends.append((h, c))
        return inputs, (torch.stack([h for h, _ in ends]), torch.stack([c for _, c in ends]))


def build(order, vocabulary):
    layers, hidden = order["layers"], order["hidden"]
    if "layerNorm" in order:
        lstm = LayerNormLstm(vocabulary, hidden, layers, order["layerNorm"])
    else:
        lstm = nn.LSTM(vocabulary, hidden, layers, batch_first=True)
        with torch.no_grad():
            for k in range(layers):
                # The second bias is only ever added to the first. If it were trained too, the sum would move twice as fast.
                getattr(lstm, f"bias_hh_l{k}").zero_().requires_grad_(False)
                getattr(lstm, f"bias_ih_l{k}")[hidden : 2 * hidden] = 1
    return lstm, nn.Linear(hidden, vocabulary)


def rate_at(order, step):
    """As in libs/optim/src/schedule.ts: linear warm-up, then a half cosine down to a fraction of the peak."""
    peak, warmup, rounds, final = order["learningRate"], order["warmup"], order["rounds"], order["finalFraction"]
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = min(1, (step - warmup) / max(1, rounds - 1 - warmup))
    return peak * (final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2)


def one_hot(ids, vocabulary):
    return nn.functional.one_hot(ids, vocabulary).float()


def zero_state(layers, streams, hidden):
    return tuple(torch.zeros(layers, streams, hidden) for _ in range(2))


@torch.no_grad()
def validate(lstm, linear, ids, vocabulary, order):
    """Measures the validation part in lanes of equal length, each from a zero state."""
    length = (len(ids) - 1) // VALIDATION_LANES
    state = zero_state(order["layers"], VALIDATION_LANES, order["hidden"])
    starts = torch.arange(VALIDATION_LANES).unsqueeze(1) * length
    loss = 0.0
    for offset in range(0, length, VALIDATION_WINDOW):
        columns = torch.arange(offset, min(offset + VALIDATION_WINDOW, length))
        output, state = lstm(one_hot(ids[starts + columns], vocabulary), state)
        targets = ids[starts + columns + 1]
        loss += nn.functional.cross_entropy(linear(output).reshape(-1, vocabulary), targets.reshape(-1), reduction="sum").item()
    return loss / (length * VALIDATION_LANES)


def train(text, order):
    characters = sorted(set(text))
    vocabulary = len(characters)
    index = {character: i for i, character in enumerate(characters)}
    ids = torch.tensor([index[character] for character in text])
    cut = int(0.9 * len(ids))
    training, validation = ids[:cut], ids[cut:]
    streams, window = order["streams"], order["window"]
    windows = (len(training) - 1) // (streams * window)
    starts = torch.arange(streams).unsqueeze(1) * windows * window

    lstm, linear = build(order, vocabulary)
    parameters = [parameter for part in (lstm, linear) for parameter in part.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, betas=(0.9, 0.99))
    seconds, started = 0.0, time.perf_counter()
    for step in range(order["rounds"]):
        if step % windows == 0:
            state = zero_state(order["layers"], streams, order["hidden"])
        columns = torch.arange(window) + (step % windows) * window
        output, state = lstm(one_hot(training[starts + columns], vocabulary), tuple(part.detach() for part in state))
        targets = training[starts + columns + 1].reshape(-1)
        loss = nn.functional.cross_entropy(linear(output).reshape(-1, vocabulary), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if order["clip"] > 0:
            nn.utils.clip_grad_norm_(parameters, order["clip"])
        optimizer.param_groups[0]["lr"] = rate_at(order, step)
        optimizer.step()
        if (step + 1) % order["evalEvery"] and step + 1 < order["rounds"]:
            continue
        seconds += time.perf_counter() - started
        validation_loss = validate(lstm, linear, validation, vocabulary, order)
        print(json.dumps({"round": step + 1, "seconds": seconds, "validationLoss": validation_loss}), flush=True)
        if validation_loss <= order["target"]:
            return
        started = time.perf_counter()


def main():
    path, order = sys.argv[1], json.loads(sys.argv[2])
    torch.set_num_threads(order["threads"])
    torch.manual_seed(order["seed"])
    with open(path, encoding="utf-8", newline="") as file:
        train(file.read(), order)


if __name__ == "__main__":
    main()

"""Trains the same model in PyTorch on the same characters in the same order, until the validation loss is low enough.

    /usr/bin/python3 tests/bench/contestants/torch_train.py TEXT.txt '{"layers": 2, "hidden": 256, ...}'

Prints one JSON object per validation: {"round", "seconds", "validationSeconds", "optimizerSeconds", "validationLoss", "averageLoss"?}. The
seconds are those of training alone, the optimizer's part included. Validation is counted by itself, because Troupe's coordinator validates
beside the training. With `cpuTime` all are seconds of the processor, which other programs disturb less. A run of Troupe has the same
vocabulary, the same split into 90 % and 10 %, the same streams and hidden states, Adam with betas 0.9 and 0.99, the cosine schedule, the
clip norm, and PyTorch's initial distribution with forget biases of 1. With `initial` it has the same initial parameters too:
{"file": float32 values, "tensors": [[name, offset, size], ...]}.

What a recipe may set: `layerNorm`, `dropout`, `dropoutOutput` and `ema`. What Troupe does not have: `labelSmoothing`, `zoneout`, `muon` (its
learning rate), and `swa` (the part of the rounds, at the end, that is averaged instead of the moving average).
"""

import json
import sys
import time

import torch
from torch import nn
from torch_model import Network
from torch_optim import Adam, LateAverage, MovingAverage, Muon, rate_at

# As in apps/coordinator/src/side-thread.ts.
VALIDATION_LANES = 32
VALIDATION_WARMUP = 256
VALIDATION_WINDOW = 512


class Text:
    """Characters as numbers: 90 % to train on, in the order in which Troupe's streams read them, and 10 % to validate with."""

    def __init__(self, path, order):
        with open(path, encoding="utf-8", newline="") as file:
            text = file.read()
        characters = sorted(set(text))
        index = {character: i for i, character in enumerate(characters)}
        ids = torch.tensor([index[character] for character in text])
        cut = int(0.9 * len(ids))
        self.vocabulary, self.training, self.validation = len(characters), ids[:cut], ids[cut:]
        streams, self.window = order["streams"], order["window"]
        self.windows = (len(self.training) - 1) // (streams * self.window)
        self.starts = torch.arange(streams).unsqueeze(1) * self.windows * self.window

    def batch(self, step):
        at = self.starts + torch.arange(self.window) + (step % self.windows) * self.window
        return self.training[at], self.training[at + 1].reshape(-1)


@torch.no_grad()
def validate(network, ids):
    """In lanes of equal length. Each but the first has read the characters before its own."""
    length = (len(ids) - 1) // VALIDATION_LANES
    starts = torch.arange(VALIDATION_LANES).unsqueeze(1) * length
    warmup = min(VALIDATION_WARMUP, length)
    _, states = network(ids[starts[1:] - warmup + torch.arange(warmup)], network.zero_states(VALIDATION_LANES - 1))
    states = [tuple(nn.functional.pad(part, (0, 0, 1, 0)) for part in state) for state in states]
    loss = 0.0
    for offset in range(0, length, VALIDATION_WINDOW):
        at = starts + torch.arange(offset, min(offset + VALIDATION_WINDOW, length))
        logits, states = network(ids[at], states)
        loss += nn.functional.cross_entropy(logits, ids[at + 1].reshape(-1), reduction="sum").item()
    return loss / (length * VALIDATION_LANES)


def clock_of(order):
    return time.process_time if order.get("cpuTime") else time.perf_counter


class Training:
    def __init__(self, text, order):
        self.text, self.order = text, order
        self.network = Network(order, text.vocabulary)
        if "initial" in order:
            vector = torch.frombuffer(bytearray(open(order["initial"]["file"], "rb").read()), dtype=torch.float32)
            self.network.load(vector, order["initial"]["tensors"])
        self.parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.optimizer = Muon(self.network, order["muon"]) if "muon" in order else Adam(self.parameters)
        self.average = self._average()
        self.optimizer_seconds, self.clock = 0.0, clock_of(order)
        self.states = None

    def _average(self):
        if "swa" in self.order:
            return LateAverage(self.parameters, round((1 - self.order["swa"]) * self.order["rounds"]))
        return MovingAverage(self.parameters, self.order["ema"]) if self.order.get("ema") else None

    def step(self, step):
        order = self.order
        if step % self.text.windows == 0:
            self.states = self.network.zero_states(order["streams"])
        inputs, targets = self.text.batch(step)
        logits, states = self.network(inputs, self.states)
        self.states = [tuple(part.detach() for part in state) for state in states]
        for parameter in self.parameters:
            parameter.grad = None
        nn.functional.cross_entropy(logits, targets, label_smoothing=order.get("labelSmoothing", 0.0)).backward()
        started = self.clock()
        if order["clip"] > 0:
            nn.utils.clip_grad_norm_(self.parameters, order["clip"])
        self.optimizer.step(rate_at(order, step), order["learningRate"])
        if self.average:
            self.average.update(step)
        self.optimizer_seconds += self.clock() - started

    def validate(self):
        self.network.eval()
        losses = {"validationLoss": validate(self.network, self.text.validation)}
        if self.average:
            trained = [parameter.detach().clone() for parameter in self.parameters]
            self._set(self.average.values)
            losses["averageLoss"] = validate(self.network, self.text.validation)
            self._set(trained)
        self.network.train()
        return losses

    @torch.no_grad()
    def _set(self, values):
        for parameter, value in zip(self.parameters, values):
            parameter.copy_(value)


def train(path, order):
    training = Training(Text(path, order), order)
    clock = clock_of(order)
    seconds = validation_seconds = 0.0
    started = clock()
    for step in range(order["rounds"]):
        training.step(step)
        if (step + 1) % order["evalEvery"] and step + 1 < order["rounds"]:
            continue
        trained = clock()
        losses = training.validate()
        seconds, validation_seconds = seconds + trained - started, validation_seconds + clock() - trained
        times = {"seconds": seconds, "validationSeconds": validation_seconds, "optimizerSeconds": training.optimizer_seconds}
        print(json.dumps({"round": step + 1, **times, **losses}), flush=True)
        if min(losses.values()) <= order["target"]:
            return
        started = clock()


def main():
    path, order = sys.argv[1], json.loads(sys.argv[2])
    torch.set_num_threads(order["threads"])
    torch.manual_seed(order["seed"])
    train(path, order)


if __name__ == "__main__":
    main()

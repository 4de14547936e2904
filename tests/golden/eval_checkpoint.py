"""Computes the validation loss of Troupe checkpoints with PyTorch, in float64, carrying the hidden state over the whole part.

    /usr/bin/python3 tests/golden/eval_checkpoint.py CHECKPOINT.safetensors [...] TEXT.txt [--json]

The model's tensors (`embedding.*`; `lstm.*`, `gru.*` or `rnn.*`; `norms.*`; `linear.*`) are loaded
strictly, which checks names and shapes too. Dropout is off. The validation part is the text from
character floor(0.9 * n) on; the loss is the mean negative log-likelihood of all its characters but
the first.
"""

import argparse
import json
import struct
from pathlib import Path

import torch
from torch import nn

DTYPES = {"F32": torch.float32, "F64": torch.float64, "U16": torch.int16}
CHUNK = 4096


def read_safetensors(path):
    data = bytearray(Path(path).read_bytes())
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        if name.startswith(("embedding.", "lstm.", "gru.", "rnn.", "norms.", "linear.")):
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            # Copied, because a tensor may start at any offset, aligned or not.
            tensors[name] = torch.frombuffer(data[start:end], dtype=DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return metadata, tensors


class ResetFirstGRU(nn.GRU):
    """A GRU that resets before the matrix product, n = tanh(W x + U (r * h) + b), unlike nn.GRU; one sequence."""

    def forward(self, inputs, state=None):
        outputs = inputs[0]
        if state is None:
            state = torch.zeros(self.num_layers, 1, self.hidden_size, dtype=inputs.dtype)
        ends = []
        for k in range(self.num_layers):
            outputs, end = self.layer(k, outputs, state[k, 0])
            ends.append(end)
        return outputs.unsqueeze(0), torch.stack(ends).unsqueeze(1)

    def layer(self, k, inputs, h):
        input_weight, weight, bias, second = (
            getattr(self, f"{name}_l{k}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        gates, size = inputs @ input_weight.T + bias + second, self.hidden_size
        outputs = []
        for a in gates:
            r, z = torch.sigmoid(a[: 2 * size] + weight[: 2 * size] @ h).split(size)
            n = torch.tanh(a[2 * size :] + weight[2 * size :] @ (r * h))
            h = (1 - z) * n + z * h
            outputs.append(h)
        return torch.stack(outputs), h


CELLS = {
    "lstm": ("lstm", nn.LSTM, {}),
    "gru": ("gru", ResetFirstGRU, {}),
    "gru-reset-after": ("gru", nn.GRU, {}),
    "rnn-tanh": ("rnn", nn.RNN, {"nonlinearity": "tanh"}),
    "rnn-relu": ("rnn", nn.RNN, {"nonlinearity": "relu"}),
}


class Model(nn.Module):
    def __init__(self, cell, layers, hidden, vocabulary, embedding=0, tied=False, dropout=0, dropoutOutput=0, layerNorm=False):
        super().__init__()
        if cell not in CELLS:
            raise SystemExit(f"cell {cell} is not known to this script")
        self.cell = cell
        self.module, kind, options = CELLS[cell]
        self.vocabulary = vocabulary
        if embedding > 0:
            self.embedding = nn.Embedding(vocabulary, embedding)
        setattr(self, self.module, kind(embedding or vocabulary, hidden, layers, batch_first=True, **options))
        self.linear = nn.Linear(hidden, vocabulary)
        if layerNorm:
            self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(layers))
        if tied:
            self.linear.weight = self.embedding.weight

    def forward(self, ids, state):
        if hasattr(self, "embedding"):
            inputs = self.embedding(ids)
        else:
            inputs = nn.functional.one_hot(ids, self.vocabulary).double()
        if hasattr(self, "norms"):
            return self.normalised(inputs.unsqueeze(0), state)
        output, state = getattr(self, self.module)(inputs.unsqueeze(0), state)
        return self.linear(output[0]), state

    def normalised(self, inputs, states):
        """Runs the layers one by one, because PyTorch's modules do not normalise between layers."""
        ends = []
        for k, norm in enumerate(self.norms):
            output, end = self.single(k)(inputs, states[k] if states else None)
            inputs = norm(output)
            ends.append(end)
        return self.linear(inputs[0]), ends

    def single(self, k):
        """A module of one layer with the parameters of layer k."""
        stack = getattr(self, self.module)
        _, kind, options = CELLS[self.cell]
        size = getattr(stack, f"weight_ih_l{k}").shape[1]
        layer = kind(size, stack.hidden_size, 1, batch_first=True, **options)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            setattr(layer, f"{name}_l0", getattr(stack, f"{name}_l{k}"))
        return layer


def build(config, tensors):
    model = Model(**config).double()
    if config.get("tied") and not torch.equal(tensors["embedding.weight"], tensors["linear.weight"]):
        raise SystemExit("the model ties its embedding to its output layer, but the two matrices differ")
    model.load_state_dict(tensors, strict=True)
    return model


def encode(text, vocabulary):
    ids = {character: index for index, character in enumerate(vocabulary)}
    unknown = sorted(set(text) - set(ids))
    if unknown:
        raise SystemExit(f"the text has characters that the checkpoint's vocabulary lacks: {unknown}")
    return torch.tensor([ids[character] for character in text])


@torch.no_grad()
def evaluate(model, ids):
    state, loss = None, 0.0
    for start in range(0, len(ids) - 1, CHUNK):
        window = ids[start : start + CHUNK + 1]
        logits, state = model(window[:-1], state)
        loss += nn.functional.cross_entropy(logits, window[1:], reduction="sum").item()
    return loss / (len(ids) - 1), len(ids) - 1


def measure(checkpoint, text):
    metadata, tensors = read_safetensors(checkpoint)
    troupe = json.loads(metadata["troupe"])
    ids = encode(text[int(0.9 * len(text)) :], troupe["vocabulary"])
    return evaluate(build(troupe["model"], tensors), ids)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", nargs="+", metavar="checkpoint")
    parser.add_argument("text")
    parser.add_argument("--json", action="store_true", help="print one JSON object per checkpoint and line")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    # newline="" keeps the line ends of the file.
    with open(arguments.text, encoding="utf-8", newline="") as file:
        text = file.read()
    for checkpoint in arguments.checkpoints:
        loss, tokens = measure(checkpoint, text)
        if arguments.json:
            print(json.dumps({"lossPerChar": loss, "tokens": tokens}))
        else:
            print(f"{loss:.6f} nats/char over {tokens} characters")


if __name__ == "__main__":
    main()

"""Writes the fixtures for libs/model/test/golden.ts: results of PyTorch in float64 for small models.

    /usr/bin/python3 tests/golden/make_fixtures.py

Each file is in the safetensors format: an 8-byte little-endian header length, a JSON header, raw little-endian tensors.
`__metadata__` holds `cell`; `layers`, `hidden`, `vocabulary`, `embedding`, `streams` and `window` as
decimal strings; `tied` and `layerNorm` as "true" or "false"; with dropout on the output of the last
layer also `dropoutOutput`, `seed` and `round`, which say what is dropped (libs/model/src/dropout.ts; stream b has the number
b). Tensors:

    <name>            F32, one per tensor of the parameter layout (lstm.weight_ih_l0, ..., linear.bias)
    gradient.<name>   F64, d(sum of negative log-likelihood)/d(<name>)
    tokens            U16 [B, T+1]
    states            F32 [B, L, S, H], before the window; for an LSTM S = 2: h, then C
    end_states        F64 [B, L, S, H], after the window
    logits            F64 [B, T, V], without dropout
    loss              F64 [1], sum of negative log-likelihood over B*T targets, nats

Parameters and start states are exact in float32, so that every precision starts from the same values.
"""

import json
import math
import re
import struct
from pathlib import Path

import torch
from torch import nn

# cell, layers, hidden, vocabulary, streams, window, embedding, tied
CASES = [
    ("lstm", 1, 8, 11, 3, 5, 0, False),
    ("lstm", 2, 16, 13, 2, 7, 0, False),
    ("lstm", 3, 12, 9, 5, 4, 0, False),
    ("lstm", 1, 32, 30, 4, 6, 0, False),
    ("lstm", 2, 10, 9, 3, 6, 6, False),
    ("lstm", 2, 12, 11, 3, 5, 12, True),
    ("gru-reset-after", 1, 9, 11, 3, 6, 0, False),
    ("gru-reset-after", 3, 16, 7, 4, 5, 0, False),
    ("gru-reset-after", 2, 10, 9, 2, 6, 10, True),
    ("rnn-tanh", 1, 12, 11, 3, 6, 0, False),
    ("rnn-tanh", 3, 16, 7, 4, 5, 5, False),
    ("rnn-relu", 2, 12, 11, 3, 6, 0, False),
    ("rnn-relu", 1, 9, 5, 2, 7, 9, True),
]
# The same, with layer normalisation of each layer's output.
LAYER_NORM_CASES = [
    ("lstm", 2, 14, 9, 3, 6, 0, False),
    ("gru-reset-after", 3, 10, 7, 2, 5, 6, False),
    ("rnn-tanh", 1, 11, 6, 3, 5, 11, True),
]
# The same, with dropout on the output of the last layer, after its normalisation.
DROPOUT_CASES = [
    ("lstm", 2, 11, 8, 3, 5, 0, False),
    ("gru-reset-after", 1, 13, 6, 2, 6, 0, False),
]
DROPOUT = {"dropoutOutput": 0.4, "seed": 0x9E3779B9, "round": 12}
TYPES = {torch.float32: ("F32", "<f4"), torch.float64: ("F64", "<f8"), torch.int32: ("U16", "<u2")}


def philox(counter, key):
    """Philox4x32-10, Salmon et al. 2011."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        low, other = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (other >> 32) ^ c1 ^ k0, other & 0xFFFFFFFF, (low >> 32) ^ c3 ^ k1, low & 0xFFFFFFFF
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


def output_mask(layers, streams, window, hidden):
    """[B, T, H]: 0 or 1/(1 - p), rounded to float32."""
    p, seed, number = DROPOUT["dropoutOutput"], DROPOUT["seed"], DROPOUT["round"]
    kept = [
        [[philox((j >> 2, t, b, number), (seed, layers - 1))[j & 3] >= math.floor(p * 2**32) for j in range(hidden)] for t in range(window)]
        for b in range(streams)
    ]
    return torch.tensor(kept).double() * torch.tensor(1 / (1 - p)).float().double()


def uniform(shape, bound):
    return (torch.rand(shape, dtype=torch.float64) * 2 - 1).mul(bound).float().double()


def recurrent(cell, inputs, hidden, layers):
    if cell == "lstm":
        return "lstm", nn.LSTM(inputs, hidden, layers, batch_first=True)
    if cell == "gru-reset-after":
        return "gru", nn.GRU(inputs, hidden, layers, batch_first=True)
    return "rnn", nn.RNN(inputs, hidden, layers, nonlinearity=cell.removeprefix("rnn-"), batch_first=True)


class NormalisedLayers(nn.Module):
    """A stack of one-layer modules, each followed by its nn.LayerNorm."""

    def __init__(self, cell, inputs, hidden, layers):
        super().__init__()
        self.layers = nn.ModuleList(recurrent(cell, inputs if k == 0 else hidden, hidden, 1)[1] for k in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(layers))

    def forward(self, inputs, state):
        ends = []
        for k, (layer, norm) in enumerate(zip(self.layers, self.norms)):
            start = tuple(part[k : k + 1] for part in state) if isinstance(state, tuple) else state[k : k + 1]
            output, end = layer(inputs, start)
            inputs = norm(output)
            ends.append(end)
        if isinstance(state, tuple):
            return inputs, tuple(torch.cat(parts) for parts in zip(*ends))
        return inputs, torch.cat(ends)


def build(cell, layers, hidden, vocabulary, embedding, tied, layer_norm):
    name, module = recurrent(cell, embedding or vocabulary, hidden, layers)
    if layer_norm:
        module = NormalisedLayers(cell, embedding or vocabulary, hidden, layers)
    # The embedding comes first, because a tied parameter gets the name under which it is found first.
    parts = {"embedding": nn.Embedding(vocabulary, embedding)} if embedding else {}
    parts |= {name: module, "linear": nn.Linear(hidden, vocabulary)}
    if tied:
        parts["linear"].weight = parts["embedding"].weight
    model = nn.ModuleDict(parts).double()
    # Wider than initial parameters, so that gates reach their nonlinear range; a ReLU would explode.
    width = (1.5 if cell == "rnn-relu" else 3) / hidden**0.5
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if "bias_hh" not in parameter_name:
                parameter.copy_(uniform(parameter.shape, width))
                if ".norms." in parameter_name and parameter_name.endswith("weight"):
                    parameter.add_(1).copy_(parameter.float())
                continue
            # Only a GRU's candidate has a separate recurrent bias.
            parameter.zero_()
            if cell == "gru-reset-after":
                parameter[2 * hidden :] = uniform((hidden,), width)
    return name, model


def named_tensors(cell, hidden, model):
    """(name in the layout, parameter, gradient)"""
    for name, parameter in model.named_parameters():
        # gru.layers.2.weight_ih_l0 -> gru.weight_ih_l2; gru.norms.2.bias -> norms.2.bias
        name = re.sub(r"\.layers\.(\d+)\.(\w+)_l0", r".\2_l\1", name)
        name = re.sub(r"^\w+\.norms\.", "norms.", name)
        if "bias_hh" not in name:
            yield name, parameter.detach(), parameter.grad
        elif cell == "gru-reset-after":
            yield name.replace("bias_hh", "bias_hn"), parameter.detach()[2 * hidden :], parameter.grad[2 * hidden :]


def case(cell, layers, hidden, vocabulary, streams, window, embedding, tied, layer_norm, drops):
    torch.manual_seed(layers * 1000 + hidden)
    name, model = build(cell, layers, hidden, vocabulary, embedding, tied, layer_norm)
    tokens = torch.randint(0, vocabulary, (streams, window + 1), dtype=torch.int32)
    state = [uniform((layers, streams, hidden), 0.9)]
    if cell == "lstm":
        state.append(uniform((layers, streams, hidden), 1.5))
    ids = tokens[:, :-1].long()
    inputs = model["embedding"](ids) if embedding else nn.functional.one_hot(ids, vocabulary).double()
    output, end = model[name](inputs, tuple(state) if cell == "lstm" else state[0])
    logits = model["linear"](output)
    trained = model["linear"](output * output_mask(layers, streams, window, hidden)) if drops else logits
    loss = nn.functional.cross_entropy(trained.reshape(-1, vocabulary), tokens[:, 1:].long().reshape(-1), reduction="sum")
    loss.backward()
    tensors = {}
    for tensor, value, gradient in named_tensors(cell, hidden, model):
        tensors[tensor] = value.float()
        tensors[f"gradient.{tensor}"] = gradient
    stack = lambda vectors: torch.stack(list(vectors), dim=2).permute(1, 0, 2, 3).contiguous().detach()
    tensors["tokens"] = tokens
    tensors["states"] = stack(state).float()
    tensors["end_states"] = stack(end if cell == "lstm" else [end])
    tensors["logits"] = logits.detach()
    tensors["loss"] = loss.detach().reshape(1)
    return tensors


def write(path, metadata, tensors):
    header = {"__metadata__": {key: str(value) for key, value in metadata.items()}}
    body = b""
    for name, tensor in tensors.items():
        kind, layout = TYPES[tensor.dtype]
        data = tensor.numpy().astype(layout).tobytes()
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def main():
    torch.set_num_threads(1)
    folder = Path(__file__).parent / "fixtures"
    folder.mkdir(exist_ok=True)
    cases = [(*sizes, False, False) for sizes in CASES] + [(*sizes, True, False) for sizes in LAYER_NORM_CASES]
    cases += [(*sizes, k == 0, True) for k, sizes in enumerate(DROPOUT_CASES)]
    for cell, layers, hidden, vocabulary, streams, window, embedding, tied, layer_norm, drops in cases:
        sizes = dict(layers=layers, hidden=hidden, vocabulary=vocabulary, embedding=embedding, streams=streams, window=window)
        kind = ("-tied" if tied else "-embedding" if embedding else "") + ("-layer-norm" if layer_norm else "")
        kind += "-output-dropout" if drops else ""
        tensors = case(cell, layers, hidden, vocabulary, streams, window, embedding, tied, layer_norm, drops)
        metadata = dict(cell=cell, tied=str(tied).lower(), layerNorm=str(layer_norm).lower(), **sizes)
        metadata |= DROPOUT if drops else {}
        write(folder / f"{cell}{kind}-{layers}x{hidden}.safetensors", metadata, tensors)


if __name__ == "__main__":
    main()

"""Writes the golden fixtures that libs/model/test/golden.ts reads: what PyTorch computes, in float64, for small models.

    /usr/bin/python3 tests/golden/make_fixtures.py

Each file is in the safetensors format: an 8-byte little-endian header length, a JSON header, raw little-endian tensors.
`__metadata__` holds `cell`, `layers`, `hidden`, `vocabulary`, `streams`, `window` as decimal strings. Tensors:

    <name>            F32, one per tensor of the parameter layout (lstm.weight_ih_l0, ..., linear.bias)
    gradient.<name>   F64, d(sum of negative log-likelihood)/d(<name>)
    tokens            U16 [B, T+1]
    states            F32 [B, L, 2, H], before the window; h, then C
    end_states        F64 [B, L, 2, H], after the window
    logits            F64 [B, T, V]
    loss              F64 [1], sum of negative log-likelihood over B*T targets, nats

Parameters and start states are exact in float32, so every precision starts from the same numbers.
"""

import json
import struct
from pathlib import Path

import torch
from torch import nn

# layers, hidden, vocabulary, streams, window
CASES = [(1, 8, 11, 3, 5), (2, 16, 13, 2, 7), (3, 12, 9, 5, 4), (1, 32, 30, 4, 6)]
TYPES = {torch.float32: ("F32", "<f4"), torch.float64: ("F64", "<f8"), torch.int32: ("U16", "<u2")}


def uniform(shape, bound):
    return (torch.rand(shape, dtype=torch.float64) * 2 - 1).mul(bound).float().double()


def build(layers, hidden, vocabulary):
    model = nn.ModuleDict({"lstm": nn.LSTM(vocabulary, hidden, layers, batch_first=True), "linear": nn.Linear(hidden, vocabulary)})
    model.double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Wider than at the start of training, so that gates reach their bent parts.
            parameter.copy_(torch.zeros_like(parameter) if "bias_hh" in name else uniform(parameter.shape, 3 / hidden**0.5))
    return model


def case(layers, hidden, vocabulary, streams, window):
    torch.manual_seed(layers * 1000 + hidden)
    model = build(layers, hidden, vocabulary)
    tokens = torch.randint(0, vocabulary, (streams, window + 1), dtype=torch.int32)
    h = uniform((layers, streams, hidden), 0.9)
    c = uniform((layers, streams, hidden), 1.5)
    inputs = nn.functional.one_hot(tokens[:, :-1].long(), vocabulary).double()
    output, (end_h, end_c) = model["lstm"](inputs, (h, c))
    logits = model["linear"](output)
    loss = nn.functional.cross_entropy(logits.reshape(-1, vocabulary), tokens[:, 1:].long().reshape(-1), reduction="sum")
    loss.backward()
    tensors = {}
    for name, parameter in model.named_parameters():
        if "bias_hh" not in name:
            tensors[name] = parameter.detach().float()
            tensors[f"gradient.{name}"] = parameter.grad
    stack = lambda a, b: torch.stack([a, b], dim=2).permute(1, 0, 2, 3).contiguous().detach()
    tensors["tokens"] = tokens
    tensors["states"] = stack(h, c).float()
    tensors["end_states"] = stack(end_h, end_c)
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
    for layers, hidden, vocabulary, streams, window in CASES:
        metadata = dict(cell="lstm", layers=layers, hidden=hidden, vocabulary=vocabulary, streams=streams, window=window)
        write(folder / f"lstm-{layers}x{hidden}.safetensors", metadata, case(layers, hidden, vocabulary, streams, window))


if __name__ == "__main__":
    main()

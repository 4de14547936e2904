"""What PyTorch says a Troupe checkpoint is worth: validation loss in float64, hidden state carried over the whole part.

    /usr/bin/python3 tests/golden/eval_checkpoint.py CHECKPOINT.safetensors TEXT.txt [--json]

The tensors `lstm.*` and `linear.*` are loaded strictly, so names and shapes are checked too. The validation part is the
text from character floor(0.9 * n) on; the loss is the mean negative log-likelihood of all its characters but the first.
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
        if name.startswith(("lstm.", "linear.")):
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            # Copied, because a tensor may not start at a multiple of its element size.
            tensors[name] = torch.frombuffer(data[start:end], dtype=DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return metadata, tensors


def build(config, tensors):
    if config["cell"] != "lstm":
        raise SystemExit(f"cell {config['cell']} is not known to this script")
    model = nn.ModuleDict(
        {
            "lstm": nn.LSTM(config["vocabulary"], config["hidden"], config["layers"], batch_first=True),
            "linear": nn.Linear(config["hidden"], config["vocabulary"]),
        }
    ).double()
    model.load_state_dict(tensors, strict=True)
    return model


def encode(text, vocabulary):
    ids = {character: index for index, character in enumerate(vocabulary)}
    unknown = sorted(set(text) - set(ids))
    if unknown:
        raise SystemExit(f"the text holds characters that the checkpoint's vocabulary lacks: {unknown}")
    return torch.tensor([ids[character] for character in text])


@torch.no_grad()
def evaluate(model, ids, vocabulary):
    state, loss = None, 0.0
    for start in range(0, len(ids) - 1, CHUNK):
        window = ids[start : start + CHUNK + 1]
        inputs = nn.functional.one_hot(window[:-1], vocabulary).double().unsqueeze(0)
        output, state = model["lstm"](inputs, state)
        loss += nn.functional.cross_entropy(model["linear"](output[0]), window[1:], reduction="sum").item()
    return loss / (len(ids) - 1), len(ids) - 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("text")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    metadata, tensors = read_safetensors(arguments.checkpoint)
    troupe = json.loads(metadata["troupe"])
    model = build(troupe["model"], tensors)
    # newline="" keeps line ends as they are in the file.
    with open(arguments.text, encoding="utf-8", newline="") as file:
        text = file.read()
    ids = encode(text[int(0.9 * len(text)) :], troupe["vocabulary"])
    loss, tokens = evaluate(model, ids, troupe["model"]["vocabulary"])
    if arguments.json:
        print(json.dumps({"lossPerChar": loss, "tokens": tokens}))
    else:
        print(f"{loss:.6f} nats/char over {tokens} characters")


if __name__ == "__main__":
    main()

"""Computes logits with models that `troupe export --pytorch` wrote, each by its own model.py.

    /usr/bin/python3 tests/golden/export_logits.py FOLDER [...] < ids.json

Reads ids [B][T] and prints for each folder a JSON line: the logits [B][T][V], computed in two parts
so that the state is passed on too.
"""

import importlib.util
import json
import sys
from pathlib import Path

import torch


def logits_of(folder, ids):
    spec = importlib.util.spec_from_file_location("model", Path(folder) / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model, vocabulary = module.load(folder)
    assert len(vocabulary) == module.VOCABULARY
    half = ids.shape[1] // 2
    with torch.no_grad():
        first, state = model(ids[:, :half])
        second, _ = model(ids[:, half:], state)
    return torch.cat([first, second], 1)


if __name__ == "__main__":
    ids = torch.tensor(json.load(sys.stdin))
    for folder in sys.argv[1:]:
        print(json.dumps(logits_of(folder, ids).tolist()))

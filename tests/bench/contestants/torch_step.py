"""PyTorch as a contestant (contestant.mjs describes the protocol): one-hot input, nn.LSTM, nn.Linear, cross_entropy, one thread.

A step is one forward and backward pass without the optimizer, like the steps of the engines that it is compared with.
"""

import json
import sys
import time

import torch
from torch import nn


def gemm_speed():
    """GFLOP/s of a 1024x1024 product, so that the figures show how fast the BLAS is."""
    matrix = torch.ones(1024, 1024)
    matrix @ matrix
    start = time.perf_counter()
    for _ in range(5):
        matrix @ matrix
    return 5 * 2 * 1024**3 / (time.perf_counter() - start) / 1e9


def prepare(order):
    torch.set_num_threads(1)
    torch.manual_seed(1)
    layers, hidden, streams, window, vocabulary = (
        order[name] for name in ("layers", "hidden", "streams", "window", "vocabulary")
    )
    lstm = nn.LSTM(vocabulary, hidden, layers, batch_first=True)
    linear = nn.Linear(hidden, vocabulary)
    parameters = [*lstm.parameters(), *linear.parameters()]
    ids = torch.randint(vocabulary, (streams, window + 1))
    inputs = nn.functional.one_hot(ids[:, :-1], vocabulary).float()
    targets = ids[:, 1:].reshape(-1)

    def step():
        for parameter in parameters:
            parameter.grad = None
        output, _ = lstm(inputs)
        loss = nn.functional.cross_entropy(linear(output).reshape(-1, vocabulary), targets)
        loss.backward()
        return loss.item()

    return step, f"{torch.__version__}, GEMM {gemm_speed():.0f} GFLOP/s"


def main():
    step = None
    for line in sys.stdin:
        message = json.loads(line)
        if step is None:
            step, detail = prepare(message)
            answer = {"detail": detail}
        else:
            ms, loss = [], float("nan")
            for _ in range(message["steps"]):
                start = time.perf_counter()
                loss = step()
                ms.append((time.perf_counter() - start) * 1000)
            answer = {"ms": ms, "loss": loss}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

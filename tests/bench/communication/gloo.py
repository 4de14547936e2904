"""PyTorch's way to do the same: N processes all-reduce P float32 values with gloo, then each takes a step of Adam.

Arguments: P, N, repetitions, warm-up repetitions, the path of a file by which the processes find each other. Prints the milliseconds
of each repetition of the first process as JSON, and the processor time of all processes per repetition.
"""

import json
import os
import sys
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing


def member(rank, size, parameters, repetitions, warmup, store, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=size)
    weights = torch.nn.Parameter(torch.zeros(parameters))
    weights.grad = torch.rand(parameters) - 0.5
    prepared = weights.grad.clone()
    optimizer = torch.optim.Adam([weights], lr=1e-3)
    ms, cpu = [], 0.0
    for repetition in range(warmup + repetitions):
        dist.barrier()
        start, cpu_start = time.perf_counter(), time.process_time()
        weights.grad.copy_(prepared)
        dist.all_reduce(weights.grad)
        weights.grad /= size
        optimizer.step()
        if repetition >= warmup:
            ms.append((time.perf_counter() - start) * 1000)
            cpu += time.process_time() - cpu_start
    results.put((rank, ms, cpu * 1000 / repetitions))
    dist.barrier()


def main():
    parameters, size, repetitions, warmup = (int(word) for word in sys.argv[1:5])
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    arguments = (size, parameters, repetitions, warmup, sys.argv[5], results)
    processes = [context.Process(target=member, args=(rank, *arguments)) for rank in range(size)]
    for process in processes:
        process.start()
    found = [results.get() for _ in processes]
    for process in processes:
        process.join()
    ms = next(ms for rank, ms, _ in found if rank == 0)
    print(json.dumps({"ms": ms, "cpuMs": sum(cpu for _, _, cpu in found), "version": torch.__version__}))


if __name__ == "__main__":
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    main()

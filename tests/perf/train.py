"""Trains a small convolutional network with DistributedDataParallel, and writes samples a second.

Only the epoch loop is timed, after one epoch to warm up.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

SAMPLES = 4096
BATCH = 64


def network() -> nn.Module:
    """Two convolutions and two dense layers."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 7 * 7, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def trainer() -> Callable[[int], float]:
    """A function that trains for one epoch and returns the last loss."""
    data = TensorDataset(torch.randn(SAMPLES, 1, 28, 28), torch.randint(10, (SAMPLES,)))
    sampler = DistributedSampler(data)
    loader = DataLoader(data, batch_size=BATCH, sampler=sampler)
    model = DistributedDataParallel(network())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def train(epoch: int) -> float:
        sampler.set_epoch(epoch)
        for batch, labels in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(batch), labels)
            loss.backward()
            optimizer.step()
        return float(loss)

    return train


def main() -> None:
    """Entry point of each process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", type=Path, help="file for samples a second")
    parser.add_argument("--epochs", type=int, default=15, help="how many are timed")
    parser.add_argument("--report", action="store_true", help="report each epoch to Loopwright")
    options = parser.parse_args()
    torch.manual_seed(0)
    distributed.init_process_group("gloo")
    train = trainer()
    started = 0.0
    for epoch in range(options.epochs + 1):
        if epoch == 1:
            distributed.barrier()
            started = time.perf_counter()
        loss = train(epoch)
        if options.report:
            from loopwright.train import report

            report({"loss": loss}, step=epoch, total_steps=options.epochs, epoch=epoch)
    distributed.barrier()
    seconds = time.perf_counter() - started
    if distributed.get_rank() == 0:
        options.result.write_text(str(SAMPLES * options.epochs / seconds))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()

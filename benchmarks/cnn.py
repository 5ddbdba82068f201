"""Mini-batch training of a convolutional network on MNIST against PyTorch.

    python -m benchmarks.cnn

Nielsen's network, 20 filters of 5 × 5, pool, 40 of 5 × 5, pool, 100 units, 10 outputs
(2015, chapter 6), with ReLU: forward, backward and a step of SGD, float32. PyTorch
starts from the same parameters and takes the same rows in the same order, in its
default layout and in channels_last, its faster one.
"""

import sys
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import mlp, runner
from jaxml import train
from jaxml.networks import convolution

ROWS = 2560  # in an epoch: 256 batches of 10, 20 of 128
SHAPES = ((5, 5, 1, 20), (5, 5, 20, 40), (640, 100), (100, 10))


class Job(NamedTuple):
    """A batch, and how many times as long the peers should take."""

    batch: int
    fast: float  # PyTorch's faster layout
    default: float | None


JOBS = (Job(10, 1.5, None), Job(128, 1.05, 1.4))
LEARNING_RATE = 0.03
COMPARED = 10  # costs of the first batches: rounding grows along the path


def main() -> int:
    runner.two_cores()
    report = runner.Report("Convolutional network, MNIST", "torch")
    digits = mlp.load(ROWS)
    report.races(f"One epoch of {ROWS:,} rows, SGD; ratio = peer / jaxml:")
    for job in JOBS:
        peers = [
            runner.Peer("PyTorch, channels last", pytorch(job, digits, True), job.fast),
            runner.Peer("PyTorch", pytorch(job, digits, False), job.default),
        ]
        report.race(f"20-40-100-10, batch {job.batch}", ours(job, digits), peers)
    return report.close()


def start() -> list[tuple[np.ndarray, np.ndarray]]:
    """Kernels and biases of each layer."""
    rng = np.random.default_rng(0)
    return [
        (
            (rng.normal(size=s) / np.sqrt(np.prod(s[:-1]))).astype(np.float32),
            np.zeros(s[-1], np.float32),
        )
        for s in SHAPES
    ]


def cost(params, x, y):
    """Cross-entropy of a softmax, the mean over the rows."""
    a = x.reshape(-1, 28, 28, 1)
    for kernel, b in params[:2]:
        a = jax.nn.relu(convolution.conv_max_pool(a, kernel) + b)
    a = a.reshape(len(x), -1)
    a = jax.nn.relu(a @ params[2][0] + params[2][1])
    z = a @ params[3][0] + params[3][1]
    return jnp.mean(jax.nn.logsumexp(z, axis=1) - jnp.sum(z * y, axis=1))


def ours(job: Job, data: mlp.Data) -> Callable[[], jax.Array]:
    """An epoch of jaxml: the first costs of its batches."""
    update = train.descend(cost, learning_rate=LEARNING_RATE)
    state = train.start(update, start(), mlp.run_key())
    arrays = mlp.on_device(data)

    def run():
        return train.epoch(update, state, arrays, batch=job.batch)[1]["cost"][:COMPARED]

    return run


def pytorch(job: Job, data: mlp.Data, channels_last: bool) -> Callable[[], np.ndarray]:
    """The same epoch as a plain PyTorch loop."""
    torch = runner.need("torch")
    nn = torch.nn
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.tensor(data.x).reshape(-1, 1, 28, 28).contiguous(memory_format=layout)
    y = torch.tensor(data.y).long()
    order = torch.tensor(np.array(mlp.row_order(len(x), job.batch)))

    def network():
        result = nn.Sequential(
            *(nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Conv2d(20, 40, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten()),
            *(nn.Linear(640, 100), nn.ReLU(), nn.Linear(100, 10)),
        )
        kernels = [kernel for kernel, _ in start()]
        # Theirs has channels before rows and columns, when it is made flat too.
        kernels[2] = kernels[2].reshape(4, 4, 40, 100).transpose(2, 0, 1, 3)
        kernels = [
            *(kernel.transpose(3, 2, 0, 1) for kernel in kernels[:2]),
            kernels[2].reshape(640, 100).T,
            kernels[3].T,
        ]
        with torch.no_grad():
            for i, kernel in zip((0, 3, 7, 9), kernels, strict=True):
                result[i].weight.copy_(torch.tensor(kernel.copy()))
                result[i].bias.zero_()
        return result.to(memory_format=layout)

    def run():
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
        costs = []
        for rows in order:
            optimizer.zero_grad()
            taken = x[rows].contiguous(memory_format=layout)
            loss = nn.functional.cross_entropy(model(taken), y[rows])
            loss.backward()
            optimizer.step()
            costs.append(loss.detach())
        return torch.stack(costs[:COMPARED]).numpy()

    return run


if __name__ == "__main__":
    sys.exit(main())

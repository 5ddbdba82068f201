"""Mini-batch training of multilayer perceptrons on MNIST against PyTorch and NumPy.

    python -m benchmarks.mlp          everything, about four minutes
    python -m benchmarks.mlp seeds    32 seeds over two devices only

One epoch in float32. The peers start from the same parameters and take the same rows in
the same order, and every side gives the cost of each batch, before its step.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

from benchmarks import runner
from jaxml import train
from jaxml.data import datasets
from jaxml.networks import feedforward

ROWS = 20_480  # rows in an epoch: 2048 batches of 10, 160 of 128
SEEDS = 32
COMPILE = 1.5  # s, the most an epoch may take to compile
OUTPUTS = {
    "cross-entropy": "sigmoid",
    "log-likelihood": "softmax",
    "quadratic": "sigmoid",
}


class Data(NamedTuple):
    """Digits to learn from."""

    x: np.ndarray  # (m, 784) float32 in [0, 1]
    y: np.ndarray  # (m,) labels
    targets: np.ndarray  # (m, 10) float32, one-hot


class Job(NamedTuple):
    """An epoch of SGD, and how many times as long the peers should take."""

    sizes: tuple[int, ...]
    batch: int
    torch: float | None = None
    numpy: float | None = None
    loss: str = "cross-entropy"
    learning_rate: float = 0.1

    @property
    def name(self) -> str:
        """As the tables have it."""
        return f"{'-'.join(map(str, self.sizes))} {self.loss}, batch {self.batch}"


JOBS = (
    Job((784, 100, 10), batch=10, torch=4, numpy=1.3),
    Job((784, 100, 10), batch=10, torch=4, numpy=1.3, loss="log-likelihood"),
    Job((784, 100, 10), batch=128, torch=2),
    Job((784, 500, 300, 10), batch=10, torch=3),
)
SMALL = Job((784, 30, 10), batch=10)
# Rounding grows along this path: float32 cannot follow it for much longer.
QUADRATIC = Job((784, 30, 10), batch=10, loss="quadratic", learning_rate=3.0)
QUADRATIC_STEPS = 50


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.mlp")
    parser.add_argument("part", nargs="?", choices=["all", "seeds"], default="all")
    if parser.parse_args().part == "seeds":
        return on_two_devices()
    status = on_one_device()
    # The number of devices is fixed when JAX starts: the rest takes another process.
    print(flush=True)
    other = subprocess.run([sys.executable, "-m", "benchmarks.mlp", "seeds"])
    return max(status, other.returncode)


def on_one_device() -> int:
    """All jobs, in JAX's default setting."""
    runner.two_cores()
    report = runner.Report("Multilayer perceptron, MNIST", "torch")
    data = load(ROWS)
    report.races(f"One epoch of {ROWS:,} rows, SGD; ratio = peer / jaxml:")
    for job in JOBS:
        race(report, job, data)
    compare_quadratic(report, data)
    begin_itself(report)
    compare_adam(report, JOBS[0], data)
    arrays = on_device(data)
    compare_seeds(report, jnp.arange(SEEDS), arrays, arrays, "one device")
    return report.close()


def on_two_devices() -> int:
    """32 seeds, half of them on each of two devices."""
    jax.config.update("jax_num_cpu_devices", 2)
    runner.two_cores()
    report = runner.Report("Multilayer perceptron, MNIST: seeds over two devices")
    mesh = jax.make_mesh((2,), ("seed",), axis_types=(jax.sharding.AxisType.Auto,))
    halves = NamedSharding(mesh, PartitionSpec("seed"))
    whole = NamedSharding(mesh, PartitionSpec())
    data = load(ROWS)
    seeds = jax.device_put(jnp.arange(SEEDS), halves)
    begin_itself(report)
    spread = on_device(data, whole)
    compare_seeds(report, seeds, spread, on_device(data), "two devices")
    return report.close()


def load(rows: int) -> Data:
    """The first rows of MNIST."""
    try:
        digits, _ = datasets.mnist(scale=1 / 255)
    except datasets.DataError as error:
        sys.exit(f"benchmarks: {error}")
    return labelled(digits.x[:rows], digits.y[:rows])


def labelled(x: np.ndarray, y: np.ndarray) -> Data:
    return Data(x, y, np.eye(10, dtype=np.float32)[y])


def on_device(data: Data, sharding=None) -> tuple[jax.Array, jax.Array]:
    """The data as train takes them."""
    return jax.device_put((jnp.array(data.x), jnp.array(data.targets)), sharding)


# --- the sides ---------------------------------------------------------------------


def descent(job: Job, solver=optax.sgd, learning_rate=None) -> train.Descent:
    return train.descend(
        feedforward.cost,
        gradient=feedforward.backprop,
        solver=solver,
        learning_rate=job.learning_rate if learning_rate is None else learning_rate,
    )


def start(job: Job, seed=1) -> feedforward.Params:
    options: dict[str, Any] = {"output": OUTPUTS[job.loss], "loss": job.loss}
    key = jax.random.key(seed)
    return feedforward.init(key, sizes=job.sizes, scheme="scaled", **options)


def run_key(seed=1) -> jax.Array:
    return jax.random.fold_in(jax.random.key(seed), 0)


def ours(
    job: Job, data: Data, solver=optax.sgd, learning_rate=None
) -> Callable[[], jax.Array]:
    """An epoch of jaxml: the costs of its batches."""
    update = descent(job, solver, learning_rate)
    state = train.start(update, start(job), run_key())
    arrays = on_device(data)
    return lambda: train.epoch(update, state, arrays, batch=job.batch)[1]["cost"]


def row_order(rows: int, batch: int, seed=1) -> jax.Array:
    """The rows of each batch, (steps, batch), that an epoch of jaxml takes."""
    update = jax.tree_util.Partial(tell)
    state = train.start(update, (), run_key(seed))
    return train.epoch(update, state, jnp.arange(rows), batch=batch)[1]["rows"]


def tell(state, key, batch):
    """An update that learns nothing, and tells which rows it was given."""
    return state, {"rows": batch.data}


def pytorch(job: Job, data: Data, device: str = "cpu") -> Callable[[], np.ndarray]:
    """The same epoch as a plain PyTorch loop."""
    torch = runner.need("torch")
    x, targets = (
        torch.tensor(array, device=device) for array in (data.x, data.targets)
    )
    if job.loss == "log-likelihood":
        targets = torch.tensor(data.y, device=device).long()
    order = torch.tensor(np.array(row_order(len(x), job.batch)), device=device)
    initial = start(job)
    cost = torch_cost(torch, job.loss)

    def run():
        network = torch_network(torch, initial, device)
        optimizer = torch.optim.SGD(network.parameters(), lr=job.learning_rate)
        costs = []
        for rows in order:
            optimizer.zero_grad()
            loss = cost(network(x[rows]), targets[rows])
            loss.backward()
            optimizer.step()
            costs.append(loss.detach())
        return torch.stack(costs).cpu().numpy()

    return run


def torch_network(torch, params: feedforward.Params, device: str):
    """A Sequential of Linear and Sigmoid that starts from params, up to z^(L)."""
    layers = []
    for theta in params.theta:
        theta = torch.tensor(np.array(theta))
        layer = torch.nn.Linear(theta.shape[1] - 1, theta.shape[0])
        layer.bias.data.copy_(theta[:, 0])
        layer.weight.data.copy_(theta[:, 1:])
        layers += [layer, torch.nn.Sigmoid()]
    return torch.nn.Sequential(*layers[:-1]).to(device)


def torch_cost(torch, loss: str):
    """The mean over the rows, of z^(L) and the targets."""
    functional = torch.nn.functional
    if loss == "log-likelihood":
        return functional.cross_entropy
    if loss == "cross-entropy":
        each = functional.binary_cross_entropy_with_logits
        return lambda z, y: each(z, y, reduction="sum") / len(y)
    return lambda z, y: 0.5 * ((torch.sigmoid(z) - y) ** 2).sum() / len(y)


def plain_numpy(job: Job, data: Data) -> Callable[[], np.ndarray]:
    """The same epoch in vectorised NumPy, back-propagation by hand."""
    order = np.array(row_order(len(data.x), job.batch))
    initial = [np.array(theta) for theta in start(job).theta]
    rate, share = np.float32(job.learning_rate), np.float32(1 / job.batch)

    def run():
        w = [theta[:, 1:].copy() for theta in initial]
        b = [theta[:, 0].copy() for theta in initial]
        costs = []
        for rows in order:
            a, y = [data.x[rows]], data.targets[rows]
            for i in range(len(w)):
                z = a[-1] @ w[i].T + b[i]
                a.append(1 / (1 + np.exp(-z)))
            if job.loss == "log-likelihood":
                z -= z.max(axis=1, keepdims=True)
                e = np.exp(z)
                total = e.sum(axis=1, keepdims=True)
                costs.append(np.sum(np.log(total)) - np.vdot(y, z))
                delta = e / total - y
            elif job.loss == "cross-entropy":
                costs.append(np.logaddexp(0, z).sum() - np.vdot(y, z))
                delta = a[-1] - y
            else:
                costs.append(0.5 * np.sum((a[-1] - y) ** 2))
                delta = (a[-1] - y) * a[-1] * (1 - a[-1])
            delta *= share
            for i in reversed(range(len(w))):
                slope_w, slope_b = delta.T @ a[i], delta.sum(axis=0)
                if i:
                    delta = (delta @ w[i]) * a[i] * (1 - a[i])
                slope_w *= rate
                w[i] -= slope_w
                b[i] -= rate * slope_b
        return np.array(costs) * share

    return run


# --- the comparisons ---------------------------------------------------------------


def race(report: runner.Report, job: Job, data: Data) -> None:
    """Time a job against the peers."""
    peers = [runner.Peer("PyTorch", pytorch(job, data), job.torch)]
    if job.numpy is not None:
        peers.append(runner.Peer("NumPy", plain_numpy(job, data), job.numpy))
    seconds = report.race(job.name, ours(job, data), peers).compile
    what = f"{job.name}: compiled in {seconds:.2f} s, not {COMPILE} s"
    report.demand(what, seconds <= COMPILE)


def compare_quadratic(report: runner.Report, data: Data) -> None:
    """The first costs of QUADRATIC: too few to be timed."""
    job, rows = QUADRATIC, QUADRATIC_STEPS * QUADRATIC.batch
    few = Data(*(array[:rows] for array in data))
    own = ours(job, few)()
    gap = max(runner.apart(own, peer(job, few)()) for peer in (pytorch, plain_numpy))
    what = f"{job.name}, {QUADRATIC_STEPS} batches"
    print(f"\n{what}: within {gap:.1e} of PyTorch and NumPy (1e-05 at most).")
    report.require(f"{what}: {gap:.1e} apart, not 1e-05 at most", gap <= 1e-5)


def begin_itself(report: runner.Report) -> None:
    """Begin the table of jaxml against itself."""
    report.heading(
        f"jaxml against itself, one epoch of {ROWS:,} rows; cost = this / that:",
        job=36,
        this=21,
        ms=7,
        that=8,
        ms_=7,
        cost=5,
        target=6,
    )


def compare_itself(report, job: Job, this, that, names, most) -> None:
    """A row of that table."""
    report.busy = max(report.busy, this.others, that.others)
    cost = this.warm / that.warm
    times = [f"{1e3 * each.warm:.1f}" for each in (this, that)]
    report.row(
        job.name, names[0], times[0], names[1], times[1], f"{cost:.2f}", f"<= {most:g}"
    )
    what = f"{job.name}: {names[0]} cost {cost:.2f} times {names[1]}, not {most:g}"
    report.demand(what, cost <= most)


def compare_adam(report: runner.Report, job: Job, data: Data) -> None:
    adam, sgd = runner.alternate(ours(job, data, optax.adam, 1e-3), ours(job, data))
    compare_itself(report, job, adam, sgd, ("Adam", "SGD"), 1.6)


def compare_seeds(report: runner.Report, seeds, spread, data, where: str) -> None:
    """All seeds in one vmap, each with its own batches, against one of them.

    seeds and spread, the data, lie on the devices that share the work, data on one.
    """
    update = descent(SMALL)

    def epoch(seed, data):
        state = train.start(update, start(SMALL, seed), run_key(seed))
        return train.epoch(update, state, data, batch=SMALL.batch)[1]["cost"]

    one, many = jax.jit(epoch), jax.jit(jax.vmap(epoch, in_axes=(0, None)))
    many_seeds, one_seed = runner.alternate(
        lambda: many(seeds, spread), lambda: one(jnp.int32(1), data)
    )
    names = f"{SEEDS} seeds, {where}", "one seed"
    compare_itself(report, SMALL, many_seeds, one_seed, names, 20)
    gap = runner.apart(many_seeds.value[1], one_seed.value)
    report.require(f"{names[0]}: {gap:.1e} apart from one", gap <= 1e-5)


if __name__ == "__main__":
    sys.exit(main())

"""The same jobs on a GPU: its two ceilings, then jaxml against PyTorch on that card.

    python -m benchmarks.gpu                        all jobs
    python -m benchmarks.gpu --only epochs          one of them
    python -m benchmarks.gpu --device cpu --small   only to see that it runs

MNIST if it is to be had, else random numbers of its shape. Without PyTorch, jaxml
alone. Both sides compute in float32, or both in TF32 where a row says so.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable
from typing import NamedTuple

# Before JAX starts: it would take most of the card's memory, and PyTorch needs some.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import mlp, runner
from jaxml import train
from jaxml.data import datasets

REPEAT = 10  # calls to a sample of a ceiling, so that launching them costs nothing


class Bench(NamedTuple):
    """What every job needs."""

    report: runner.Report
    device: str  # "gpu" or "cpu"
    small: bool
    digits: mlp.Data
    torch: bool  # whether there is a PyTorch that sees the device

    @property
    def torch_device(self) -> str:
        """The device in PyTorch's words."""
        return "cuda" if self.device == "gpu" else "cpu"

    def data(self, rows: int) -> mlp.Data:
        """So many rows, the digits over and over."""
        which = np.arange(rows) % len(self.digits.x)
        return mlp.Data(*(array[which] for array in self.digits))


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu")
    parser.add_argument("--device", choices=["gpu", "cpu"], default="gpu")
    parser.add_argument("--small", action="store_true", help="sizes of no significance")
    parser.add_argument("--only", choices=list(JOBS), help="one of the jobs")
    options = parser.parse_args()
    device = find(options.device)
    report = runner.Report("jaxml on one device", "torch")
    print(f"Device: {device.device_kind}, {describe(options.device)}.", flush=True)
    there = sees(options.device)
    bench = Bench(report, options.device, options.small, load(), there)
    for name in [options.only] if options.only else JOBS:
        JOBS[name](bench)
    return report.close()


def find(platform: str) -> jax.Device:
    if platform == "cpu":
        jax.config.update("jax_platforms", "cpu")
        runner.two_cores()
    device = jax.devices()[0]
    if device.platform != platform:
        sys.exit(
            f"benchmarks: JAX finds no {platform}: its devices are {jax.devices()}"
        )
    return device


def describe(platform: str) -> str:
    """The card's driver and memory, as nvidia-smi has them."""
    if platform == "cpu":
        return "to see that it runs: no figure here means anything"
    query = "nvidia-smi --query-gpu=driver_version,memory.total --format=csv,noheader"
    with contextlib.suppress(OSError), os.popen(query) as pipe:
        return f"driver and memory: {pipe.readline().strip() or 'unknown'}"
    return "driver unknown"


def sees(platform: str) -> bool:
    try:
        import torch
    except ImportError:
        print("PyTorch is not installed: jaxml alone.")
        return False
    if platform == "gpu" and not torch.cuda.is_available():
        print("PyTorch sees no GPU: jaxml alone.")
        return False
    return True


def load() -> mlp.Data:
    """MNIST, or random numbers of its shape."""
    try:
        digits, _ = datasets.mnist(scale=1 / 255)
    except datasets.DataError:
        print("MNIST is not here: random numbers of its shape.")
        rng = np.random.default_rng(0)
        x = rng.random((60_000, 784), np.float32)
        return mlp.labelled(x, rng.integers(0, 10, len(x), np.int32))
    return mlp.labelled(digits.x, digits.y)


# --- the card's ceilings -----------------------------------------------------------


def ceilings(bench: Bench) -> None:
    """What the card reaches: a large matrix product, and a large copy."""
    bench.report.heading("Ceilings:", what=34, ms=9, reached=16)
    n = 512 if bench.small else 8192
    preset = jax.lax.DotAlgorithmPreset
    kinds = [("bfloat16", jnp.bfloat16, None)]
    if bench.device == "gpu":
        kinds.append(("TF32", jnp.float32, preset.TF32_TF32_F32))
    kinds.append(("float32", jnp.float32, jax.lax.Precision.HIGHEST))
    for name, dtype, precision in kinds:
        a, b = jax.random.normal(jax.random.key(0), (2, n, n), dtype)
        product = jax.jit(lambda a, b, p=precision: jnp.matmul(a, b, precision=p))
        seconds = per_call(lambda a=a, b=b, f=product: f(a, b))
        rate = f"{2 * n**3 / seconds / 1e12:.1f} TFLOP/s"
        bench.report.row(f"{n} x {n} product, {name}", f"{1e3 * seconds:.3f}", rate)
    size = (1 << 24) if bench.small else (1 << 29)
    x = jnp.ones(size, jnp.float32)
    copy = jax.jit(jnp.negative)
    seconds = per_call(lambda: copy(x))
    rate = f"{2 * x.nbytes / seconds / 1e9:.0f} GB/s"
    what = f"read and write {x.nbytes / 2**30:g} GiB"
    bench.report.row(what, f"{1e3 * seconds:.3f}", rate)


def per_call(function: Callable[[], jax.Array]) -> float:
    """Seconds a call, of REPEAT calls one after the other."""

    def several():
        for _ in range(REPEAT):
            last = function()
        return last

    (timing,) = runner.alternate(several)
    return timing.warm / REPEAT


# --- the multilayer perceptron -----------------------------------------------------


class Epoch(NamedTuple):
    """An epoch of so many batches."""

    sizes: tuple[int, ...]
    batch: int
    steps: int
    tf32: bool = False


NARROW, MIDDLE, BROAD = (784, 100, 10), (784, 500, 300, 10), (784, 4096, 4096, 10)
EPOCHS = (
    Epoch(NARROW, 10, 2048),
    Epoch(NARROW, 128, 320),
    Epoch(NARROW, 4096, 100),
    Epoch(MIDDLE, 10, 2048),
    Epoch(MIDDLE, 128, 320),
    Epoch(BROAD, 4096, 100),
    Epoch(BROAD, 4096, 100, tf32=True),
)


def epochs(bench: Bench) -> None:
    """SGD against a plain PyTorch loop and against one replayed as CUDA graphs."""
    bench.report.races("One epoch of SGD; ratio = peer / jaxml:")
    for each in EPOCHS:
        sizes = (784, 16, 10) if bench.small else each.sizes
        steps = 4 if bench.small else each.steps
        batch = min(each.batch, 64) if bench.small else each.batch
        job = mlp.Job(sizes, batch)
        data = bench.data(steps * batch)
        with precision(bench, each.tf32):
            peers = []
            if bench.torch:
                loop = mlp.pytorch(job, data, bench.torch_device)
                peers.append(runner.Peer("PyTorch", loop))
            if bench.torch and bench.device == "gpu":
                peers.append(runner.Peer("PyTorch, CUDA graph", graphed(job, data)))
            name = f"{job.name}{', TF32' if each.tf32 else ''}"
            tolerance = 1e-2 if each.tf32 else 1e-4
            bench.report.race(name, mlp.ours(job, data), peers, tolerance=tolerance)


@contextlib.contextmanager
def precision(bench: Bench, tf32: bool):
    """The same arithmetic on both sides."""
    if bench.torch:
        import torch

        torch.set_float32_matmul_precision("high" if tf32 else "highest")
    with jax.default_matmul_precision("tensorfloat32" if tf32 else "float32"):
        yield


def graphed(job: mlp.Job, data: mlp.Data) -> Callable[[], np.ndarray]:
    """The PyTorch loop with a step captured once as a CUDA graph, then replayed."""
    import torch

    x, targets = (torch.tensor(a, device="cuda") for a in (data.x, data.targets))
    order = torch.tensor(np.array(mlp.row_order(len(x), job.batch)), device="cuda")
    network = mlp.torch_network(torch, mlp.start(job), "cuda")
    initial = [parameter.detach().clone() for parameter in network.parameters()]
    optimizer = torch.optim.SGD(network.parameters(), lr=job.learning_rate)
    cost = mlp.torch_cost(torch, job.loss)
    costs = torch.zeros(len(order), device="cuda")
    # The number of the batch lies on the card, so that a replay needs no argument.
    number = torch.zeros(1, dtype=torch.long, device="cuda")

    def step():
        rows = order.index_select(0, number)[0]
        loss = cost(network(x.index_select(0, rows)), targets.index_select(0, rows))
        loss.backward()
        optimizer.step()
        costs.index_copy_(0, number, loss.detach()[None])
        number.add_(1)

    # What is captured must have run before, on a stream of its own.
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            number.zero_()
            optimizer.zero_grad(set_to_none=True)
            step()
    torch.cuda.current_stream().wait_stream(side)
    optimizer.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()

    def run():
        with torch.no_grad():
            for parameter, first in zip(network.parameters(), initial, strict=True):
                parameter.copy_(first)
        number.zero_()
        for _ in range(len(order)):
            graph.replay()
        return costs.cpu().numpy()

    return run


def seeds(bench: Bench) -> None:
    """Many networks in one vmap, each with its own batches, against torch.func.vmap."""
    bench.report.races("Seeds in one vmap, one epoch of SGD; ratio = peer / jaxml:")
    job = mlp.Job((784, 16, 10), 10) if bench.small else mlp.SMALL
    steps = 4 if bench.small else 1024
    data = bench.data(steps * job.batch)
    for count in (1, 3) if bench.small else (1, 32, 1000):
        with precision(bench, tf32=False):
            peers = []
            if bench.torch:
                peers.append(
                    runner.Peer("torch.func.vmap", func(bench, job, data, count))
                )
            name = f"{job.name}, {count} seeds"
            bench.report.race(name, many(job, data, count), peers, tolerance=1e-4)


def many(job: mlp.Job, data: mlp.Data, count: int) -> Callable[[], jax.Array]:
    update, arrays = mlp.descent(job), mlp.on_device(data)

    @jax.jit
    def epoch(seeds, arrays):
        def of_seed(seed):
            state = train.start(update, mlp.start(job, seed), mlp.run_key(seed))
            return train.epoch(update, state, arrays, batch=job.batch)[1]["cost"]

        return jax.vmap(of_seed)(seeds)

    return lambda: epoch(jnp.arange(count), arrays)


def func(bench: Bench, job: mlp.Job, data: mlp.Data, count: int):
    """The same with torch.func: functional_call, grad_and_value and vmap."""
    import torch

    device, which = bench.torch_device, jnp.arange(count)
    x, targets = (torch.tensor(a, device=device) for a in (data.x, data.targets))
    rows = jax.vmap(lambda seed: mlp.row_order(len(data.x), job.batch, seed))(which)
    order = torch.tensor(np.array(rows), device=device)  # (count, steps, batch)
    stacked = jax.vmap(lambda seed: mlp.start(job, seed))(which)
    first = jax.tree.map(lambda theta: theta[0], stacked)
    network = mlp.torch_network(torch, first, device)
    cost = mlp.torch_cost(torch, job.loss)
    initial = {}
    for i, theta in enumerate(stacked.theta):  # every second layer is a sigmoid
        theta = torch.tensor(np.array(theta), device=device)
        initial[f"{2 * i}.bias"] = theta[:, :, 0].contiguous()
        initial[f"{2 * i}.weight"] = theta[:, :, 1:].contiguous()

    def objective(parameters, x, y):
        return cost(torch.func.functional_call(network, parameters, (x,)), y)

    step = torch.func.vmap(torch.func.grad_and_value(objective))

    def run():
        parameters = {name: value.clone() for name, value in initial.items()}
        costs = []
        for i in range(order.shape[1]):
            rows = order[:, i]
            slopes, loss = step(parameters, x[rows], targets[rows])
            for name, slope in slopes.items():
                parameters[name].sub_(slope, alpha=job.learning_rate)
            costs.append(loss)
        return torch.stack(costs, 1).cpu().numpy()

    return run


JOBS = {"ceilings": ceilings, "epochs": epochs, "seeds": seeds}

if __name__ == "__main__":
    sys.exit(main())

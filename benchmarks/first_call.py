"""The first call of each fit and inference on 150 × 4, compiled and run.

    python -m benchmarks.first_call [--against COMMIT] [--cached] [job ...]

Each job has a process of its own. Printed are seconds of wall and of processor time of
the first call, the milliseconds of a warm one, and with --against those at another
commit, by turns; with --cached the first call of a second process that finds the
programs of the first on disk.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PREPARE = """
import json, sys, time
import jax, numpy as np
start = time.perf_counter()
import optax, chex
over = time.perf_counter()
import jaxml
imported = time.perf_counter() - over
from jaxml import *
rng = np.random.default_rng(0)
x = rng.normal(size=(150, 4)).astype(np.float32)
x[50:, 0] += 2
x[100:, 1] += 2
y = (x @ [1, -1, 0.5, 0] + rng.normal(size=150)).astype(np.float32)
two, three = (y > 0).astype(np.int32), np.repeat(np.arange(3), 50)
key = jax.random.key(0)
jax.block_until_ready(jax.jit(lambda a: a + 1)(x))
"""
JOBS = {
    "linear.fit": ("", "linear.fit(x, y)"),
    "linear.inference": ("p = linear.fit(x, y).params", "linear.inference(p, x, y)"),
    "ridge.fit": ("", "ridge.fit(x, y, l2=0.1)"),
    "lasso.fit": ("", "lasso.fit(x, y, l1=0.1)"),
    "logistic.fit": ("", "logistic.fit(x, two, l2=0.01)"),
    "logistic.fit, l1": ("", "logistic.fit(x, two, l1=0.01)"),
    "logistic.inference": (
        "p = logistic.fit(x, two, l2=0.01).params",
        "logistic.inference(p, x, two)",
    ),
    "softmax.fit": ("", "softmax.fit(x, three, k=3, l2=0.01)"),
    "svm.fit": ("", "svm.fit(x, two)"),
    "svm.kernel.fit": ("", "svm.kernel.fit(x, two)"),
    "pca.fit": ("", "pca.fit(x, k=2)"),
    "kmeans.init": ("", "kmeans.init(key, x, k=3)"),
    "kmeans.fit": ("p = kmeans.init(key, x, k=3)", "kmeans.fit(p, x)"),
    "mixture.fit": ("p = mixture.init(key, x, k=3)", "mixture.fit(p, x)"),
    "feedforward.fit": (
        "p = feedforward.init(key, sizes=(4, 5, 3)); t = np.eye(3)[three]",
        "feedforward.fit(p, x, t)",
    ),
}
MEASURE = """
wall, cpu = time.perf_counter(), time.process_time()
jax.block_until_ready(run())
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
warm = []
for _ in range(30):
    begin = time.perf_counter()
    jax.block_until_ready(run())
    warm.append(time.perf_counter() - begin)
warm.sort()
print(json.dumps([wall, cpu, 1e3 * warm[len(warm) // 2], imported]))
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.first_call")
    parser.add_argument("--against")
    parser.add_argument("--cached", action="store_true")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("jobs", nargs="*", metavar="job")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        roots = [ROOT]
        if options.against:
            roots.append(Path(folder) / "old")
            tree = ["git", "-C", str(ROOT), "worktree"]
            add = [*tree, "add", "-q", "--detach", roots[1], options.against]
            subprocess.run(add, check=True)
        try:
            table(roots, options, Path(folder))
        finally:
            if options.against:
                subprocess.run([*tree, "remove", "--force", roots[1]], check=True)
    return 0


def table(roots: list[Path], options, folder: Path) -> None:
    print("| first call | s | CPU s | warm ms | s, old | CPU s | warm ms | CPU ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for job in options.jobs or JOBS:
        cells, cpu = [], []
        taken: list[list[list[float]]] = [[] for _ in roots]
        for turn in range(options.turns):
            for side, root in enumerate(roots):
                cache = folder / f"{side} {job}" if options.cached else None
                if cache is not None and turn == 0:
                    call(root, job, cache)
                taken[side].append(call(root, job, cache))
        for side in taken:
            seconds, processor, warm, _ = map(statistics.median, zip(*side))
            cells += [f"{seconds:.2f}", f"{processor:.2f}", f"{warm:.2f}"]
            cpu.append(processor)
        ratio = [f"{cpu[0] / cpu[1]:.2f}"] if len(cpu) > 1 else []
        print(f"| {job} | {' | '.join([*cells, *ratio])} |", flush=True)
    imports = [statistics.median(row[3] for row in side) for side in taken]
    print("\nimport jaxml over jax, optax and chex: ", *[f"{s:.2f} s" for s in imports])


def call(root: Path, job: str, cache: Path | None) -> list[float]:
    """Wall and processor seconds of the first call, ms of a warm one, the import."""
    before, expression = JOBS[job]
    program = f"{PREPARE}\n{before}\nrun = lambda: {expression}\n{MEASURE}"
    env = {**os.environ, "PYTHONPATH": str(root)}
    env.pop("XLA_FLAGS", None)
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    env["PYTHONPYCACHEPREFIX"] = str(ROOT / ".venv" / "bytecode")
    for name in [name for name in env if "COMPILATION_CACHE" in name]:
        env.pop(name)
    if cache is not None:
        env["JAX_COMPILATION_CACHE_DIR"] = str(cache)
        env["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        env["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=env,
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise SystemExit(f"benchmarks: {job} failed at {root}\n{run.stderr}")
    return json.loads(run.stdout.splitlines()[-1])


if __name__ == "__main__":
    sys.exit(main())

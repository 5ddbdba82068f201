"""The lasso: paths of 100 penalties against scikit-learn and celer, and the first call.

    python -m benchmarks.lasso

Every side gets the same penalties, down to a hundredth of the largest. Its excess is
the worst, over the path, of its cost over the least that is known, relative to that
cost: ours may not be larger than the peer's, nor than what rounding leaves of it.
"""

import sys
import time
import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import runner
from jaxml.regression import lasso

FIRST = 1.5  # s, the most a first call may take
PENALTIES = np.logspace(0, -2, 100)
ROUNDING = 1e-9  # below this an excess says nothing


class Job(NamedTuple):
    """Data of some size, and how many times as long the peers should take."""

    rows: int
    columns: int
    sklearn: float
    celer: float | None  # None: not run, it takes a second a path
    dtype: str = "float64"

    @property
    def name(self) -> str:
        """As the tables have it."""
        return f"{self.rows:,} x {self.columns:,}, {self.dtype}"


JOBS = (Job(1000, 5000, sklearn=2, celer=1), Job(50_000, 200, sklearn=0.9, celer=None))


def main() -> int:
    runner.two_cores()
    runner.need("sklearn")
    runner.need("celer")
    jax.config.update("jax_enable_x64", True)
    report = runner.Report("Lasso", "scikit-learn", "celer", "scipy")
    report.heading(
        "Paths of 100 penalties",
        job=26,
        peer=23,
        peer_ms=9,
        jaxml_ms=9,
        ratio=5,
        target=6,
        compile_s=9,
        peer_excess=11,
        jaxml_excess=12,
    )
    for job in JOBS:
        paths(report, job)
    report.heading("The first call, compiled and run", job=26, s=6, target=8)
    first_call(report, 1000, 100)
    first_call(report, 100, 1000)
    return report.close()


def data(rows: int, columns: int):
    """Neighbouring columns correlate by a half; a few dozen make y, with noise."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, columns))
    for j in range(1, columns):
        x[:, j] = 0.5 * x[:, j - 1] + 0.75**0.5 * x[:, j]
    support = rng.choice(columns, columns // 100 + 18, replace=False)
    y = x[:, support] @ rng.standard_normal(len(support))
    y += rng.standard_normal(rows) * np.linalg.norm(y) / rows**0.5 / 3
    return np.asfortranarray(x - x.mean(0)), y - y.mean()


def paths(report: runner.Report, job: Job) -> None:
    """A row for each peer, against our path at a tol of the same quality."""
    from celer import celer_path
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import lasso_path

    warnings.simplefilter("ignore", ConvergenceWarning)
    x, y = data(job.rows, job.columns)
    l1s = np.abs(x.T @ y).max() / job.rows * PENALTIES
    arrays = jnp.asarray(x), jnp.asarray(y), jnp.asarray(l1s)

    def costs(w):
        r = y[:, None] - x @ np.asarray(w).T
        return (r**2).sum(0) / (2 * job.rows) + l1s * np.abs(w).sum(1)

    def ours(tol):
        x, y, l1s = arrays
        return lasso.path(x, y, l1s=l1s, intercept=False, tol=tol).fits.params.w

    def by_sklearn(tol):
        return lasso_path(x, y, alphas=l1s, tol=tol, max_iter=10_000)[1].T

    def by_celer(tol):
        return celer_path(x, y, "lasso", alphas=l1s, tol=tol, max_iter=100)[1].T

    least = costs(ours(1e-9))
    sides = [
        ("lasso_path, tol 1e-4", lambda: by_sklearn(1e-4), 1e-4, job.sklearn),
        ("lasso_path, tol 1e-6", lambda: by_sklearn(1e-6), 1e-7, None),
    ]
    if job.celer is not None:
        sides.append(("celer_path, tol 1e-6", lambda: by_celer(1e-6), 1e-6, job.celer))
    for name, run, tol, target in sides:
        own, theirs = runner.alternate(lambda tol=tol: ours(tol), run)
        ratio = theirs.warm / own.warm
        excess, other = (
            float((costs(side.value) / least - 1).max()) for side in (own, theirs)
        )
        report.busy = max(report.busy, own.others, theirs.others)
        report.row(
            job.name,
            name,
            f"{1e3 * theirs.warm:.1f}",
            f"{1e3 * own.warm:.1f}",
            f"{ratio:.2f}",
            "" if target is None else f">= {target:g}",
            f"{own.compile:.2f}",
            f"{other:.1e}",
            f"{excess:.1e}",
        )
        what = f"{job.name}: {excess:.1e} above the least cost, {name} {other:.1e}"
        report.require(what, excess <= max(other, ROUNDING))
        if target is not None:
            report.demand(
                f"{job.name}: {ratio:.2f} times {name}, not {target}", ratio >= target
            )


def first_call(report: runner.Report, rows: int, columns: int) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((rows, columns)).astype(np.float32)
    y = x[:, :5].sum(1) + rng.standard_normal(rows).astype(np.float32)
    start = time.perf_counter()
    jax.block_until_ready(lasso.fit(x, y, l1=0.1))
    seconds = time.perf_counter() - start
    name = f"{rows:,} x {columns:,}, float32"
    report.row(name, f"{seconds:.2f}", f"<= {FIRST}")
    report.demand(f"{name}: the first call took {seconds:.2f} s", seconds <= FIRST)


if __name__ == "__main__":
    sys.exit(main())

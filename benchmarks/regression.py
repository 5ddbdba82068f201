"""Linear models of chapter 1 beside scikit-learn's, at equal or better objective.

    python -m benchmarks.regression [job ...]

Jobs: least-squares, ridge, logistic, poisson, many, grid, softmax, l1, linear-svm; all
if none is named. Both sides have two threads. Objectives are computed anew in float64;
"worse" is by how much ours is above the peer's, as a share, and may be 1e-5 at most.
The first call of each fit, compiled and run, is to take less than 1.5 s.
"""

import argparse
import contextlib
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import runner
from jaxml import check
from jaxml.data import datasets
from jaxml.evaluate import selection
from jaxml.regression import linear, logistic, poisson, ridge, softmax, svm

M, N = 100_000, 100
FIRST = 1.5  # s, for the first call
WORSE = 1e-5
PRECISIONS = (np.float64, np.float32)


def synthetic(m: int, n: int, seed: int = 0):
    """Correlated features, and two classes that overlap."""
    rng = np.random.default_rng(seed)
    mix = np.eye(n) + 0.5 * rng.standard_normal((n, n)) / np.sqrt(n)
    x = rng.standard_normal((m, n)) @ mix
    z = x @ rng.standard_normal(n) / np.sqrt(n) + 0.5 * rng.logistic(size=m)
    return x, z, (z > 0).astype(np.int32)


class Contest:
    """Races whose sides give θ, which is judged by an objective in float64."""

    def __init__(self, report: runner.Report):
        """Print into report."""
        self.report = report

    def race(
        self,
        job: str,
        ours: Callable[[], Any],
        peers: dict[str, tuple[Callable[[], Any], float | None]],
        objective: Callable[[Any], float],
        *,
        turns: int = 5,
        first: bool = True,
    ) -> None:
        """peers: name to (run, how many times as long as jaxml it should take)."""
        found: dict[str, Any] = {}

        def timed(name, side):
            def run():
                found[name] = jax.block_until_ready(side())
                return 0.0

            return run

        sides = [
            runner.Peer(name, timed(name, run), least)
            for name, (run, least) in peers.items()
        ]
        own = self.report.race(job, timed("jaxml", ours), sides, turns=turns)
        if first:
            what = f"{job}: first call in {own.first:.2f} s, not {FIRST} s"
            self.report.demand(what, own.first <= FIRST)
        value = objective(found.pop("jaxml"))
        for name, theirs in found.items():
            other = objective(theirs)
            share = (value - other) / abs(other)
            print(f"    {job}: J = {value:.10f}, {name} {other:.10f}", flush=True)
            self.report.require(
                f"{job}: worse than {name} by {share:.1e}", share <= WORSE
            )


def in_precision(dtype):
    return jax.enable_x64(True) if dtype == np.float64 else contextlib.nullcontext()


def least_squares(contest: Contest) -> None:
    peer = runner.need("sklearn.linear_model").linear_model.LinearRegression
    x, y, _ = synthetic(M, N)

    def one(dtype):
        host = x.astype(dtype), y.astype(dtype)
        with in_precision(dtype):
            device = jax.device_put(host)

            def ours():
                return _join(check(linear.fit(*device)).params)

            def theirs():
                found = peer().fit(*host)
                return np.append(found.coef_, found.intercept_)

            contest.race(
                f"least squares {M} x {N} {dtype.__name__}",
                ours,
                {"LinearRegression": (theirs, 3.0)},
                lambda theta: np.mean((x @ theta[:-1] + theta[-1] - y) ** 2) / 2,
            )

    for dtype in PRECISIONS:
        one(dtype)


def ridge_(contest: Contest) -> None:
    peer = runner.need("sklearn.linear_model").linear_model.Ridge

    def one(m, n, dtype):
        x, y, _ = synthetic(m, n)
        host = x.astype(dtype), y.astype(dtype)
        with in_precision(dtype):
            device = jax.device_put(host)

            def ours():
                return _join(check(ridge.fit(*device, l2=1 / m)).params)

            def theirs():
                found = peer(alpha=1.0, solver="cholesky").fit(*host)
                return np.append(found.coef_, found.intercept_)

            def objective(theta):
                r = x @ theta[:-1] + theta[-1] - y
                return np.mean(r**2) / 2 + theta[:-1] @ theta[:-1] / (2 * m)

            job = f"ridge {m} x {n} {dtype.__name__}"
            contest.race(job, ours, {"Ridge": (theirs, 0.9)}, objective)

    for m, n in ((M, N), (2000, 2000)):
        for dtype in PRECISIONS:
            one(m, n, dtype)


def logistic_(contest: Contest) -> None:
    peer = runner.need("sklearn.linear_model").linear_model.LogisticRegression
    x, _, y = synthetic(M, N)

    def objective(theta):
        z = x @ theta[:-1] + theta[-1]
        loss = np.logaddexp(0, z) - y * z
        return loss.mean() + theta[:-1] @ theta[:-1] / (2 * M)

    def one(dtype):
        host = x.astype(dtype)
        with in_precision(dtype):
            device = jax.device_put((host, y))

            def ours():
                return _join(check(logistic.fit(*device, l2=1 / M)).params)

            def theirs(solver):
                found = peer(C=1.0, solver=solver).fit(host, y)
                return np.append(found.coef_[0], found.intercept_)

            solvers = ("lbfgs", "newton-cholesky")
            peers = {s: (lambda s=s: theirs(s), 2.0) for s in solvers}
            job = f"logistic {M} x {N} {dtype.__name__}"
            contest.race(job, ours, peers, objective)

    for dtype in PRECISIONS:
        one(dtype)


def poisson_(contest: Contest) -> None:
    """Counts of 1 on average, by Newton's method on both sides, and by L-BFGS."""
    peer = runner.need("sklearn.linear_model").linear_model.PoissonRegressor
    x, z, _ = synthetic(M, N)
    y = np.random.default_rng(1).poisson(np.exp(0.3 * z))

    def objective(theta):
        z = x @ theta[:-1] + theta[-1]
        loss = np.exp(z) - y - y * z + y * np.log(np.maximum(y, 1))
        return loss.mean() + theta[:-1] @ theta[:-1] / (2 * M)

    def one(dtype):
        host = x.astype(dtype)
        with in_precision(dtype):
            device = jax.device_put((host, y.astype(dtype)))

            def ours():
                return _join(check(poisson.fit(*device, l2=1 / M)).params)

            def theirs(solver):
                found = peer(alpha=1 / M, solver=solver).fit(host, y)
                return np.append(found.coef_, found.intercept_)

            solvers = ("lbfgs", "newton-cholesky")
            peers = {s: (lambda s=s: theirs(s), 2.0) for s in solvers}
            job = f"poisson {M} x {N} {dtype.__name__}"
            contest.race(job, ours, peers, objective)

    for dtype in PRECISIONS:
        one(dtype)


def many(contest: Contest) -> None:
    """1,000 fits in one vmap, against a loop with its best number of threads."""
    peer = runner.need("sklearn.linear_model").linear_model.LogisticRegression
    limits = runner.need("threadpoolctl").threadpool_limits
    count, m, n = 1000, 200, 10
    x, _, y = synthetic(count * m, n)
    x, y = x.reshape(count, m, n).astype(np.float32), y.reshape(count, m)
    device = jax.device_put((x, y))
    fit = jax.jit(jax.vmap(lambda x, y: logistic.fit(x, y, l2=1 / m)))

    def ours():
        params = check(fit(*device)).params
        return np.c_[params.w, params.b]

    def theirs(threads, solver):
        with limits(threads):
            found = [peer(C=1.0, solver=solver).fit(a, b) for a, b in zip(x, y)]
        return np.array([np.append(f.coef_[0], f.intercept_) for f in found])

    def objective(theta):
        z = np.einsum("cmn,cn->cm", x.astype(float), theta[:, :-1]) + theta[:, -1:]
        loss = np.mean(np.logaddexp(0, z) - y * z)
        return loss + np.sum(theta[:, :-1] ** 2) / (2 * m * count)

    peers = {
        f"{solver}, {threads}": (lambda t=threads, s=solver: theirs(t, s), 30.0)
        for solver in ("lbfgs", "newton-cholesky")
        for threads in (1, 2)
    }
    contest.race("1000 logistic fits 200 x 10", ours, peers, objective, first=False)


def grid(contest: Contest) -> None:
    """5 folds x 20 penalties: LogisticRegressionCV."""
    peer = runner.need("sklearn.linear_model").linear_model.LogisticRegressionCV
    x, _, y = synthetic(M, N)
    x = x.astype(np.float32)
    fold = np.random.default_rng(1).integers(0, 5, M)
    strengths = np.logspace(-4, 4, 20)
    masks = np.arange(5)[:, None] == fold[None]
    folds = selection.Folds(jnp.asarray(~masks), jnp.asarray(masks))
    device = jax.device_put((x, y))
    # C is per sum, l2 per mean: the folds differ in size by less than a percent.
    l2 = 1 / (strengths * 0.8 * M)
    fit = partial(logistic.fit, solver="lbfgs", tol=3e-3)

    def ours():
        scores = selection.cross_validate(
            fit,
            logistic.cost,
            *device,
            folds=folds,
            grid={"l2": l2},
            greater_is_better=False,
        )
        return np.asarray(scores.mean, np.float64)

    splits = [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(5)]

    def theirs():
        found = peer(
            Cs=strengths,
            cv=splits,
            refit=False,
            scoring="neg_log_loss",
            solver="lbfgs",
            n_jobs=1,
            l1_ratios=(0,),
            use_legacy_attributes=False,
        ).fit(x, y)
        return -np.asarray(found.scores_).reshape(5, 20).mean(0)

    contest.race(
        "logistic, 5 folds x 20 penalties",
        ours,
        {"LogisticRegressionCV": (theirs, 8.0)},
        lambda losses: float(np.mean(losses)),
        turns=3,
        first=False,
    )


def softmax_(contest: Contest) -> None:
    peer = runner.need("sklearn.linear_model").linear_model.LogisticRegression
    try:
        train, _ = datasets.mnist(scale=1 / 255)
    except datasets.DataError as error:
        sys.exit(f"benchmarks: {error}")
    x, y = np.asarray(train.x, np.float32), np.asarray(train.y)
    m, strength = len(y), 0.01
    device = jax.device_put((x, y))

    def ours():
        fit = check(softmax.fit(*device, k=10, l2=1 / (strength * m), tol=3e-3))
        return np.concatenate([fit.params.w, fit.params.b[None]])

    def theirs():
        found = peer(C=strength, max_iter=1000).fit(x, y)
        return np.concatenate([found.coef_.T, found.intercept_[None]])

    def objective(theta):
        z = x.astype(float) @ theta[:-1] + theta[-1]
        top = z.max(1)
        log_z = top + np.log(np.exp(z - top[:, None]).sum(1))
        loss = np.mean(log_z - z[np.arange(m), y])
        return loss + np.sum(theta[:-1].astype(float) ** 2) / (2 * strength * m)

    job = "softmax, MNIST 60k x 784 x 10"
    contest.race(job, ours, {"lbfgs": (theirs, 2.0)}, objective, turns=3)


def l1_(contest: Contest) -> None:
    """Beside liblinear, which penalises b a little, and beside saga."""
    peer = runner.need("sklearn.linear_model").linear_model.LogisticRegression

    def losses(x, y, theta):
        z = x @ theta[:-1] + theta[-1]
        z = np.c_[np.zeros(len(x)), z] if z.ndim == 1 else z
        top = z.max(1)
        log_z = top + np.log(np.exp(z - top[:, None]).sum(1))
        return np.mean(log_z - z[np.arange(len(y)), y])

    def one(job, x, y, share, model, least, turns, **options):
        goals = np.eye(y.max() + 1)[y]
        pull = (x - x.mean(0)).T @ (goals - goals.mean(0)) / len(y)
        l1 = share * np.abs(pull).max()
        options |= {"l1_ratio": 1, "C": 1 / (l1 * len(y)), "max_iter": 10_000}
        with in_precision(np.float64):
            device = jax.device_put((x, y))

            def ours():
                params = check(model(*device, l1=l1)).params
                return np.concatenate([params.w, params.b[None]])

            def theirs():
                found = peer(**options).fit(x, y)
                theta = np.c_[found.coef_, found.intercept_].T
                return theta[:, 0] if len(found.coef_) == 1 else theta

            contest.race(
                f"l1, {job}",
                ours,
                {options["solver"]: (theirs, least)},
                lambda t: losses(x, y, t) + l1 * np.abs(t[:-1]).sum(),
                turns=turns,
                first=x.shape[1] < 64,  # more weights need more programs
            )

    plain = {"solver": "liblinear", "tol": 1e-5, "intercept_scaling": 100}
    for m, n in ((1000, 20), (10_000, 100), (1000, 5000)):
        x, _, y = synthetic(m, n)
        one(f"logistic {m} x {n}", x, y, 0.02, logistic.fit, 0.7, 5, **plain)
    digits = datasets.digits(scale=1 / 16)
    x, y = np.asarray(digits.x, float), np.asarray(digits.y)
    model = partial(softmax.fit, k=10)
    slow = {"solver": "saga", "tol": 1e-4}
    one("softmax, digits 1797 x 64 x 10", x, y, 0.01, model, 5.0, 3, **slow)


def linear_svm(contest: Contest) -> None:
    """LinearSVC, which penalises the intercept: a column of ones, and no b of ours."""
    peer = runner.need("sklearn.svm").svm.LinearSVC
    x, _, y = synthetic(M, N)
    s = 2 * y - 1

    def objective(power):
        def of(theta):
            short = np.maximum(0, 1 - s * (x @ theta[:-1] + theta[-1]))
            return np.mean(short**power) + theta @ theta / (2 * M)

        return of

    def one(loss, dtype, least, turns, **options):
        host = x.astype(dtype)
        with in_precision(dtype):
            ones = np.c_[host, np.ones(M, dtype)]
            device = jax.device_put((ones, y))

            def ours():
                found = svm.fit(*device, l2=1 / M, loss=loss, intercept=False)
                return np.asarray(check(found).params.w)

            def theirs():
                found = peer(C=1.0, loss=loss, **options).fit(host, y)
                return np.append(found.coef_[0], found.intercept_)

            job = f"{loss} {M} x {N} {dtype.__name__}"
            value = objective(1 if loss == "hinge" else 2)
            peers = {"LinearSVC": (theirs, least)}
            contest.race(job, ours, peers, value, turns=turns)

    for dtype in PRECISIONS:
        one("squared_hinge", dtype, 5.0, 5, dual=False)
    one("hinge", np.float64, 10.0, 3, dual=True, max_iter=1000)


def _join(params) -> np.ndarray:
    return np.append(np.asarray(params.w), np.asarray(params.b))


JOBS = {
    "least-squares": least_squares,
    "ridge": ridge_,
    "logistic": logistic_,
    "poisson": poisson_,
    "many": many,
    "grid": grid,
    "softmax": softmax_,
    "l1": l1_,
    "linear-svm": linear_svm,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.regression")
    parser.add_argument("jobs", nargs="*", choices=[[], *JOBS], default=[])
    jobs = parser.parse_args().jobs or list(JOBS)
    warnings.filterwarnings("ignore")  # peers that do not converge say so
    runner.two_cores()
    report = runner.Report("Linear models", "scikit-learn")
    start = time.perf_counter()
    jax.block_until_ready(jax.device_put(1.0) + 1)
    print(f"\nThe first jit takes {time.perf_counter() - start:.2f} s.", flush=True)
    report.races("Ratio = peer / jaxml:")
    for job in jobs:
        JOBS[job](Contest(report))
    return report.close()


if __name__ == "__main__":
    sys.exit(main())

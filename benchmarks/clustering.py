"""k-means and Gaussian mixtures beside scikit-learn's.

    python -m benchmarks.clustering [job ...]

Jobs: clouds, mnist, mixture, first-call; all if none is named. Both sides have two
threads. From one start both find the same clusters, and J is compared in float64; with
a start of its own each side finds another minimum, and the mean J of five are compared:
ours is to be at most 1 % above. The peer is the faster of Lloyd and Elkan.
"""

import argparse
import sys
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import runner
from benchmarks.regression import Contest, in_precision
from jaxml import check
from jaxml.data import datasets
from jaxml.reduction import kmeans, mixture

FIRST = 1.5  # s, for the first call of a small fit
SEEDS = 5  # starts over which J is averaged
ABOVE = 1.01  # the most that ours may be, of the peer's mean J


def clouds(report: runner.Report) -> None:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((100, 64))
    x = centres[rng.integers(0, 100, 100_000)] + rng.standard_normal((100_000, 64))
    contest(report, "100k x 64, k = 100", x.astype(np.float32), 100, 2.0)


def mnist(report: runner.Report) -> None:
    train, _ = datasets.mnist(scale=1 / 255)
    contest(report, "MNIST, k = 10", train.x, 10, 1.8)


def contest(report: runner.Report, name: str, x, k: int, least: float) -> None:
    cluster = runner.need("sklearn.cluster").cluster
    device = jax.device_put(x)
    exact = x.astype(np.float64)

    def inertia(centres):
        params = kmeans.Params(np.asarray(centres, np.float64))
        with jax.enable_x64(True):
            return float(kmeans.cost(params, exact))

    report.races(f"{name}: start alone, fit from one start, and both:")
    plus(report, name, x, device, k, inertia)
    start = np.asarray(kmeans.init(jax.random.key(0), device, k=k).centres)

    def fit(algorithm):
        return lambda: (
            cluster.KMeans(k, init=start, n_init=1, algorithm=algorithm)
            .fit(x)
            .cluster_centers_
        )

    Contest(report).race(
        f"{name}, fit",
        lambda: check(kmeans.fit(kmeans.Params(start), device)).params.centres,
        {"Lloyd": (fit("lloyd"), None), "Elkan": (fit("elkan"), None)},
        inertia,
        first=False,
    )
    both(report, name, x, device, k, least, inertia)


def plus(report, name, x, device, k, inertia) -> None:
    """The start by greedy k-means++ alone."""
    cluster = runner.need("sklearn.cluster").cluster
    seeds = iter(range(1000))
    ours, theirs = [], []

    def our_start():
        found = kmeans.init(jax.random.key(next(seeds)), device, k=k).centres
        ours.append(np.asarray(found))
        return 0.0

    def their_start():
        found, _ = cluster.kmeans_plusplus(x, k, random_state=next(seeds))
        theirs.append(found)
        return 0.0

    peer = runner.Peer("kmeans_plusplus", their_start, 4.0)
    report.race(f"{name}, start", our_start, [peer], turns=5)
    judge(report, f"{name}, start", ours, theirs, inertia)


def both(report, name, x, device, k, least, inertia) -> None:
    cluster = runner.need("sklearn.cluster").cluster
    seeds = iter(range(1000))
    found: dict[str, list] = {"jaxml": [], "lloyd": [], "elkan": []}

    def ours():
        start = kmeans.init(jax.random.key(next(seeds)), device, k=k)
        found["jaxml"].append(np.asarray(kmeans.fit(start, device).params.centres))
        return 0.0

    def theirs(algorithm):
        def run():
            peer = cluster.KMeans(
                k, n_init=1, algorithm=algorithm, random_state=next(seeds)
            )
            found[algorithm].append(peer.fit(x).cluster_centers_)
            return 0.0

        return run

    peers = [
        runner.Peer(algorithm.title(), theirs(algorithm), least)
        for algorithm in ("lloyd", "elkan")
    ]
    report.race(f"{name}, start and fit", ours, peers, turns=5)
    for algorithm in ("lloyd", "elkan"):
        judge(report, name, found["jaxml"], found[algorithm], inertia)


def judge(report, name, ours, theirs, inertia) -> None:
    one, other = (
        np.mean([inertia(c) for c in side[:SEEDS]]) for side in (ours, theirs)
    )
    print(f"    {name}: mean J = {one:.6f}, peer {other:.6f}", flush=True)
    report.require(f"{name}: J is {one / other:.4f} of the peer's", one < ABOVE * other)


def gaussians(report: runner.Report) -> None:
    """100k x 16, k = 20, full covariance, 30 steps of EM from one start."""
    peer = runner.need("sklearn.mixture").mixture.GaussianMixture
    rng = np.random.default_rng(0)
    d, k, m = 16, 20, 100_000
    mix = rng.standard_normal((k, d, d)) / 4 + 0.7 * np.eye(d)
    label = rng.integers(0, k, m)
    x = 1.5 * rng.standard_normal((k, d))[label] + 2
    x += np.einsum("nij,nj->ni", mix[label], rng.standard_normal((m, d)))
    means = x[rng.choice(m, k, replace=False)]
    sigma = np.repeat(np.cov(x.T)[None], k, 0)

    def one(dtype, least):
        host = x.astype(dtype)
        with in_precision(dtype):
            start = mixture.Params(
                jnp.full(k, 1 / k, dtype), *(a.astype(dtype) for a in (means, sigma))
            )
            device = jax.device_put(host)
            options = {"tol": 0.0, "max_iter": 30}

            def ours():
                return -float(mixture.fit(start, device, **options).cost)

            def theirs():
                found = peer(
                    k,
                    weights_init=np.full(k, 1 / k, dtype),
                    means_init=means.astype(dtype),
                    precisions_init=np.linalg.inv(sigma).astype(dtype),
                    **options,
                ).fit(host)
                return float(found.score(host))

            report.race(
                f"mixture 100k x 16, k = 20, {dtype.__name__}",
                ours,
                [runner.Peer("GaussianMixture", theirs, least)],
                tolerance=1e-6 if dtype == np.float64 else 1e-3,
                turns=5,
            )

    report.races("30 steps of EM; apart: mean log-likelihood:")
    for dtype, least in ((np.float64, 8.0), (np.float32, 8.0)):
        one(dtype, least)


def first_call(report: runner.Report) -> None:
    """Small fits, compiled and run."""
    x = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32)
    jax.block_until_ready(jax.device_put(x) + 1)
    print()
    for name, module, start in (
        ("k-means", kmeans, kmeans.Params(x[:3])),
        (
            "mixture",
            mixture,
            mixture.Params(np.full(3, 1 / 3), x[:3], np.stack([np.cov(x.T)] * 3)),
        ),
    ):
        begin = time.perf_counter()
        jax.block_until_ready(module.fit(start, x))
        seconds = time.perf_counter() - begin
        print(f"First call of a {name} of 200 rows: {seconds:.2f} s.", flush=True)
        report.demand(f"{name}: first call {seconds:.2f} s", seconds <= FIRST)


JOBS = {
    "first-call": first_call,
    "clouds": clouds,
    "mnist": mnist,
    "mixture": gaussians,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.clustering")
    parser.add_argument("jobs", nargs="*", default=list(JOBS), metavar="job")
    jobs = parser.parse_args().jobs
    if unknown := set(jobs) - set(JOBS):
        parser.error(
            f"no job {', '.join(sorted(unknown))}; there are {', '.join(JOBS)}"
        )
    warnings.filterwarnings("ignore")  # peers that stop at max_iter say so
    runner.two_cores()
    report = runner.Report("Clustering", "scikit-learn")
    for job in jobs:
        JOBS[job](report)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())

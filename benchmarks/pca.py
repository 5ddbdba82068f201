"""Principal components beside scikit-learn's, at the same variances and error.

    python -m benchmarks.pca [job ...]

Jobs: eigen, randomised; all if none is named. MNIST, 60,000 rows of 784, 50 components;
both sides have two threads. Beside each race stand both sides' mean squared errors of
reconstruction, computed anew in float64, which may differ by 1e-4, and how far
variances are from LAPACK's, in float64.
"""

import argparse
import contextlib
import sys

import jax
import numpy as np

from benchmarks import runner
from jaxml import check, pca
from jaxml.data import datasets

K = 50
WORSE = 1e-4  # the share by which our error may be above the peer's
PRECISIONS = (np.float32, np.float64)


class Truth:
    """The exact answer for the rows of x, by which others are judged."""

    def __init__(self, x: np.ndarray):
        """Decompose the covariance in float64."""
        x = x.astype(np.float64)
        centred = x - x.mean(axis=0)
        self.covariance = centred.T @ centred / len(x)
        self.variances = np.linalg.eigvalsh(self.covariance)[::-1][:K]

    def error(self, u: np.ndarray) -> float:
        """The mean squared error of reconstruction by the columns of u, (n, K)."""
        u = np.linalg.qr(u.astype(np.float64))[0]
        return float(np.trace(self.covariance) - np.sum(u * (self.covariance @ u)))

    def off(self, variances: np.ndarray) -> float:
        """The largest relative error of variances, (K,)."""
        return float(np.abs(variances / self.variances - 1).max())


def race(report, truth, x, dtype, name, ours, solver, least) -> None:
    """Our fit against scikit-learn's of that solver."""
    peer = runner.need("sklearn.decomposition").decomposition.PCA
    found = {}
    with jax.enable_x64(True) if dtype == np.float64 else contextlib.nullcontext():
        host = x.astype(dtype)
        device = jax.device_put(host)

        def left():
            params = check(ours(device)).params
            found["jaxml"] = np.asarray(params.u), np.asarray(params.variances)
            return 0.0

        def right():
            fit = peer(K, svd_solver=solver, random_state=0).fit(host)
            variances = fit.explained_variance_ * (1 - 1 / len(host))
            found[solver] = fit.components_.T, variances
            return 0.0

        job = f"{name}, {dtype.__name__}"
        report.race(job, left, [runner.Peer(solver, right, least)], turns=5)
    errors = {side: truth.error(u) for side, (u, _) in found.items()}
    for side, (_, variances) in found.items():
        off = truth.off(variances)
        print(f"    {side}: error {errors[side]:.8f}, variances off by {off:.1e}")
    share = errors["jaxml"] / errors[solver] - 1
    report.require(f"{job}: error above {solver}'s by {share:.1e}", share <= WORSE)


def eigen(report, truth, x) -> None:
    for dtype, least in zip(PRECISIONS, (1.0, 0.7), strict=True):
        fit = lambda rows: pca.fit(rows, k=K)
        race(report, truth, x, dtype, "all rows", fit, "covariance_eigh", least)


def randomised(report, truth, x) -> None:
    for dtype in PRECISIONS:
        fit = lambda rows: pca.randomised(jax.random.key(0), rows, k=K)
        race(report, truth, x, dtype, "randomised", fit, "randomized", 3.0)


JOBS = {"eigen": eigen, "randomised": randomised}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "job", nargs="*", choices=[*JOBS, []], help="which; default all"
    )
    chosen = parser.parse_args(argv).job or list(JOBS)
    runner.two_cores()
    report = runner.Report("Principal components", "scikit-learn")
    (x, _), _ = datasets.mnist(scale=1 / 255)
    x = np.asarray(x, np.float32)
    truth = Truth(x)
    report.races(f"MNIST, {len(x)} x {x.shape[1]}, {K} components.")
    for job in chosen:
        JOBS[job](report, truth, x)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())

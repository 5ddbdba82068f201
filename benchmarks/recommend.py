"""Recommender systems beside implicit, and on MovieLens' published folds.

    python -m benchmarks.recommend [job ...]

Jobs: als, movielens; both if none is named. Both sides have two threads, and begin with
the same vectors. implicit's confidence r is our 1 + αy, its cost twice ours; "apart" is
the relative difference of the costs, computed anew in float64.
"""

import argparse
import os
import sys
import time
import warnings

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # implicit has threads of its own

import jax
import numpy as np

from benchmarks import runner
from jaxml import recommend
from jaxml.data import datasets

USERS, ITEMS, RATINGS, RANK = 6000, 4000, 1_000_000, 64
L2 = 0.1
WARM = 5.0  # s, for the five folds
LARGEST = 0.915  # RMSE


def synthetic(users: int, items: int, count: int, seed: int = 0):
    """Pairs of active users and popular items, log-normally so; a confidence, 2…6."""
    rng = np.random.default_rng(seed)
    active, popular = rng.lognormal(0, 1, users), rng.lognormal(0, 1.2, items)
    user = rng.choice(users, 2 * count, p=active / active.sum())
    item = rng.choice(items, 2 * count, p=popular / popular.sum())
    pairs = rng.permutation(np.unique(user * items + item))[:count]
    often = rng.integers(2, 7, len(pairs)).astype(np.float32)
    return pairs // items, pairs % items, often


def als(report: runner.Report) -> None:
    """One million choices, rank 64."""
    runner.need("implicit")
    from implicit.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix

    user, item, often = synthetic(USERS, ITEMS, RATINGS)
    table = csr_matrix((often, (user, item)), (USERS, ITEMS))
    began = time.perf_counter()
    ratings = recommend.prepare(user, item, often - 1, users=USERS, items=ITEMS)
    layout = time.perf_counter() - began
    start = recommend.init(
        jax.random.key(0), users=USERS, items=ITEMS, k=RANK, scale=0.01
    )
    places = ratings.by_user.rating.size + ratings.by_item.rating.size
    padding = places / (2 * RATINGS) - 1
    print(f"\nLayout in {layout:.2f} s, {100 * padding:.0f} % of padding.", flush=True)
    report.races(f"{USERS} x {ITEMS}, {RATINGS} choices, rank {RANK}:")

    def objective(theta, x):
        theta, x = np.asarray(theta, np.float64), np.asarray(x, np.float64)
        s = np.einsum("mk,mk->m", theta[user], x[item])
        everywhere = ((theta.T @ theta) * (x.T @ x)).sum()
        known = (often * (1 - s) ** 2 - s**2).sum()
        return everywhere + known + L2 * ((theta**2).sum() + (x**2).sum())

    for solver, least, steps in (("cholesky", 1.0, 2), ("cg", 0.8, 5)):
        found = {}

        def ours(solver=solver, steps=steps, found=found):
            fit = recommend.implicit.fit(
                start, ratings, l2=L2, solver=solver, tol=0.0, max_iter=steps
            )
            found["jaxml"] = jax.block_until_ready(fit.params)
            return 0.0

        def theirs(solver=solver, steps=steps, found=found):
            model = AlternatingLeastSquares(
                RANK,
                regularization=L2,
                alpha=1.0,
                iterations=steps,
                use_cg=solver == "cg",
                num_threads=runner.CORES,
            )
            model.user_factors = np.array(start.theta)
            model.item_factors = np.array(start.x)
            model.fit(table, show_progress=False)
            found["implicit"] = model.user_factors, model.item_factors
            return 0.0

        job = f"{solver}, {steps} iterations"
        report.race(job, ours, [runner.Peer("implicit", theirs, least)])
        own, other = (objective(*found[side]) for side in ("jaxml", "implicit"))
        print(f"    {job}: J = {own:.8e}, implicit {other:.8e}", flush=True)
        report.require(f"{job}: the costs differ", abs(own / other - 1) <= 1e-4)


def movielens(report: runner.Report) -> None:
    """The five published folds; penalties and noise from each training part alone."""
    films = datasets.movielens_100k()
    users, items = 943, len(films.titles)
    ratings = recommend.prepare(
        films.user, films.item, films.rating, users=users, items=items
    )
    start = recommend.variational.init(jax.random.key(0), users=users, items=items, k=5)
    folds = (~films.test).astype(np.float32)
    errors = []

    def ours():
        errors.clear()
        for fold in folds:
            fit = recommend.variational.fit(start, ratings, weights=fold, max_iter=15)
            found = recommend.variational.predict(fit.params, films.user, films.item)
            error = (np.clip(found, 1, 5) - films.rating)[fold == 0]
            errors.append(float(np.sqrt(np.mean(error**2))))
        return 0.0

    report.races("MovieLens 100k, five folds:")
    timing = report.race("variational, rank 5, 15 iterations", ours, [])
    mean = np.mean(errors)
    print(f"    RMSE {np.round(errors, 4)}, mean {mean:.4f} (at most {LARGEST})")
    report.require(f"mean RMSE {mean:.4f}, not {LARGEST}", mean <= LARGEST)
    what = f"the five folds take {timing.warm:.1f} s, not {WARM} s"
    report.demand(what, timing.warm <= WARM)


JOBS = {"als": als, "movielens": movielens}


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.recommend")
    parser.add_argument("jobs", nargs="*", choices=[[], *JOBS], default=[])
    jobs = parser.parse_args().jobs or list(JOBS)
    warnings.filterwarnings("ignore")
    runner.two_cores()
    report = runner.Report("Recommender systems", "implicit")
    for job in jobs:
        JOBS[job](report)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())

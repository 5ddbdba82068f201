"""Ratings for the tests of recommender systems, and what NumPy makes of them."""

from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize

from jaxml.reduction import recommend
from jaxml.reduction.recommend import _layout

# The protocol's: 12 pairs of 5 users and 4 items; user 4 has no rating.
FEW = {
    "user": np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]),
    "item": np.array([0, 1, 2, 1, 2, 3, 0, 2, 3, 0, 1, 3]),
    "users": 5,
    "items": 4,
}


def few(seed: int = 0, *, positive: bool = False) -> Any:
    """The protocol's ratings: one layout, y by seed."""
    y = np.random.default_rng(seed).normal(size=12)
    return recommend.prepare(y=np.abs(y) + 0.1 if positive else y, **FEW)


class Triplets(NamedTuple):
    """Ratings as they come."""

    user: np.ndarray
    item: np.ndarray
    y: np.ndarray

    def dense(self, values=None, shape=None):
        """(users, items) sums of values, 1 if None, over equal pairs."""
        found = np.zeros((USERS, ITEMS) if shape is None else shape)
        np.add.at(found, (self.user, self.item), 1.0 if values is None else values)
        return found


USERS, ITEMS, M, K = 30, 20, 240, 3
RANDOM = np.random.default_rng(3)
PAIRS = RANDOM.permutation(USERS * ITEMS)[: M - 1]
PAIRS = PAIRS[(PAIRS // ITEMS != 5) & (PAIRS % ITEMS != 7)]  # these have no rating
PAIRS = np.append(PAIRS, PAIRS[0])  # one pair rated twice
TRUTH = 3 + RANDOM.normal(size=(USERS, 1)) @ RANDOM.normal(size=(1, ITEMS))
TRUTH += 0.5 * RANDOM.normal(size=(USERS, 1)) + 0.5 * RANDOM.normal(size=ITEMS)
MANY = Triplets(
    PAIRS // ITEMS,
    PAIRS % ITEMS,
    np.clip(TRUTH.ravel()[PAIRS] + 0.3 * RANDOM.normal(size=len(PAIRS)), 1, 5),
)
WEIGHTS = RANDOM.integers(0, 3, len(PAIRS)) * 1.0


def many(monkeypatch) -> Any:
    """MANY in several blocks, some of whose rows fill several segments."""
    monkeypatch.setattr(_layout, "PLACES", 64)
    monkeypatch.setattr(_layout, "WIDTHS", (4, 8))
    return recommend.prepare(*MANY, users=USERS, items=ITEMS)


def start(k: int = K, bias: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of users and items to begin with."""
    rng = np.random.default_rng(1)
    return rng.normal(size=(USERS, k + bias)), rng.normal(size=(ITEMS, k + bias))


def ridge(table, target, weight, penalty, base=0.0):
    """Brute force: for each row of target the minimum of Σ weight (target - x·z)²."""
    found = np.zeros((len(target), table.shape[1]))
    for row, (y, w) in enumerate(zip(target, weight, strict=True)):
        gram = (table.T * w) @ table + base + np.diag(penalty)
        found[row] = np.linalg.solve(gram, table.T @ (w * y))
    return found


def further(params, y, l2, positive=False) -> tuple[float, float]:
    """The cost where MANY's pairs are rated y, from dense matrices, and SciPy's.

    It goes on from params, by L-BFGS-B in float64.
    """
    k = params.x.shape[1]
    known, table = MANY.dense(), MANY.dense(np.asarray(y, float))
    squares = (np.asarray(y, float) ** 2).sum()

    def both(v):
        theta, x = np.split(v.reshape(-1, k), [USERS])
        s = theta @ x.T
        r = known * s - table
        value = ((known * s - 2 * table) * s).sum() + squares + l2 * (v**2).sum()
        return 0.5 * value, np.concatenate([r @ x, r.T @ theta]).ravel() + l2 * v

    v = np.concatenate([params.theta, params.x]).ravel().astype(float)
    options = {"maxiter": 3000, "ftol": 0, "gtol": 1e-9, "maxfun": 10**5}
    bounds = [(0, None)] * len(v) if positive else None
    best = minimize(
        both, v, jac=True, method="L-BFGS-B", bounds=bounds, options=options
    )
    return both(v)[0], best.fun

"""Many classes by machines for two, all fitted in one batch.

"one-vs-one" has a machine for each pair of classes i < j, in the order (0, 1), (0, 2),
…, (k-2, k-1), whose score is above 0 for i; other rows have share 0 in it. The pairs
vote. "one-vs-rest" has a machine for each class; the highest score wins.

Probabilities come from the scores by calibration: Platt's map for each column of
`scores`, fitted on rows that the machines have not seen; for one-vs-rest the k results
are divided by their sum.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import _check
from jaxml._check import Array, Count, NonNegative, Rows, Scalar, Static, Weights
from jaxml._units import shares
from jaxml.optimize._fit import Fit
from jaxml.regression import kernels
from jaxml.regression.svm import _expansion

__all__ = ["Params", "fit", "predict", "scores", "votes"]

Kernel = kernels.Kernel  # or "precomputed"
SCHEMES = ("one-vs-one", "one-vs-rest")


@_check.params
class Params(_expansion.Params):
    """p machines that share their rows: alpha, (p, rows), and b, (p,)."""

    scheme: Static[str] = "one-vs-one"  # or "one-vs-rest"


@_check.fit
def fit(
    x: Rows,
    y: Annotated[Array, "m:labels k"],
    *,
    k: Count,
    scheme: Static[str] = "one-vs-one",
    l2: NonNegative = 1e-2,
    kernel: Static[Kernel] = "rbf",
    gamma: NonNegative | None = None,
    offset: Scalar = 1.0,
    weights: Weights | None = None,
    class_weights: Annotated[Array, "k", "[0, inf)"] | None = None,
    solver: Static[str | None] = None,
    tol: NonNegative = 1e-4,
    max_iter: Count = 500,
) -> Fit:
    """J = Σ_p [Σ wᵢ max(0, 1 - s_pᵢ f_p(xᵢ)) / Σ wᵢ + l2/2 ‖w_p‖²], p over machines.

    s_pᵢ is ±1, and 0 for a row that takes no part; its term is then left out. Σ wᵢ is
    over all rows, so that all machines have the same C, as in LIBSVM.

    Args:
        x: (m, n) rows; for kernel="precomputed" the matrix K, (m, m).
        y: (m,) labels in 0…k-1.
        k: how many classes there are, 2 at least.
        scheme: "one-vs-one" or "one-vs-rest".
        l2: () factor of ½‖w_p‖², above 0: C = 1/(l2 Σw) in LIBSVM and scikit-learn.
        kernel: as in kernel.fit.
        gamma: () γ of the kernel; None for kernels.scale_gamma, 1/(n var x).
        offset: () c of polynomial and sigmoid; coef0, 0 by default, in LIBSVM.
        weights: (m,) weights w; 1 if None.
        class_weights: (k,) factors of the weights of the rows of each class.
        solver: as in kernel.fit; memory is that for one machine, and a few vectors for
            each.
        tol: () largest duality gap of each machine over its cost, as in kernel.fit.
        max_iter: the most rounds of each machine, as in kernel.fit.

    Returns:
        A Fit with Params of p machines, alpha (p, m) and b (p,); cost is J, residual
        and steps are the greatest of the machines, status the gravest, and history the
        sum of their duals. Derivatives as those of kernel.fit. Status INVALID where a
        class is not there.

    Raises:
        ValueError: an argument of the wrong kind, or values out of range.

    """
    _check.option("scheme", scheme, SCHEMES)
    _check.count("k", k, at_least=2)
    w = _expansion.weights_of(x, weights, y, class_weights)
    rows = _expansion.rows_of(x, kernel, gamma, offset, weights)

    def one(signs):
        share = jnp.abs(signs) * shares(w)
        return _expansion.separate(
            rows, signs, share, l2, solver=solver, tol=tol, max_iter=max_iter
        )

    machines = jax.vmap(one)(_signs(y, k, scheme).astype(x.dtype))
    params = _expansion.params_of(rows, *machines.params)
    return Fit(
        params=Params(**vars(params), scheme=scheme),
        cost=jnp.sum(machines.cost),
        residual=jnp.max(machines.residual),
        steps=jnp.max(machines.steps),
        status=jnp.max(machines.status),
        history=_total(machines.history),
    )


@_check.pure
def scores(params: Params, x: Rows) -> jax.Array:
    """f_p(x) = Σ α_pᵢ k(xᵢ, x) + b_p, (m, p), a column for each machine.

    params are those of p machines; x, (m, n), and errors as in kernel.scores.
    """
    return _expansion.scores(params, x)


@_check.pure
def votes(params: Params, x: Rows) -> jax.Array:
    """How much speaks for each class, (m, k); the highest is predicted.

    For "one-vs-one" how many pairs the class wins, plus t/(3 (1 + |t|)), which breaks
    ties, with t the sum of its scores (scikit-learn's decision_function); for
    "one-vs-rest" the scores. params, x, (m, n), and errors as in `scores`.
    """
    scheme = _check.option("params.scheme", params.scheme, SCHEMES)
    f = scores(params, x)
    if scheme == "one-vs-rest":
        return f
    pairs = f.shape[1]
    k = (1 + round((1 + 8 * pairs) ** 0.5)) // 2
    if k * (k - 1) // 2 != pairs:
        raise ValueError(f"params hold {pairs} machines: no number of pairs")
    first, second = np.triu_indices(k, 1)
    sides = jnp.asarray(np.eye(k)[first] - np.eye(k)[second], f.dtype)
    total = f @ sides
    won = jnp.where(f > 0, 1, 0).astype(f.dtype)
    count = won @ jnp.maximum(sides, 0) + (1 - won) @ jnp.maximum(-sides, 0)
    # The transform is no more than a third, and never takes a vote away.
    count = jnp.where(jnp.isnan(total), jnp.nan, count)
    return count + total / (3 * (1 + jnp.abs(total)))


@_check.pure
def predict(params: Params, x: Rows) -> jax.Array:
    """The class with most `votes`, (m,) int32; the first of equals.

    Arguments, x (m, n) among them, and errors as in `votes`.
    """
    return jnp.argmax(votes(params, x), axis=1).astype(jnp.int32)


def _signs(y, k: int, scheme: str):
    """s, (p, m), 0 for a row that takes no part."""
    if scheme == "one-vs-rest":
        return jnp.where(y[None] == jnp.arange(k)[:, None], 1, -1)
    first, second = (jnp.asarray(i)[:, None] for i in np.triu_indices(k, 1))
    return (y[None] == first).astype(int) - (y[None] == second).astype(int)


def _total(history):
    """The sum over machines, (places,), of the last dual that each has recorded."""
    known = jnp.isfinite(history)
    last = jax.lax.cummax(jnp.where(known, history, -jnp.inf), axis=1)
    return jnp.where(jnp.any(known, axis=0), jnp.sum(last, axis=0), jnp.inf)

"""Principal components by iteration: powers of Σ, and rules that learn row by row."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import Count, Key, NonNegative, Positive, Rows, Static, Weights
from jaxml._units import weights_or_ones
from jaxml.optimize._fit import Fit, Progress, iterate
from jaxml.reduction._covariance import Products, products
from jaxml.reduction._eigen import Pairs, misfit, signed
from jaxml.reduction.pca._params import Params, at_most, joined, solved

PATIENCE = 30  # steps without progress: float32 may not reach tol


@_check.pure
def init(key: Key, *, n: Static[int], k: Count) -> Params:
    """k random directions in n dimensions, u (n, k), about 0, each of variance 1.

    They are uniformly distributed: normal entries drawn by key, made orthonormal.
    Raises ValueError where k is above n.
    """
    n = _check.count("n", n)
    at_most(k, n, "n")
    q, r = jnp.linalg.qr(jax.random.normal(key, (n, k)))
    u = q * jnp.sign(jnp.diagonal(r))[None]  # Q alone has signs of its own making
    ones = jnp.ones(k, u.dtype)
    noise = jnp.asarray(1.0 if n > k else 0.0, u.dtype)
    return Params(jnp.zeros(n, u.dtype), u, ones, jnp.asarray(n, u.dtype), noise)


# --- powers of the covariance ---------------------------------------------------------


class _PowerState(NamedTuple):
    basis: jax.Array  # (n, l) orthonormal
    pairs: Pairs  # the k best that the last basis held


@_check.pure
def step(params: Params, x: Rows, *, weights: Weights | None = None) -> Params:
    """U <- Q of Σ U = Q R, columns turned to the axes of Uᵀ Σ U: one step of `power`.

    Args:
        params: where to step from; u, (n, k), with orthonormal columns, is what counts.
        x: (m, n) rows.
        weights: (m,) weights w of the rows; 1 if None.

    Returns:
        Params with the new u and, for variances, those along the old one.

    Raises:
        ValueError: shapes that do not values not finite or out of range.

    """
    k = params.u.shape[1]
    spread = products(x, weights, k)
    (basis, pairs), _ = _power_step(spread, _start(params.u, k))
    rest = spread.trace - jnp.sum(pairs.values)
    return joined(spread.mean, Pairs(pairs.values, signed(basis)), rest)


@_check.fit
def power(
    params: Params,
    x: Rows,
    *,
    weights: Weights | None = None,
    tol: NonNegative = 1e-5,
    max_iter: Count = 1000,
) -> Fit:
    """Minimise J of `pca.cost` by U <- Σ U and orthogonalisation, from a start.

    For k = 1 this is the power method. Each step shrinks the subspace error by
    S_k / S_{k+1}. The answer does not depend on the start, unless this is orthogonal to
    it.

    Args:
        params: the start, as `init` makes one; its u, (n, k), says how many.
        x: (m, n) rows.
        weights: (m,) weights w of the rows; 1 if None.
        tol: () largest |Σ uᵢ - Sᵢ uᵢ| / S₁; variances are right to about its square.
        max_iter: most steps.

    Returns:
        Fit with Params, and with derivatives, both as those of `pca.fit`.

    Raises:
        ValueError: shapes that do not values not finite or out of range.

    Source: Golub and Van Loan (2013), section 8.2.

    """
    k, least = params.u.shape[1], min(x.shape)
    if k > least:
        raise ValueError(f"params have k = {k} directions; min(m, n) is {least}")
    u = jax.lax.stop_gradient(params.u)
    return _iterated(x, weights, _orthonormal(u), k, tol, max_iter)


@_check.fit
def randomised(
    key: Key,
    x: Rows,
    *,
    k: Count,
    weights: Weights | None = None,
    oversample: Static[int] = 10,
    tol: NonNegative = 1e-3,
    max_iter: Count = 30,
) -> Fit:
    """Minimise J of `pca.cost` within the span of Σ^q Ω, Ω random, until it is enough.

    As `power` from a random start with a few columns more than are asked for, which
    makes each step divide the error by S_k / S_l, l = k + oversample + 1, and not
    S_k / S_{k+1}.

    Args:
        key: jax.random.key(seed), which draws Ω.
        x: (m, n) rows.
        k: how many directions, at most min(m, n).
        weights: (m,) weights w of the rows; 1 if None.
        oversample: how many columns more.
        tol: () largest |Σ uᵢ - Sᵢ uᵢ| / S₁; variances are right to about its square.
        max_iter: most steps q.

    Returns:
        Fit with Params, and with derivatives, both as those of `pca.fit`. Each step is
        a pass over the rows or, where that is cheaper, Σ is formed in one.

    Raises:
        ValueError: k above min(m, n), shapes that do not values out of range.

    Source: Halko, Martinsson and Tropp (2011), algorithms 4.4 and 5.3.

    """
    least = min(x.shape)
    at_most(k, least, "min(m, n)")
    columns = min(k + _check.count("oversample", oversample, at_least=0), least)
    start = jax.random.normal(key, (x.shape[1], columns), x.dtype)
    return _iterated(x, weights, _orthonormal(start), k, tol, max_iter)


def _iterated(x, weights, basis, k: int, tol, max_iter: int) -> Fit:
    """Steps from a basis, (n, l), until the best k pairs that it holds are right."""
    fixed = jax.lax.stop_gradient((x, weights))
    spread = products(*fixed, basis.shape[1] * max_iter)

    def advance(state):
        state, image = _power_step(spread, state)
        cost = spread.trace - jnp.sum(state.pairs.values)
        return state, Progress(cost, misfit(state.pairs, image))

    fit = iterate(
        advance, _start(basis, k), tol=tol, max_iter=max_iter, patience=PATIENCE
    )
    values, u = fit.params.pairs
    # Below 0 the difference is rounding.
    rest = jnp.maximum(spread.trace - jnp.sum(values), 0)
    params = joined(spread.mean, Pairs(values, signed(u)), rest)
    return solved(fit._replace(params=params), x, weights)


def _start(basis: jax.Array, k: int) -> _PowerState:
    return _PowerState(basis, Pairs(jnp.zeros_like(basis[0, :k]), basis[:, :k]))


def _power_step(spread: Products, state: _PowerState):
    """The next state, and Σ u, (n, k), for the pairs that the basis holds."""
    basis, k = state.basis, len(state.pairs.values)
    image = spread.times(basis)
    small = basis.T @ image
    values, turn = jnp.linalg.eigh((small + small.T) / 2)  # Rayleigh and Ritz
    values, turn = jnp.maximum(values[::-1], 0), turn[:, ::-1]
    u, image = basis @ turn, image @ turn
    pairs = Pairs(values[:k], u[:, :k])
    return _PowerState(_orthonormal(image), pairs), image[:, :k]


def _orthonormal(v: jax.Array) -> jax.Array:
    return jnp.linalg.qr(v)[0]


# --- rules that learn from each example -----------------------------------------------


@_check.pure
def oja(
    params: Params, x: Rows, *, learning_rate: Positive, weights: Weights | None = None
) -> Params:
    """U <- U + η ⟨(x̃ - U z) zᵀ⟩ with z = Uᵀ x̃, x̃ = x - μ: Hebb's rule with decay.

    For k = 1 it tends to the first principal direction, for more to the span of the
    first k, in no order. What a neuron needs to know is its own input and output.

    Args:
        params: what was learned so far. μ stays as it is.
        x: (m, n) rows, over which ⟨·⟩ is the mean; one row at a time under lax.scan.
        learning_rate: () η, below 1 / |x̃|²; where it falls like 1/t U converges.
        weights: (m,) weights w of the rows; 1 if None.

    Returns:
        Params; variances, total and noise follow ⟨z²⟩ and ⟨|x̃|²⟩ at the same rate.

    Raises:
        ValueError: shapes that do not values not finite or out of range.

    Source: Oja (1982, 1989).

    """
    return _hebbian(params, x, learning_rate, weights, lambda c: c)


@_check.pure
def sanger(
    params: Params, x: Rows, *, learning_rate: Positive, weights: Weights | None = None
) -> Params:
    """uⱼ <- uⱼ + η ⟨(x̃ - Σ_{i<=j} uᵢ zᵢ) zⱼ⟩, z = Uᵀ x̃: the generalised Hebbian rule.

    Each direction sees what those before it leave over, so that all tend to the
    principal directions, in order. Arguments as in `oja`: params, x, (m, n),
    learning_rate η and weights, (m,).

    Source: Sanger (1989).
    """
    return _hebbian(params, x, learning_rate, weights, jnp.triu)


def _hebbian(params, x, learning_rate, weights, part) -> Params:
    mu, u, variances, total, _ = params
    w = weights_or_ones(weights, x)
    share = (w / jnp.sum(w))[:, None]
    x = x - mu[None]
    z = x @ u
    seen = (share * z).T @ z
    u = u + learning_rate * ((share * x).T @ z - u @ part(seen))
    variances = variances + learning_rate * (jnp.diagonal(seen) - variances)
    total = total + learning_rate * (jnp.sum(share * x**2) - total)
    return joined(mu, Pairs(variances, u), total - jnp.sum(variances))

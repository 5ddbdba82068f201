"""Principal components of rows with missing entries, by expectation and maximisation.

The model is that of probabilistic.py, seen through a mask: (m, n), 1 where an entry was
seen and 0 where not; what x holds there does not matter, but has to be a number:

    mask = ~jnp.isnan(x)
    x = jnp.where(mask, x, 0)
    start = pca.missing.init(key, x, mask, k=3)
    params = check(pca.missing.fit(start, x, mask)).params
    completed = pca.missing.impute(params, x, mask)

Nothing is assumed of which entries are missing together. Rows are taken in blocks, for
each needs a (k, k) matrix of its own.
"""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import Array, Count, Key, NonNegative, Rows, Weights
from jaxml._units import weights_or_ones
from jaxml.optimize._fit import Fit, Progress, iterate
from jaxml.reduction._eigen import signed
from jaxml.reduction.pca._params import Params, at_most

__all__ = ["cost", "fit", "impute", "init", "step"]

BLOCK = 512  # rows that are in work at a time
PATIENCE = 30  # steps without progress: float32 may not reach tol


class _Factors(NamedTuple):
    """The model in the form in which it is fitted."""

    w: jax.Array  # (n, k) W
    mean: jax.Array  # (n,) μ
    noise: jax.Array  # () σ²


class _Latent(NamedTuple):
    """What is known of a from the entries that were seen, for each of r rows."""

    mean: jax.Array  # (r, k)
    covariance: jax.Array  # (r, k, k)
    log_likelihood: jax.Array  # (r,) of the seen entries


class _Sums(NamedTuple):
    """Sums over rows, for each column over those where it was seen; e = x - μ - W a."""

    error: jax.Array  # (n,) Σ w e²
    cross: jax.Array  # (n, k+1) Σ w e [a, 1]
    square: jax.Array  # (n, k+1, k+1) Σ w [a, 1][a, 1]ᵀ
    spread: jax.Array  # (n, k+1, k+1) Σ w Cov a, with a row and column of 0
    seen: jax.Array  # (n,) Σ w
    latent: jax.Array  # (k+1, k+1) Σ w E[[a, 1][a, 1]ᵀ], over all rows
    log_likelihood: jax.Array  # () Σ w log p


@_check.pure
def init(
    key: Key,
    x: Rows,
    mask: Annotated[Array, "m n", "[0, 1]"],
    *,
    k: Count,
    weights: Weights | None = None,
) -> Params:
    """Random directions about the means of what was seen, with half of its variance.

    Args:
        key: jax.random.key(seed).
        x: (m, n) rows.
        mask: (m, n) 1 where an entry was seen, 0 where not.
        k: how many directions, below n.
        weights: (m,) weights of the rows; 1 if None.

    Raises:
        ValueError: k that is not below n, shapes that do not agree.

    """
    n = x.shape[1]
    at_most(k, n - 1, "n - 1")
    w = mask if weights is None else mask * weights[:, None]
    share = w / jnp.sum(w, axis=0, keepdims=True)
    mean = jnp.sum(share * x, axis=0)
    total = jnp.sum(share * (x - mean[None]) ** 2)
    u = signed(jnp.linalg.qr(jax.random.normal(key, (n, k), x.dtype))[0])
    noise = total / (2 * n)
    return Params(mean, u, jnp.full(k, noise + total / (2 * k)), total, noise)


@_check.pure
def cost(
    params: Params,
    x: Rows,
    mask: Annotated[Array, "m n", "[0, 1]"],
    *,
    weights: Weights | None = None,
) -> jax.Array:
    """J = -Σ wᵢ log p(seen entries of xᵢ) / Σ wᵢ, ().

    Args:
        params: of k < n directions.
        x: (m, n) rows.
        mask: (m, n) 1 where an entry was seen, 0 where not.
        weights: (m,) weights w of the rows; 1 if None.

    Raises:
        ValueError: as many directions as columns, shapes that do not values not
            finite or out of range.

    """
    w = weights_or_ones(weights, x)
    factors = _factors(params, x)

    def block(x, mask, w):
        return jnp.vdot(w, _latent(factors, x, mask).log_likelihood)

    return -_over_blocks(block, x, mask, w) / jnp.sum(w)


@_check.pure
def impute(
    params: Params, x: Rows, mask: Annotated[Array, "m n", "[0, 1]"]
) -> jax.Array:
    """x where it was seen, and E[x | seen entries of the row] elsewhere, (m, n).

    params, x, (m, n), and mask, (m, n), as in `cost`.
    """
    factors = _factors(params, x)

    def block(rows):
        return _expected(factors, _latent(factors, *rows).mean)

    expected = jax.lax.map(block, _cut(x, mask)).reshape(-1, x.shape[1])[: len(x)]
    return mask * x + (1 - mask) * expected


@_check.pure
def step(
    params: Params,
    x: Rows,
    mask: Annotated[Array, "m n", "[0, 1]"],
    *,
    weights: Weights | None = None,
) -> Params:
    """One iteration of `fit`: expectation of a, then the best W, μ and σ² for it.

    Arguments as in `cost`: params, x, (m, n), mask, (m, n), and weights, (m,).
    """
    factors = _factors(params, x)
    sums = _expectation(factors, x, mask, weights_or_ones(weights, x))
    return _params(_maximised(factors, sums))


@_check.fit
def fit(
    params: Params,
    x: Rows,
    mask: Annotated[Array, "m n", "[0, 1]"],
    *,
    weights: Weights | None = None,
    tol: NonNegative = 1e-4,
    max_iter: Count = 1000,
) -> Fit:
    """Minimise J of `cost` by expectation and maximisation, from a start.

    Args:
        params: the start, as `init` makes one.
        x: (m, n) rows.
        mask: (m, n) 1 where an entry was seen, 0 where not. A column of which nothing
            was seen has no best row of W: status NONFINITE.
        weights: (m,) weights w of the rows; 1 if None.
        tol: () largest relative change of W and of σ² in a step.
        max_iter: most steps.

    Returns:
        Fit with Params, of which total is that of the model. J never rises from step to
        step. Gradients stop at params: they depend on the start.

    Raises:
        ValueError: as many directions as columns, shapes that do not values not
            finite or out of range.

    Source: Dempster, Laird and Rubin (1977); Tipping and Bishop (1999), appendix B;
    Ilin and Raiko (2010) for missing values.

    """
    params, x, mask, weights = jax.lax.stop_gradient((params, x, mask, weights))
    w = weights_or_ones(weights, x)

    def advance(factors):
        sums = _expectation(factors, x, mask, w)
        better = _maximised(factors, sums)
        return better, Progress(
            -sums.log_likelihood / jnp.sum(w), _change(factors, better)
        )

    start = _factors(params, x)
    result = iterate(advance, start, tol=tol, max_iter=max_iter, patience=PATIENCE)
    params = _params(result.params)
    value = cost(params, x, mask, weights=weights)
    return jax.lax.stop_gradient(result._replace(params=params, cost=value))


def _factors(params: Params, x: jax.Array) -> _Factors:
    n, k = params.u.shape
    if k >= n:
        raise ValueError(f"params have k = {k} of n = {n} directions: no noise is left")
    scale = jnp.sqrt(params.variances - params.noise)
    return _Factors(params.u * scale[None], params.mean, params.noise)


def _params(factors: _Factors) -> Params:
    """The model by its principal directions, which W has up to a rotation of a."""
    w, mean, noise = factors
    n, k = w.shape
    u, s, _ = jnp.linalg.svd(w, full_matrices=False)
    variances = s**2 + noise
    total = jnp.sum(variances) + (n - k) * noise
    return Params(mean, signed(u), variances, total, noise)


def _latent(factors: _Factors, x: jax.Array, mask: jax.Array) -> _Latent:
    """a | x ~ N(M⁻¹ Wᵀ(x - μ), σ² M⁻¹) with M = WᵀW + σ², over the seen entries."""
    w, mean, noise = factors
    n, k = w.shape
    y = mask * (x - mean[None])
    outer = (w[:, :, None] * w[:, None]).reshape(n, k * k)
    m = (mask @ outer).reshape(-1, k, k) + noise * jnp.eye(k, dtype=w.dtype)[None]
    root = jnp.linalg.cholesky(m)
    inverse = jax.scipy.linalg.cho_solve(
        (root, True), jnp.broadcast_to(jnp.eye(k, dtype=w.dtype), m.shape)
    )
    a = jnp.einsum("rij,rj->ri", inverse, y @ w)
    left = mask * (x - _expected(factors, a)) ** 2
    # |x - μ|² - yᵀ W a without its cancellation
    square = jnp.sum(left, axis=1) / noise + jnp.sum(a**2, axis=1)
    volume = 2 * jnp.sum(jnp.log(jnp.diagonal(root, axis1=1, axis2=2)), axis=1)
    seen = jnp.sum(mask, axis=1)
    volume += (seen - k) * jnp.log(noise) + seen * jnp.log(2 * jnp.pi)
    return _Latent(a, noise * inverse, -0.5 * (volume + square))


def _expected(factors: _Factors, a: jax.Array) -> jax.Array:
    """μ + W a, (r, n)."""
    return factors.mean[None] + a @ factors.w.T


def _expectation(factors, x, mask, w) -> _Sums:
    n, k = factors.w.shape

    def block(x, mask, w):
        latent = _latent(factors, x, mask)
        share = mask * w[:, None]
        error = x - _expected(factors, latent.mean)
        a = jnp.concatenate([latent.mean, jnp.ones_like(w)[:, None]], axis=1)
        outer = (a[:, :, None] * a[:, None]).reshape(-1, (k + 1) ** 2)
        spread = jnp.pad(latent.covariance, ((0, 0), (0, 1), (0, 1)))
        return _Sums(
            jnp.sum(share * error**2, axis=0),
            (share * error).T @ a,
            (share.T @ outer).reshape(n, k + 1, k + 1),
            (share.T @ spread.reshape(-1, (k + 1) ** 2)).reshape(n, k + 1, k + 1),
            jnp.sum(share, axis=0),
            (w[:, None] * a).T @ a + jnp.einsum("r,rij->ij", w, spread),
            jnp.vdot(w, latent.log_likelihood),
        )

    return _over_blocks(block, x, mask, w)


def _maximised(factors: _Factors, sums: _Sums) -> _Factors:
    """The W, μ and σ² that are best for what is expected of a.

    Solved for their change, whose rounding shrinks with it. Then a is brought back to
    mean 0 and covariance 1, and μ and W take up what it had (parameter expansion, Liu,
    Rubin and Wu 1998): without it μ creeps along W.
    """
    w, mean, _ = factors
    spread = sums.spread
    old = jnp.pad(w, ((0, 0), (0, 1)))
    right = sums.cross - _times(spread, old)
    change = jnp.linalg.solve(sums.square + spread, right[..., None])[..., 0]
    new = old + change
    error = sums.error - 2 * jnp.sum(change * sums.cross, axis=1)
    error += jnp.sum(change * _times(sums.square, change), axis=1)
    error += jnp.sum(new * _times(spread, new), axis=1)
    noise = jnp.sum(error) / jnp.sum(sums.seen)
    latent = sums.latent / sums.latent[-1:, -1:]
    centre = latent[:-1, -1]
    root = jnp.linalg.cholesky(latent[:-1, :-1] - jnp.outer(centre, centre))
    w, mean = new[:, :-1], mean + change[:, -1]
    return _Factors(w @ root, mean + w @ centre, noise)


def _times(matrices: jax.Array, vectors: jax.Array) -> jax.Array:
    return jnp.einsum("nij,nj->ni", matrices, vectors)


def _change(old: _Factors, new: _Factors) -> jax.Array:
    w = jnp.sqrt(jnp.sum((new.w - old.w) ** 2) / jnp.sum(new.w**2))
    return jnp.maximum(w, jnp.abs(new.noise - old.noise) / new.noise)


def _cut(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    """Arrays, (m, …), as blocks of at most BLOCK rows, filled up with zeros."""
    m = len(arrays[0])
    rows = min(m, BLOCK)

    def cut(a):
        a = jnp.pad(a, ((0, -m % rows), *[(0, 0)] * (a.ndim - 1)))
        return a.reshape(-1, rows, *a.shape[1:])

    return tuple(cut(a) for a in arrays)


def _over_blocks(block: Callable[..., Any], *arrays: jax.Array) -> Any:
    """Σ over blocks of block(*rows); a row of zeros has no weight."""
    blocks = _cut(*arrays)

    def add(sums, rows):
        return jax.tree.map(jnp.add, sums, block(*rows)), None

    shapes = jax.eval_shape(block, *[b[0] for b in blocks])
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    return jax.lax.scan(add, zero, blocks)[0]

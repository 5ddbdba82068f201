"""Principal components as a Gaussian model, x = μ + W a + noise (Tipping, Bishop 1999).

a ~ N(0, 1) has k entries, noise ~ N(0, σ² 1) has n, and W = U (S - σ²)^½: of all such
models the one with the μ, U, S and σ² of `pca.fit` makes the rows most likely. Its
covariance is that of the rows along U, and σ² across.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln

from jaxml import _check
from jaxml._check import Count, Key, Rows, Weights
from jaxml._units import unit_of
from jaxml.reduction._covariance import centred
from jaxml.reduction.pca._params import Params


class Posterior(NamedTuple):
    """What a row tells of its latent coordinates a, which are N(0, 1) before."""

    mean: jax.Array  # (m, k)
    variance: jax.Array  # (k,) the same for all rows


@_check.pure
def log_likelihood(params: Params, x: Rows) -> jax.Array:
    """-½ [n log 2π + Σ log Sᵢ + (n-k) log σ² + Σ zᵢ²/Sᵢ + |x - x_rec|²/σ²], (m,).

    The log-density of each row under N(μ, U S Uᵀ + σ² (1 - U Uᵀ)).

    Args:
        params: of k < n directions, or of all n, which leave no noise.
        x: (m, n) rows.

    Raises:
        ValueError: params for another number of columns, values not finite.

    """
    n, k = params.u.shape
    y = x - params.mean[None]
    z = y @ params.u
    volume = n * jnp.log(2 * jnp.pi) + jnp.sum(jnp.log(params.variances))
    square = jnp.sum(z**2 / params.variances[None], axis=1)
    if k < n:
        volume += (n - k) * jnp.log(params.noise)
        left = y - z @ params.u.T
        square += jnp.sum(left**2, axis=1) / params.noise
    return -0.5 * (volume + square)


@_check.pure
def posterior(params: Params, x: Rows) -> Posterior:
    """a | x ~ N((S - σ²)^½ z / S, σ² / S): Posterior for the rows of x, (m, n).

    Its mean, (m, k), are the coordinates z = Uᵀ(x - μ) of `transform`, scaled to
    variance 1 and drawn towards 0 by the noise that is in them. params as in
    `log_likelihood`.
    """
    scale = jnp.sqrt(params.variances - params.noise) / params.variances
    mean = ((x - params.mean[None]) @ params.u) * scale[None]
    return Posterior(mean, params.noise / params.variances)


@_check.pure
def sample(params: Params, key: Key, *, count: Count) -> jax.Array:
    """x = μ + U (S - σ²)^½ a + σ e, (count, n): rows drawn from the model by key.

    params as in `log_likelihood`; count is how many rows.
    """
    n, k = params.u.shape
    latent, noise = jax.random.split(key)
    dtype = params.u.dtype
    a = jax.random.normal(latent, (count, k), dtype)
    e = jax.random.normal(noise, (count, n), dtype)
    scale = jnp.sqrt(params.variances - params.noise)
    rows = (a * scale[None]) @ params.u.T
    # Without noise its root has no derivative.
    sigma = jnp.sqrt(params.noise) if k < n else 0
    return params.mean[None] + rows + sigma * e


@_check.pure
def evidence(x: Rows, *, weights: Weights | None = None) -> jax.Array:
    """log P(x | k) for k = 1 … n-1, (n-1,): how many directions the rows speak for.

    P = p(U) (Π S)^(-m/2) σ^(-m(n-k)) (2π)^((d+k)/2) |A|^(-½) m^(-k/2), Laplace's
    approximation with d = nk - k(k+1)/2 and
    |A| = Π_{i<=k} Π_{j>i} m (Sᵢ - Sⱼ)(1/Ŝⱼ - 1/Ŝᵢ), Ŝ = σ² after the first k.
    `1 + jnp.argmax(evidence(x))` is the best k.

    Args:
        x: (m, n) rows, more than n of them: fewer leave no noise.
        weights: (m,) how often each row was seen; 1 if None. NaN where that is n times
            or less in all, or no more than n rows were.

    Returns:
        Log-evidences up to a term that all k share. -inf from the first direction of
        variance 0 on. Where variances coincide the approximation does not hold, and
        gives +inf.

    Raises:
        ValueError: x of n rows or less, shapes that do not values not finite or
            out of range.

    Source: Minka (2000), equation 30.

    """
    n = x.shape[1]
    if len(x) <= n:
        raise ValueError(
            f"x has {len(x)} rows of n = {n} columns: more than n it needs"
        )
    m = len(x) if weights is None else jnp.sum(weights)
    rows = centred(x, weights)[1]
    unit = unit_of(rows)  # so that no square underflows
    rows = rows / unit
    s = jnp.linalg.eigvalsh(rows.T @ rows)[::-1]
    k = jnp.arange(1, n)
    log, each = jnp.log(s), k.astype(s.dtype)
    half = (n - jnp.arange(1, n).astype(s.dtype) + 1) / 2
    of_u = jnp.cumsum(gammaln(half) - half * jnp.log(jnp.pi) - jnp.log(2.0))
    rest = jnp.cumsum(s[::-1])[::-1][1:] / (n - each)  # σ² for each k
    log_rest = jnp.log(rest)
    d = n * each - each * (each + 1) / 2
    curvature = _pairs(s, rest) + jnp.log(m) * d
    value = of_u - m / 2 * (jnp.cumsum(log[:-1]) + (n - each) * log_rest)
    value += (d + each) / 2 * jnp.log(2 * jnp.pi) - curvature / 2
    value -= each / 2 * jnp.log(m)
    none = s[:-1] <= 10 * n * float(jnp.finfo(s.dtype).eps) * s[0]
    value = jnp.where(none, -jnp.inf, value) - m * n * jnp.log(unit)
    if weights is None:
        return value
    enough = (m > n) & (jnp.sum(weights > 0) > n)
    return jnp.where(enough, value, jnp.nan)


def _pairs(s: jax.Array, rest: jax.Array) -> jax.Array:
    """Σ_{i<=k} Σ_{j>i} log (Sᵢ - Sⱼ)(1/Ŝⱼ - 1/Ŝᵢ) for each k, (n-1,), from S, (n,)."""
    n = len(s)
    index = jnp.arange(n)
    above = index[:, None] < index[None]  # i < j

    def logs(difference, where):
        return jnp.where(where, jnp.log(jnp.where(where, difference, 1)), 0)

    split = jnp.sum(logs(s[:, None] - s[None], above), axis=1)
    both = jnp.sum(logs(1 / s[None] - 1 / s[:, None], above), axis=0)
    # i among the k first, (n, n-1), each with n - k equals after them
    kept = index[:, None] <= index[None, :-1]
    one = logs(1 / rest[None] - 1 / s[:, None], kept)
    many = jnp.sum(one, axis=0) * (n - 1 - index[:-1]).astype(s.dtype)
    return jnp.cumsum(split[:-1]) + jnp.cumsum(both[:-1]) + many

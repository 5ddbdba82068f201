"""Mixtures of Gaussians, by expectation and maximisation (slides 2.3).

p(x) = Σ_k π_k N(x; μ_k, Σ_k): soft clusters, a density to sample from, and one that
tells what is out of the ordinary. With all Σ_k = T/2 this is `annealing` at T.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from jaxml import _check
from jaxml._rows import each, mean, product, total
from jaxml.optimize.fit import Fit, Progress, Status, iterate
from jaxml.reduction import kmeans

KINDS = {"full": "k n n", "tied": "n n", "diagonal": "k n", "spherical": "k"}
WIDE = 48  # columns from which products of pairs of them are not laid out
LOG_2PI = math.log(2 * math.pi)


class Params(NamedTuple):
    """k Gaussians and their shares."""

    weights: jax.Array  # (k,) π, which sum to 1
    means: jax.Array  # (k, n) μ
    covariances: jax.Array  # Σ: (k, n, n), tied (n, n), diagonal (k, n), spherical (k,)


@_check.pure(static=("covariance",), jit=True, x="m n")
def log_density(params: Params, x: jax.Array, *, covariance: str = "full") -> jax.Array:
    """log p(xᵢ) = log Σ_k π_k N(xᵢ; μ_k, Σ_k), (m,), for the rows of x, (m, n).

    params and covariance as in `fit`. What is least dense is an anomaly:
    `metrics.threshold` finds where to draw the line. Raises ValueError if params are
    for another number of columns or another covariance; NaN where a covariance is not
    positive.
    """
    joint = _joint(params, x, covariance)
    return each(lambda x: jax.nn.logsumexp(joint(x), axis=1), x)


@_check.pure(static=("covariance",), jit=True, x="m n")
def responsibilities(
    params: Params, x: jax.Array, *, covariance: str = "full"
) -> jax.Array:
    """γ_ik = π_k N(xᵢ; μ_k, Σ_k) / p(xᵢ), (m, k): how likely xᵢ came from Gaussian k.

    params and covariance as in `fit`; x, (m, n), rows. Raises as `log_density` does.
    """
    joint = _joint(params, x, covariance)
    return each(lambda x: jax.nn.softmax(joint(x), axis=1), x)


@_check.pure(static=("covariance",), jit=True, x="m n")
def predict(params: Params, x: jax.Array, *, covariance: str = "full") -> jax.Array:
    """argmax_k γ_ik, (m,) int32: the Gaussian that each row most likely came from.

    params and covariance as in `fit`; x, (m, n), rows. Raises as `log_density` does.
    """
    joint = _joint(params, x, covariance)
    return each(lambda x: jnp.argmax(joint(x), axis=1).astype(jnp.int32), x)


@_check.pure(static=("covariance",), jit=True, x="m n", weights="m")
def cost(
    params: Params,
    x: jax.Array,
    *,
    covariance: str = "full",
    weights: jax.Array | None = None,
) -> jax.Array:
    """J = -Σ wᵢ log p(xᵢ) / Σ wᵢ, ().

    params, x, (m, n), covariance and weights as in `fit`. Raises as `log_density` does.
    """
    return _cost(params, x, weights, covariance)


def _cost(params, x, weights, covariance):
    joint = _joint(params, x, covariance)

    def sums(x, w):
        found = jax.nn.logsumexp(joint(x), axis=1)
        w = jnp.ones_like(found) if w is None else w
        return jnp.vdot(w, found), jnp.sum(w)

    value, count = total(sums, x, weights)
    return -value / count


def _joint(params: Params, x, covariance):
    """The function of rows that gives log π_k N(xᵢ; μ_k, Σ_k), (rows, k)."""
    _fits(params, x, covariance)
    whiten, log_det = _factors(params, covariance)
    n = x.shape[1]
    level = jnp.log(params.weights) - log_det - 0.5 * n * LOG_2PI

    def joint(x):
        def one(gaussian):
            mean, whiten = gaussian
            z = x - mean[None]
            z = product(z, whiten.T) if whiten.ndim == 2 else z * whiten[None]
            return jnp.sum(z * z, axis=1)

        squares = jax.lax.map(one, (params.means, whiten))  # one by one: not m × k × n
        return level[None] - 0.5 * squares.T

    return joint


def _factors(params: Params, covariance):
    """W_k with WᵀW = Σ⁻¹, (k, n, n) or its diagonals (k, n), and log √|Σ_k|, (k,)."""
    sigma, (k, n) = params.covariances, params.means.shape
    shape: tuple[int, ...]
    if covariance in ("full", "tied"):
        lower = jnp.linalg.cholesky(sigma)
        eye = jnp.broadcast_to(jnp.eye(n, dtype=sigma.dtype), lower.shape)
        whiten = solve_triangular(lower, eye, lower=True)
        diagonal = jnp.diagonal(lower, axis1=-2, axis2=-1)
        log_det = jnp.sum(jnp.log(diagonal), axis=-1)
        shape = (k, n, n)
    else:
        sigma = sigma if covariance == "diagonal" else sigma[:, None]
        sigma = jnp.broadcast_to(sigma, (k, n))
        whiten, log_det = jax.lax.rsqrt(sigma), 0.5 * jnp.sum(jnp.log(sigma), axis=-1)
        shape = (k, n)
    return jnp.broadcast_to(whiten, shape), jnp.broadcast_to(log_det, (k,))


def _fits(params: Params, x, covariance) -> None:
    _check.option("covariance", covariance, KINDS)
    _check.shapes(
        x=(x, "m n"),
        **{
            "params.means": (params.means, "k n"),
            "params.weights": (params.weights, "k"),
            "params.covariances": (params.covariances, KINDS[covariance]),
        },
    )


# --- expectation and maximisation ----------------------------------------------------


@_check.fit(static=("covariance", "max_iter"), x="m n", weights="m")
def fit(
    params: Params,
    x: jax.Array,
    *,
    covariance: str = "full",
    weights: jax.Array | None = None,
    floor: Any = 1e-6,
    tol: Any = 1e-3,
    max_iter: int = 100,
) -> Fit:
    """Lower J of `cost` by EM from params, to a minimum near them.

    With γ_ik of `responsibilities` and N_k = Σ wᵢ γ_ik, a step sets π_k = N_k / Σ w,
    μ_k = Σ wᵢ γ_ik xᵢ / N_k, Σ_k = Σ wᵢ γ_ik (xᵢ - μ_k)(xᵢ - μ_k)ᵀ / N_k + floor · 1.

    Args:
        params: π, (k,), μ, (k, n), and Σ to start from; `init` makes them. The result
            depends on them in jumps: derivatives are cut off.
        x: (m, n) rows.
        covariance: "full"; "tied", one Σ for all; "diagonal"; "spherical", σ² · 1.
        weights: (m,) weights w of the rows; 1 if None. Integer weights are repeated
            rows.
        floor: () least variance, in the square of x's unit: a Gaussian that shrinks to
            a single row would be infinitely dense.
        tol: () largest change of J in a step.
        max_iter: most steps.

    Returns:
        Fit with Params and J at them. Status SINGULAR where a Gaussian collapsed.

    Raises:
        ValueError: an unknown covariance, shapes that do not agree, values not finite.

    Source: Dempster, Laird and Rubin (1977).

    """
    _fits(params, x, covariance)
    shift = mean(x, weights)[None]
    centred = x - shift  # squares of what lies far from the origin have no digits

    def advance(state):
        params, last = state
        new, value = _em(params, centred, weights, covariance, floor)
        return (new, value), Progress(value, jnp.abs(last - value))

    far = jnp.full((), jnp.inf, x.dtype)
    start = params._replace(means=params.means - shift), far
    found = iterate(advance, start, tol=tol, max_iter=max_iter)
    params = found.params[0]
    value = _cost(params, centred, weights, covariance)
    lost = ~jnp.isfinite(value) & jnp.isfinite(shift).all()
    lost |= (found.status == Status.NONFINITE) & jnp.isfinite(shift).all()
    status = jnp.where(lost, Status.SINGULAR, found.status).astype(jnp.int32)
    params = params._replace(means=params.means + shift)
    found = found._replace(params=params, cost=value, status=status)
    return jax.lax.stop_gradient(found)


@_check.pure(static=("covariance",), jit=True, x="m n", weights="m")
def step(
    params: Params,
    x: jax.Array,
    *,
    covariance: str = "full",
    weights: jax.Array | None = None,
    floor: Any = 1e-6,
) -> Params:
    """One step of EM: the formulas of `fit`, whose arguments these are.

    params hold π, (k,), μ, (k, n), and Σ; x, (m, n), covariance, weights and floor as
    in `fit`. J does not rise, but for floor.
    """
    _fits(params, x, covariance)
    shift = mean(x, weights)[None]
    params = params._replace(means=params.means - shift)
    found = _em(params, x - shift, weights, covariance, floor)[0]
    return found._replace(means=found.means + shift)


class Sums(NamedTuple):
    """What EM needs to know of the rows; y = x - a point near them."""

    counts: jax.Array  # (k,) N = Σ wᵢ γ_ik
    first: jax.Array  # (k, n) Σ wᵢ γ_ik y
    second: jax.Array  # (k, n, n) or (k, n): Σ wᵢ γ_ik y yᵀ, or its diagonal


def _em(params, x, weights, covariance, floor):
    """New parameters, and J at those given; x is centred."""
    n = x.shape[1]
    if covariance in ("full", "tied") and n >= WIDE:
        near, pass_ = params.means, _one_by_one(params, x, covariance)
    else:
        near, pass_ = jnp.zeros_like(params.means), _by_products(params, covariance)
    w = jnp.ones_like(x[:, 0]) if weights is None else weights
    sums, likelihood = total(pass_, x, w)
    new = _maximise(sums, near, covariance, floor)
    return new, -likelihood / jnp.sum(w)


def _maximise(sums: Sums, near, covariance, floor) -> Params:
    share = sums.counts / jnp.sum(sums.counts)
    counts = jnp.where(sums.counts == 0, 1, sums.counts)[:, None]
    offset = sums.first / counts
    if sums.second.ndim == 3:
        outer = offset[:, :, None] * offset[:, None, :]
        spread = sums.second / counts[:, :, None] - outer
    else:
        spread = sums.second / counts - offset**2
    if covariance == "tied":
        spread = jnp.tensordot(share, spread, 1, precision="highest")
    if covariance == "spherical":
        sigma = jnp.mean(spread, axis=1) + floor
    elif covariance == "diagonal":
        sigma = spread + floor
    else:
        eye = jnp.eye(spread.shape[-1], dtype=spread.dtype)
        sigma = spread + floor * eye.reshape((1,) * (spread.ndim - 2) + eye.shape)
    return Params(share, near + offset, sigma)


def _by_products(params: Params, covariance):
    """log π_k N(x) = F(x)·θ_k with F = [products of x, x, 1]: two products a block."""
    paired = covariance in ("full", "tied")
    k, n = params.means.shape
    whiten, log_det = _factors(params, covariance)
    if paired:
        precision = product(jnp.swapaxes(whiten, 1, 2), whiten)
        pull = jnp.einsum("kij,kj->ki", precision, params.means, precision="highest")
        # Each pair of columns stands once in F, and twice in the quadratic form.
        twice = precision - 0.5 * precision * jnp.eye(n, dtype=precision.dtype)[None]
        quadratic = -jnp.concatenate([twice[:, i, i:] for i in range(n)], axis=1)
    else:
        precision = whiten * whiten
        pull = precision * params.means
        quadratic = -0.5 * precision
    level = jnp.log(params.weights) - log_det - 0.5 * n * LOG_2PI
    level -= 0.5 * jnp.sum(pull * params.means, axis=1)
    theta = jnp.concatenate([quadratic, pull, level[:, None]], axis=1)

    def sums(x, w):
        # Slice by slice: a gather of columns is slow to compile.
        pairs = [x[:, i : i + 1] * x[:, i:] for i in range(n)] if paired else []
        squares = pairs or [x * x]
        features = jnp.concatenate([*squares, x, jnp.ones_like(x[:, :1])], axis=1)
        share, value = _shares(product(features, theta.T))
        found = product((share * w[:, None]).T, features)
        second = found[:, : -n - 1]
        if paired:
            second = _unfolded(second, n)
        return Sums(found[:, -1], found[:, -n - 1 : -1], second), jnp.vdot(w, value)

    return sums


def _unfolded(pairs, n):
    """The symmetric (k, n, n) whose upper triangle stands in pairs, (k, n(n+1)/2)."""
    starts = [0]
    for i in range(n):
        starts.append(starts[-1] + n - i)
    rows = [
        jnp.pad(pairs[:, starts[i] : starts[i + 1]], ((0, 0), (i, 0))) for i in range(n)
    ]
    upper = jnp.stack(rows, axis=1)
    return upper + jnp.swapaxes(jnp.triu(upper, 1), 1, 2)


def _one_by_one(params: Params, x, covariance):
    """For many columns: rows are measured from each mean, and squared there."""
    joint = _joint(params, x, covariance)

    def sums(x, w):
        share, value = _shares(joint(x))

        def one(gaussian):
            mean, share = gaussian
            y = x - mean[None]
            weighted = y * (share * w)[:, None]
            return jnp.sum(weighted, axis=0), product(weighted.T, y)

        first, second = jax.lax.map(one, (params.means, share.T))
        return Sums(product(w, share), first, second), jnp.vdot(w, value)

    return sums


def _shares(joint):
    """γ, (rows, k), and log p, (rows,)."""
    top = jnp.max(joint, axis=1, keepdims=True)
    share = jnp.exp(joint - top)
    norm = jnp.sum(share, axis=1, keepdims=True)
    return share / norm, (top + jnp.log(norm))[:, 0]


@_check.pure(static=("k", "covariance"), jit=True, x="m n", weights="m")
def init(
    key: jax.Array,
    x: jax.Array,
    *,
    k: int,
    covariance: str = "full",
    weights: jax.Array | None = None,
    floor: Any = 1e-6,
) -> Params:
    """π, μ and Σ of the clusters that k-means finds in x, from "++".

    Args:
        key: () of jax.random.key.
        x: (m, n) rows.
        k: how many Gaussians, at most m.
        covariance: as in `fit`.
        weights: (m,) weights of the rows; 1 if None.
        floor: () least variance, as in `fit`.

    Raises:
        ValueError: k > m, an unknown covariance, values not finite.

    """
    _check.option("covariance", covariance, KINDS)
    centres = kmeans.init(key, x, k=k, weights=weights)
    centres = kmeans.fit(centres, x, weights=weights).params.centres
    w = jnp.ones_like(x[:, 0]) if weights is None else weights
    paired = covariance in ("full", "tied")

    def sums(x, w):
        label = kmeans.predict(kmeans.Params(centres), x)

        def one(gaussian):
            number, centre = gaussian
            y = x - centre[None]
            own = jnp.where(label == number, w, 0)[:, None]
            second = product((own * y).T, y) if paired else jnp.sum(own * y * y, axis=0)
            return Sums(jnp.sum(own), jnp.sum(own * y, axis=0), second)

        return jax.lax.map(one, (jnp.arange(k), centres))

    return _maximise(total(sums, x, w), centres, covariance, floor)


# --- what a mixture is good for ------------------------------------------------------


@_check.pure(static=("count", "covariance"), jit=True)
def sample(
    params: Params, key: jax.Array, *, count: int, covariance: str = "full"
) -> jax.Array:
    """Draw count rows of p(x), (count, n): a Gaussian by its π, then of that Gaussian.

    params and covariance as in `fit`; key, (), of jax.random.key. Raises ValueError if
    params are of another covariance.
    """
    k, n = params.means.shape
    _fits(params, jnp.zeros_like(params.means), covariance)
    chosen, drawn = jax.random.split(key)
    label = jax.random.categorical(chosen, jnp.log(params.weights), shape=(count,))
    z = jax.random.normal(drawn, (count, n), params.means.dtype)
    sigma = params.covariances
    if covariance in ("full", "tied"):
        lower = jnp.broadcast_to(jnp.linalg.cholesky(sigma), (k, n, n))
    else:
        sigma = sigma if covariance == "diagonal" else sigma[:, None]
        lower = jnp.broadcast_to(jnp.sqrt(sigma), (k, n))

    def put(i, x):
        own = product(z, lower[i].T) if lower.ndim == 3 else z * lower[i][None]
        return jnp.where((label == i)[:, None], params.means[i][None] + own, x)

    return jax.lax.fori_loop(0, k, put, z)


class Criteria(NamedTuple):
    """What the number of Gaussians costs: the least is the best."""

    aic: jax.Array  # () 2p - 2 log L
    bic: jax.Array  # () p log Σ wᵢ - 2 log L


@_check.pure(static=("covariance",), jit=True, x="m n", weights="m")
def criteria(
    params: Params,
    x: jax.Array,
    *,
    covariance: str = "full",
    weights: jax.Array | None = None,
) -> Criteria:
    """AIC = 2p - 2 log L and BIC = p log Σ wᵢ - 2 log L, with log L = Σ wᵢ log p(xᵢ).

    p counts the free parameters of π, μ and Σ; weights, (m,), are frequencies. params,
    x, (m, n), and covariance as in `fit`. Raises as `log_density` does. Source: Akaike
    (1974); Schwarz (1978).
    """
    k, n = params.means.shape
    free = {
        "full": k * n * (n + 1) // 2,
        "tied": n * (n + 1) // 2,
        "diagonal": k * n,
        "spherical": k,
    }
    count = jnp.asarray(len(x), x.dtype) if weights is None else jnp.sum(weights)
    p = k - 1 + k * n + free[covariance]
    likelihood = -count * _cost(params, x, weights, covariance)
    return Criteria(2 * p - 2 * likelihood, p * jnp.log(count) - 2 * likelihood)

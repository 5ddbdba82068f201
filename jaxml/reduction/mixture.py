"""Mixtures of Gaussians, by expectation and maximisation (slides 2.3).

p(x) = Σ_k π_k N(x; μ_k, Σ_k): soft clusters, a density to sample from, and one that
tells what is out of the ordinary. With all Σ_k = T/2 this is `annealing` at T.
"""

import math
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.scipy.linalg import solve_triangular

from jaxml import _check
from jaxml._check import Count, Key, NonNegative, Rows, Static, Weights
from jaxml._rows import each, mean, total
from jaxml._units import weights_or_ones
from jaxml.optimize._fit import Fit, Progress, Status, iterate
from jaxml.reduction import _gaussians, kmeans

__all__ = [
    "Criteria",
    "Params",
    "cost",
    "criteria",
    "fit",
    "init",
    "log_density",
    "predict",
    "responsibilities",
    "sample",
    "step",
]

Kind = Literal["full", "tied", "diagonal", "spherical"]
KINDS = {"full": "k n n", "tied": "n n", "diagonal": "k n", "spherical": "k"}
PAIRED = ("full", "tied")  # the kinds that know of pairs of columns
WIDE = 48  # columns from which products of pairs of them are not laid out
ROUGH = 1e-2  # rounding, as a part of Σ, from which products make way to differences
SPOILT = 0.1  # and from which a step is made anew
LOG_2PI = math.log(2 * math.pi)


@_check.params
class Params:
    """k Gaussians and their shares."""

    weights: Annotated[jax.Array, "k"]  # π, which sum to 1
    means: Annotated[jax.Array, "k n"]  # μ
    # Σ: full, tied, diagonal or spherical
    covariances: Annotated[jax.Array, "k n n|n n|k n|k"]
    covariance: Static[Kind] = "full"  # which of these Σ is


@_check.pure(jit=True)
def log_density(params: Params, x: Rows) -> jax.Array:
    """log p(xᵢ) = log Σ_k π_k N(xᵢ; μ_k, Σ_k), (m,), for the rows of x, (m, n).

    params as in `fit`. What is least dense is an anomaly:
    `metrics.f1_threshold` finds where to draw the line. Raises ValueError if params are
    for another number of columns or another covariance; NaN where a covariance is not
    positive.
    """
    joint = _joint(params)
    return each(lambda x: jax.nn.logsumexp(joint(x), axis=0), x)


@_check.pure(jit=True)
def responsibilities(params: Params, x: Rows) -> jax.Array:
    """γ_ik = π_k N(xᵢ; μ_k, Σ_k) / p(xᵢ), (m, k): how likely xᵢ came from Gaussian k.

    params as in `fit`; x, (m, n), rows. Raises as `log_density` does.
    """
    joint = _joint(params)
    return each(lambda x: jax.nn.softmax(joint(x), axis=0).T, x)


@_check.pure(jit=True)
def predict(params: Params, x: Rows) -> jax.Array:
    """argmax_k γ_ik, (m,) int32: the Gaussian that each row most likely came from.

    params as in `fit`; x, (m, n), rows. Raises as `log_density` does.
    """
    joint = _joint(params)
    return each(lambda x: jnp.argmax(joint(x), axis=0).astype(jnp.int32), x)


@_check.pure(jit=True)
def cost(
    params: Params,
    x: Rows,
    *,
    weights: Weights | None = None,
) -> jax.Array:
    """J = -Σ wᵢ log p(xᵢ) / Σ wᵢ, ().

    params, x, (m, n), and weights as in `fit`. Raises as `log_density` does.
    """
    return _cost(params, x, weights)


def _cost(params, x, weights):
    joint = _joint(params)

    def sums(x, w):
        result = jax.nn.logsumexp(joint(_present(x, w, params.means[0])), axis=0)
        w = weights_or_ones(w, x)
        return jnp.vdot(w, result), jnp.sum(w)

    value, count = total(sums, x, weights)
    return -value / count


def _present(x, w, point):
    """The rows, those of weight 0 replaced: they may be too far away for squares."""
    return x if w is None else jnp.where(w[:, None] > 0, x, point[None])


def _joint(params: Params):
    """The function of rows that gives log π_k N(xᵢ; μ_k, Σ_k), (k, rows)."""
    gaussians = _whitened(params)
    # One by one: not m × k × n.
    return lambda x: jax.lax.map(
        lambda gaussian: _gaussians.log_density(gaussian, x), gaussians
    )


def _whitened(params: Params) -> _gaussians.Gaussian:
    _fits(params)
    sigma, n = _each(params.covariances, params), params.means.shape[1]
    if sigma.ndim == 3:
        lower = jnp.linalg.cholesky(sigma)
        eye = jnp.broadcast_to(jnp.eye(n, dtype=sigma.dtype), lower.shape)
        whiten = solve_triangular(lower, eye, lower=True)
        log_det = jnp.sum(jnp.log(jnp.diagonal(lower, axis1=1, axis2=2)), axis=1)
    else:
        whiten, log_det = jax.lax.rsqrt(sigma), 0.5 * jnp.sum(jnp.log(sigma), axis=1)
    level = jnp.log(params.weights) - log_det - 0.5 * n * LOG_2PI
    return _gaussians.Gaussian(level, params.means, whiten)


def _each(sigma, params: Params):
    """The Σ of each Gaussian, (k, n, n), or its diagonal, (k, n)."""
    k, n = params.means.shape
    if params.covariance in PAIRED:
        return jnp.broadcast_to(sigma, (k, n, n))
    return jnp.broadcast_to(sigma.reshape(k, -1), (k, n))


def _fits(params: Params) -> None:
    """Refuse Σ of another shape than their kind has."""
    given = {"means": "k n", "covariances": KINDS[params.covariance]}
    arrays = {f"params.{n}": (getattr(params, n), form) for n, form in given.items()}
    _check.shapes(**arrays)


# --- expectation and maximisation ----------------------------------------------------


@_check.fit
def fit(
    params: Params,
    x: Rows,
    *,
    weights: Weights | None = None,
    floor: NonNegative = 1e-6,
    tol: NonNegative = 1e-5,
    max_iter: Count = 1000,
) -> Fit:
    """Lower J of `cost` by EM from params, to a minimum near them.

    With γ_ik of `responsibilities` and N_k = Σ wᵢ γ_ik, a step sets π_k = N_k / Σ w,
    μ_k = Σ wᵢ γ_ik xᵢ / N_k and Σ_k = S_k + floor · diag(v), where
    S_k = Σ wᵢ γ_ik (xᵢ - μ_k)(xᵢ - μ_k)ᵀ / N_k and v is the variance of each column
    within Gaussians, Σ_k π_k diag(S_k).

    Args:
        params: π, (k,), μ, (k, n), and Σ to start from; `init` makes them. The result
            depends on them in jumps: derivatives are cut off.
        x: (m, n) rows.
        weights: (m,) weights w of the rows; 1 if None. Integer weights are repeated
            rows.
        floor: () what is added to variances, as a part of v, which is at least floor
            times the variance of x, the mean of all columns: a Gaussian that shrinks
            to a single row would be infinitely dense. Without a unit.
        tol: () nats by which J may be above the minimum that steps tend to. They are
            estimated as D / (1 - √r): D is half the square of a step in units of what
            the Gaussians can tell apart (their Fisher information), and r its ratio to
            that of the step before. Beside a saddle steps are short, too: from 1e-4 on
            it is easily taken for a minimum.
        max_iter: most steps.

    Returns:
        Fit with Params and J at them. Status SINGULAR where a Gaussian collapsed.

    Raises:
        ValueError: shapes that do not agree, values not finite.

    Source: Dempster, Laird and Rubin (1977); Böhning et al. (1994) for the estimate.

    """
    params, x, weights = jax.lax.stop_gradient((params, x, weights))
    origin = mean(x, weights)

    def advance(state: _EMState):
        params, gaussians, careful, wide, last = state
        sums, points, value = _expect(state, x, weights, origin)
        new = _maximise(sums, points, params.covariance, floor, wide)
        fresh = _whitened(new)
        rounding = _rounding(new, fresh, points)
        change = _divergence(params, gaussians, new)
        rate = jnp.sqrt(change / last)
        left = jnp.where(change == 0, 0, change / jnp.where(rate < 1, 1 - rate, 0))
        # NaN is spoilt. Again with differences or, where a mean moves too far for
        # those as well, with squares about the old one: the best Σ for it, so that J
        # falls, and the next step has less far to go.
        spoilt = ~(rounding <= SPOILT) & ~wide
        again = spoilt.any()
        wide = again & (wide | (spoilt & careful))
        careful |= ~(rounding <= ROUGH)
        one = _EMState(params, gaussians, careful, wide, last)
        other = _EMState(new, fresh, careful, wide, change)
        state = optax.tree.where(again, one, other)
        return state, Progress(value, jnp.where(again, jnp.inf, left))

    gaussians, none = _whitened(params), jnp.zeros(len(params.means), bool)
    rounding = _rounding(params, gaussians, origin[None])
    zero = jnp.zeros((), x.dtype)  # as if steps grew: one alone has no rate
    start = _EMState(params, gaussians, ~(rounding <= ROUGH), none, zero)
    result = iterate(advance, start, tol=tol, max_iter=max_iter)
    params = result.params.params
    value = _cost(params, x, weights)
    lost = ~jnp.isfinite(value) | (result.status == Status.NONFINITE)
    lost &= jnp.isfinite(origin).all()
    status = jnp.where(lost, Status.SINGULAR, result.status).astype(jnp.int32)
    result = result._replace(params=params, cost=value, status=status)
    return jax.lax.stop_gradient(result)


@_check.pure(jit=True)
def step(
    params: Params,
    x: Rows,
    *,
    weights: Weights | None = None,
    floor: NonNegative = 1e-6,
) -> Params:
    """One step of EM: the formulas of `fit`, whose arguments these are.

    params hold π, (k,), μ, (k, n), and Σ; x, (m, n), weights and floor as in
    `fit`. J does not rise, but for floor.
    """
    gaussians = _whitened(params)
    state = _EMState(params, gaussians, careful=None, wide=None, change=None)
    sums, points, _ = _expect(state, x, weights)
    new = _maximise(sums, points, params.covariance, floor)
    rounding = _rounding(new, _whitened(new), points)
    return _maximise(sums, points, params.covariance, floor, ~(rounding <= SPOILT))


class _EMState(NamedTuple):
    """A mixture, and how its next step is to be made."""

    params: Params
    gaussians: _gaussians.Gaussian  # the same
    careful: Any  # (k,) bool: by differences from its mean; all if None
    wide: Any  # (k,) bool: Σ about the old mean; none if None
    change: Any  # () the divergence of the last step


def _expect(state: _EMState, x, weights, origin=None):
    """Sums, the points they were taken about, (k, n), and J.

    The Gaussians that are careful measure rows from their own means, the others by
    products of columns about origin, (n,), one point for all.
    """
    gaussians, careful = state.gaussians, state.careful
    means, paired = gaussians.mean, gaussians.whiten.ndim == 3
    if careful is None or (paired and x.shape[1] >= WIDE):
        points, pass_ = means, _gaussians.one_by_one(gaussians)
    else:
        points = jnp.where(careful[:, None], means, origin[None])
        pass_ = _gaussians.by_products(gaussians, origin, careful)

    def sums(x, w):
        x = _present(x, w, means[0])
        return pass_(x, weights_or_ones(w, x))

    result, likelihood = total(sums, x, weights)
    weight = len(x) if weights is None else jnp.sum(weights)
    return result, points, -likelihood / weight


def _maximise(sums: _gaussians.Sums, points, covariance, floor, wide=None) -> Params:
    pi = sums.counts / jnp.sum(sums.counts)
    counts = jnp.where(sums.counts == 0, 1, sums.counts)[:, None]
    offset = sums.first / counts
    removed = offset if wide is None else jnp.where(wide[:, None], 0, offset)
    if sums.second.ndim == 3:
        outer = removed[:, :, None] * removed[:, None, :]
        spread = sums.second / counts[:, :, None] - outer
    else:
        spread = sums.second / counts - removed**2
    means = points + offset
    least = _least(pi, means, spread, floor)
    if covariance == "tied":
        spread = jnp.tensordot(pi, spread, 1)
    if covariance == "spherical":
        sigma = jnp.mean(spread, axis=1) + jnp.mean(least)
    else:
        added = jnp.diag(least) if covariance in PAIRED else least
        sigma = spread + added.reshape((1,) * (spread.ndim - added.ndim) + added.shape)
    return Params(pi, means, sigma, covariance)


def _least(pi, means, spread, floor):
    """floor · v of `fit`, (n,), from the π, μ and S of all Gaussians."""
    within = pi @ _diagonal(spread)
    apart = means - (pi @ means)[None]
    variance = jnp.mean(within + pi @ (apart**2))
    return floor * jnp.maximum(within, floor * variance)


def _diagonal(sigma):
    """The variances, (k, n), in Σ, (k, n, n), or these themselves."""
    return jnp.diagonal(sigma, axis1=1, axis2=2) if sigma.ndim == 3 else sigma


def _rounding(params: Params, gaussians: _gaussians.Gaussian, points):
    """What squares about points, (k, n), lose of Σ, (k,), as a part of it.

    (x - μ)ᵀ P (x - μ) is a sum of terms as large as sᵀ |P| s, s² = Σ xᵢ² / N.
    """
    square = _diagonal(_each(params.covariances, params))
    square = square + (params.means - points) ** 2
    whiten = gaussians.whiten
    if whiten.ndim == 3:
        s = jnp.sqrt(square)
        precision = jnp.abs(jnp.swapaxes(whiten, 1, 2) @ whiten)
        terms = jnp.einsum("ki,kij,kj->k", s, precision, s)
    else:
        terms = jnp.sum(square * whiten**2, axis=1)
    return float(jnp.finfo(terms.dtype).eps) * jax.lax.stop_gradient(terms)


def _divergence(old: Params, gaussians: _gaussians.Gaussian, new: Params):
    """Half the square of a step, (), by the Fisher information of the Gaussians.

    ½ Σ_k [Δπ²/π + π (|W Δμ|² + ½ |W ΔΣ Wᵀ|²)]: to second order the Kullback-Leibler
    divergence of the new ones from the old, with the Gaussian of each row known.
    """
    whiten = gaussians.whiten
    moved = new.means - old.means
    spread = _each(new.covariances - old.covariances, old)
    if whiten.ndim == 3:
        moved = jnp.einsum("kij,kj->ki", whiten, moved)
        spread = whiten @ spread @ jnp.swapaxes(whiten, 1, 2)
    else:
        moved, spread = whiten * moved, whiten**2 * spread
    squares = jnp.sum(moved**2, axis=1)
    squares += 0.5 * jnp.sum(spread.reshape(len(spread), -1) ** 2, axis=1)
    positive = old.weights > 0
    shares = (new.weights - old.weights) ** 2 / jnp.where(positive, old.weights, 1)
    return 0.5 * jnp.sum(jnp.where(positive, shares + new.weights * squares, 0))


@_check.pure(jit=True)
def init(
    key: Key,
    x: Rows,
    *,
    k: Count,
    covariance: Static[Kind] = "full",
    weights: Weights | None = None,
    floor: NonNegative = 1e-6,
) -> Params:
    """π, μ and Σ of the clusters that k-means finds in x, from "++".

    Args:
        key: () of jax.random.key.
        x: (m, n) rows.
        k: how many Gaussians, at most m.
        covariance: "full"; "tied", one Σ for all; "diagonal"; "spherical", σ² · 1.
        weights: (m,) weights of the rows; 1 if None.
        floor: () what is added to variances, as in `fit`.

    Raises:
        ValueError: k > m, an unknown covariance, values not finite.

    """
    centres = kmeans.init(key, x, k=k, weights=weights)
    centres = kmeans.fit(centres, x, weights=weights).params.centres
    paired = covariance in PAIRED

    def sums(x, w):
        x = _present(x, w, centres[0])
        w = weights_or_ones(w, x)
        label = kmeans.predict(kmeans.Params(centres), x)
        member = (label[None] == jnp.arange(k)[:, None]) * w[None]
        first, second = jax.lax.map(
            lambda one: _gaussians.moments_of(one, x, paired), (centres, member)
        )
        return _gaussians.Sums(jnp.sum(member, axis=1), first, second)

    return _maximise(total(sums, x, weights), centres, covariance, floor)


# --- what a mixture is good for ------------------------------------------------------


@_check.pure(jit=True)
def sample(params: Params, key: Key, *, count: Count) -> jax.Array:
    """Draw count rows of p(x), (count, n): a Gaussian by its π, then of that Gaussian.

    params as in `fit`; key, (), of jax.random.key. Raises ValueError if
    params are of another covariance.
    """
    _fits(params)
    k, n = params.means.shape
    chosen, drawn = jax.random.split(key)
    label = jax.random.categorical(chosen, jnp.log(params.weights), shape=(count,))
    z = jax.random.normal(drawn, (count, n), params.means.dtype)
    sigma = _each(params.covariances, params)
    lower = jnp.linalg.cholesky(sigma) if sigma.ndim == 3 else jnp.sqrt(sigma)

    def put(i, x):
        deviation = _gaussians.times(lower[i], z)
        return jnp.where((label == i)[:, None], params.means[i][None] + deviation, x)

    return jax.lax.fori_loop(0, k, put, z)


class Criteria(NamedTuple):
    """What the number of Gaussians costs: the least is the best."""

    aic: Annotated[jax.Array, ":sums"]  # 2p - 2 log L
    bic: Annotated[jax.Array, ":sums"]  # p log Σ wᵢ - 2 log L


@_check.pure(jit=True)
def criteria(
    params: Params,
    x: Rows,
    *,
    weights: Weights | None = None,
) -> Criteria:
    """AIC = 2p - 2 log L and BIC = p log Σ wᵢ - 2 log L, with log L = Σ wᵢ log p(xᵢ).

    p counts the free parameters of π, μ and Σ; weights, (m,), are frequencies. params,
    x, (m, n), as in `fit`. Raises as `log_density` does. Source: Akaike
    (1974); Schwarz (1978).
    """
    likelihood = -_cost(params, x, weights)
    k, n = params.means.shape
    free = {
        "full": k * n * (n + 1) // 2,
        "tied": n * (n + 1) // 2,
        "diagonal": k * n,
        "spherical": k,
    }
    count = jnp.asarray(len(x), x.dtype) if weights is None else jnp.sum(weights)
    p = k - 1 + k * n + free[params.covariance]
    likelihood *= count
    return Criteria(2 * p - 2 * likelihood, p * jnp.log(count) - 2 * likelihood)

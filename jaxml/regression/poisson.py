"""Counts: Poisson regression, the rate of events in the rows of x.

P(y | x) = e^-μ μ^y / y! with the mean μ = t e^z, z = w·x + b: a rate e^z, seen for an
exposure t (a time, an area, a number of tries). As with logistic regression, b is fixed
by the number of particles, Σ wᵢ μᵢ = Σ wᵢ yᵢ.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import (
    Array,
    Count,
    NonNegative,
    Positive,
    Rows,
    Scalar,
    Static,
    Unchecked,
    Weights,
)
from jaxml._units import shares, weights_or_ones
from jaxml.optimize._fit import Fit
from jaxml.optimize._solver import Solver
from jaxml.optimize.proximal import l1_penalty
from jaxml.regression import _likelihood, linear
from jaxml.regression._likelihood import Centred, centred, criteria, wald_table
from jaxml.regression._linear_fit import fit as linear_fit
from jaxml.regression._linear_loss import POISSON, average
from jaxml.regression._table import Table

__all__ = [
    "Inference",
    "Params",
    "cost",
    "fit",
    "gradient",
    "inference",
    "log_rate",
    "predict",
    "wald",
]

WIDE = 500  # parameters from which "auto" means L-BFGS
Events = Annotated[Array, "m", "[0, inf)"]
Exposure = Annotated[Array, "m", "(0, inf)"]


class Params(NamedTuple):
    """The logarithm of a rate, w·x + b."""

    w: Annotated[jax.Array, "n"]  # weights
    b: Annotated[jax.Array, ""]  # intercept


@_check.pure
def log_rate(params: Params, x: Rows) -> jax.Array:
    """z = w·x + b, (m,), for the rows of x, (m, n); params hold w, (n,), and b.

    Raises ValueError if params are for another number of columns.
    """
    return linear.predict(linear.Params(params.w, params.b), x)


@_check.pure
def predict(params: Params, x: Rows, *, exposure: Exposure | None = None) -> jax.Array:
    """μ = t e^z, (m,): how many events are to be expected in the rows of x, (m, n).

    params as in `log_rate`; exposure is t, (m,), 1 if None.
    """
    rate = jnp.exp(log_rate(params, x))
    return rate if exposure is None else exposure * rate


@_check.pure
def cost(
    params: Params,
    x: Rows,
    y: Events,
    *,
    l2: NonNegative = 0.0,
    l1: NonNegative = 0.0,
    weights: Weights | None = None,
    exposure: Exposure | None = None,
) -> jax.Array:
    """J = Σ wᵢ [μᵢ - yᵢ + yᵢ log(yᵢ/μᵢ)] / Σ wᵢ + l2/2 |w|² + l1 |w|₁, ().

    The first term is half the mean deviance: -log P(y | x), less what it would be for
    μ = y. It is 0 for a perfect fit, and of no rows, all weights 0.

    Args:
        params: w, (n,), and b, ().
        x: (m, n) rows.
        y: (m,) counts, or any numbers >= 0.
        l2: () scikit-learn's alpha. b is not penalised.
        l1: () weight of Σ |wⱼ|.
        weights: (m,) weights w of the rows; 1 if None.
        exposure: (m,) t, above 0; 1 if None.

    Raises:
        ValueError: shapes that do not agree, values not finite or out of range.

    """
    t, y = _per_exposure(y, exposure)
    z = log_rate(params, _present(x, weights))
    value = average(t * POISSON.value(z, y), weights)
    if not _check.is_zero(l2):
        value += 0.5 * l2 * jnp.vdot(params.w, params.w)
    if not _check.is_zero(l1):
        value += l1_penalty(params.w, l1=l1)
    return value


@_check.pure
def gradient(
    params: Params,
    x: Rows,
    y: Events,
    *,
    l2: NonNegative = 0.0,
    l1: NonNegative = 0.0,
    weights: Weights | None = None,
    exposure: Exposure | None = None,
) -> Params:
    """∂J/∂w = Σ wᵢ (μᵢ - yᵢ) xᵢ / Σ wᵢ + l2 w + l1 sgn(w), and ∂J/∂b without them.

    Arguments as in `cost`: x, (m, n), y, (m,); sgn(0) = 0. Of params' shapes.
    """
    x = _present(x, weights)
    r = predict(params, x, exposure=exposure) - y
    r = r / len(r) if weights is None else r * shares(weights)
    return Params(r @ x + l2 * params.w + l1 * jnp.sign(params.w), jnp.sum(r))


@_check.fit
def fit(
    x: Rows,
    y: Events,
    *,
    l2: NonNegative = 0.0,
    l1: NonNegative | None = None,
    weights: Weights | None = None,
    exposure: Exposure | None = None,
    solver: Static[str | Solver] = "auto",
    intercept: Static[bool] = True,
    learning_rate: Positive | None = None,
    tol: NonNegative = 1e-5,
    max_iter: Count = 1000,
) -> Fit:
    """Minimise J of `cost` over w and b.

    Args:
        x: (m, n) rows.
        y: (m,) counts, or any numbers >= 0.
        l2: () scikit-learn's alpha. b is not penalised.
        l1: () weight of Σ |wⱼ|; None drops the term; faster than 0.
        weights: (m,) weights w of the rows; 1 if None. Integer weights are repeated
            rows, a weight of 0 leaves a row out.
        exposure: (m,) t, above 0; 1 if None. Its logarithm is what others call offset.
        solver: "newton", "lbfgs", "auto" or an optax optimiser, as in `logistic.fit`.
        intercept: whether there is a b; else it stays 0.
        learning_rate: () of an optax optimiser.
        tol: () largest √((J - J*) / J) by the Newton decrement, with J* the minimum, as
            in `logistic.fit`; a J that is 0 to rounding has reached it.
        max_iter: most steps.

    Returns:
        Fit with Params. Status UNBOUNDED where rates of 0 fit best: there are no events
        at all, or only rows without events tell of a column. SINGULAR where columns
        depend on each other and l2 = 0, without l1.

    Raises:
        ValueError: an unknown solver, shapes that do not agree, values out of range.

    Source: Nelder and Wedderburn (1972); "newton": Boyd and Vandenberghe (2004).

    """
    # A row of exposure t is one of t times the weight and of y/t events. In units of
    # the mean rate w = b = 0 is the best constant, whatever y is counted in.
    t, _ = _per_exposure(y, exposure)
    unit = jnp.ones((), x.dtype)
    if intercept:
        mean = average(y, weights) / average(t, weights)
        unit = jax.lax.stop_gradient(jnp.where(mean > 0, mean, 1))
    rows = unit * t
    scale = average(rows, weights)  # of J over that of the rows below
    result = linear_fit(
        POISSON,
        _present(x, weights),
        y / rows,
        rows if weights is None else weights * rows,
        l2=l2 / scale,
        l1=None if l1 is None else l1 / scale,
        solver=solver,
        newton_up_to=WIDE,
        intercept=intercept,
        learning_rate=learning_rate,
        tol=tol,
        max_iter=max_iter,
    )
    w, b = result.params
    return result._replace(
        params=Params(w, b + jnp.log(unit)),
        cost=scale * result.cost,
        history=scale * result.history,
    )


def _present(x, weights):
    """x with zeros in rows of weight 0, whose e^z might be infinite."""
    return x if weights is None else jnp.where(weights[:, None] == 0, 0, x)


def _per_exposure(y, exposure):
    """t, (m,), and y/t."""
    return (jnp.ones_like(y), y) if exposure is None else (exposure, y / exposure)


# --- what the coefficients are worth -------------------------------------------------


class Inference(NamedTuple):
    """What the likelihood says about the coefficients and about itself."""

    table: Table  # standard errors, z, p, intervals, covariance
    log_likelihood: Annotated[jax.Array, ":sums"]  # Σ wᵢ log P(yᵢ | xᵢ)
    null: Annotated[jax.Array, ":sums"]  # the same for the best constant rate
    pseudo_r2: Annotated[jax.Array, ""]  # 1 - log_likelihood / null (McFadden 1974)
    aic: Annotated[jax.Array, ":sums"]  # 2p - 2 log L
    bic: Annotated[jax.Array, ":sums"]  # p log Σ wᵢ - 2 log L
    # 2 (log L - null), a χ² of n if all weights were 0
    ratio: Annotated[jax.Array, ":sums"]
    ratio_p: Annotated[jax.Array, ""]  # p-value of the ratio
    deviance: Annotated[jax.Array, ":sums"]  # 2 Σ wᵢ [μᵢ - yᵢ + yᵢ log(yᵢ/μᵢ)]
    pearson: Annotated[jax.Array, ":sums"]  # χ² = Σ wᵢ (yᵢ - μᵢ)² / μᵢ
    dispersion: Annotated[jax.Array, ""]  # χ² / (Σ wᵢ - p); above 1: more than Poisson
    centred: Centred  # what the table's covariance comes from; exact far from x = 0


@_check.pure(jit=True)
def inference(
    params: Params,
    x: Rows,
    y: Events,
    *,
    l2: NonNegative = 0.0,
    weights: Weights | None = None,
    exposure: Exposure | None = None,
    covariance: Static[str] = "information",
    intercept: Static[bool] = True,
    confidence: Annotated[Scalar, "(0, 1)"] = 0.95,
) -> Inference:
    """cov(θ) = (Σ wᵢ · ∂²J/∂θ²)⁻¹, and Wald's table that follows; θ = (w, b).

    Args:
        params: the minimum, as `fit` finds it.
        x: (m, n) rows.
        y: (m,) counts.
        l2: () that of the fit.
        weights: (m,) weights w of the rows; 1 if None. They are frequencies: wᵢ such
            rows were seen.
        exposure: (m,) t, above 0; 1 if None.
        covariance: "information"; "quasi", that times the dispersion, for variances in
            proportion to means; or "sandwich", for a model that need not be true.
        intercept: whether b was fitted; else its entries are NaN.
        confidence: () coverage of the intervals.

    Returns:
        Inference.

    Raises:
        ValueError: an unknown option, shapes that do not agree, values out of range.

    Source: McCullagh and Nelder (1989); Huber (1967).

    """
    _check.option("covariance", covariance, ("information", "quasi", "sandwich"))
    x = _present(x, weights)
    w = weights_or_ones(weights, x)
    t, per_exposure = _per_exposure(y, exposure)
    seen, n = jnp.sum(w), x.shape[1]
    frequencies = w if covariance == "sandwich" else None
    about = centred(
        POISSON,
        params,
        x,
        per_exposure,
        w * t,
        l2 * seen / jnp.sum(w * t),
        intercept,
        frequencies,
    )
    mu = predict(params, x, exposure=t)
    pearson = jnp.sum(w * (y - mu) ** 2 / mu)
    dispersion = pearson / (seen - (n + intercept))
    if covariance == "quasi":
        about = about._replace(covariance=dispersion * about.covariance)
    constant = jnp.sum(w * y) / jnp.sum(w * t) if intercept else jnp.ones((), x.dtype)
    scores = criteria(
        _log_likelihood(mu, y, w),
        _log_likelihood(constant * t, y, w),
        n,
        intercept,
        seen,
    )
    half = w * t * POISSON.value(log_rate(params, x), per_exposure)
    result = wald_table(params, about, intercept, confidence, Params)
    return Inference(result, *scores, 2 * jnp.sum(half), pearson, dispersion, about)


def _log_likelihood(mu, y, w):
    """Σ wᵢ (yᵢ log μᵢ - μᵢ - log yᵢ!), ()."""
    log_factorial = jax.scipy.special.gammaln(y + 1)
    return jnp.sum(w * (jax.scipy.special.xlogy(y, mu) - mu - log_factorial))


@_check.pure
def wald(
    params: Params, inference: Unchecked[Inference], contrasts: Annotated[Array, "r n"]
) -> tuple[jax.Array, jax.Array]:
    """W = (Cw)ᵀ (C cov(w) Cᵀ)⁻¹ Cw, (), a χ² of r if Cw = 0, and its p-value, ().

    Args:
        params: w, (n,) and b.
        inference: their `inference`.
        contrasts: (r, n) C, a row for each combination of weights that may be 0.

    Raises:
        ValueError: contrasts for another number of weights.

    Source: Wald (1943).

    """
    return _likelihood.wald(params, inference.centred, contrasts)

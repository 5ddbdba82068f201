"""Two classes: logistic regression, which is the Fermi-Dirac distribution (slides 1.3).

P(y = 1 | x) = 1 / (e^((E - μ)/T) + 1) with the energy E = -w·x, the chemical potential
μ = b and the temperature T. That b is a chemical potential is more than a name: it is
fixed by the number of particles, Σ wᵢ P(y = 1 | xᵢ) = Σ wᵢ yᵢ. Data know w/T and b/T
alone: a fit sets T = 1, the unit of energy.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import (
    Array,
    Binary,
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
from jaxml.optimize._fit import Fit, Status
from jaxml.optimize._solver import Solver
from jaxml.optimize.proximal import l1_penalty
from jaxml.regression import _likelihood, linear
from jaxml.regression._likelihood import Centred, centred, criteria, wald_table
from jaxml.regression._linear_fit import fit as linear_fit
from jaxml.regression._linear_loss import LOGISTIC, average, class_weighted
from jaxml.regression._table import Table

__all__ = [
    "Centred",
    "Couplings",
    "Inference",
    "Params",
    "cost",
    "fit",
    "gradient",
    "inference",
    "ising_couplings",
    "logits",
    "posterior_probability",
    "predict",
    "probability",
    "wald",
]

WIDE = 500  # columns from which "auto" means L-BFGS


class Params(NamedTuple):
    """A plane w·x + b = 0, and how wide the passage across it is."""

    w: Annotated[jax.Array, "n"]  # weights
    b: Annotated[jax.Array, ""]  # intercept


@_check.pure
def logits(params: Params, x: Rows, *, temperature: NonNegative = 1.0) -> jax.Array:
    """z = (w·x + b) / T = (μ - E) / T, (m,), for the rows of x, (m, n).

    params hold w, (n,), and b; temperature is T, (): 1 for the probabilities that
    were fitted, more for softer ones. Raises ValueError if params are for another
    number of columns.
    """
    linear_params = linear.Params(params.w, params.b)
    return linear.predict(linear_params, x) / temperature


@_check.pure
def probability(
    params: Params, x: Rows, *, temperature: NonNegative = 1.0
) -> jax.Array:
    """P(y = 1 | x) = σ(z) = 1 / (1 + e^-z), (m,), for the rows of x, (m, n).

    params and temperature as in `logits`.
    """
    return jax.nn.sigmoid(logits(params, x, temperature=temperature))


@_check.pure
def predict(params: Params, x: Rows) -> jax.Array:
    """1 where P(y = 1 | x) >= ½, that is w·x + b >= 0, else 0: (m,) int32 labels.

    params as in `logits`; x, (m, n), rows.
    """
    return (logits(params, x) >= 0).astype(jnp.int32)


@_check.pure
def cost(
    params: Params,
    x: Rows,
    y: Binary,
    *,
    l2: NonNegative = 0.0,
    l1: NonNegative = 0.0,
    weights: Weights | None = None,
    class_weights: Annotated[Array, "2", "[0, inf)"] | None = None,
) -> jax.Array:
    """J = -Σ wᵢ [yᵢ log pᵢ + (1-yᵢ) log(1-pᵢ)] / Σ wᵢ + l2/2 |w|² + l1 |w|₁, ().

    The logarithms are of 1 + e^±z, which neither over- nor underflow. Of no rows, all
    weights 0, the mean is 0: a batch of rows left out adds nothing.

    Args:
        params: w, (n,), and b, ().
        x: (m, n) rows.
        y: (m,) labels 0 and 1, or probabilities of 1.
        l2: () the course's λ/m; scikit-learn's C is 1 / (l2 Σ wᵢ). b is not penalised.
        l1: () weight of Σ |wⱼ|.
        weights: (m,) weights w of the rows; 1 if None.
        class_weights: (2,) factors of the weights of the rows of each class.

    Raises:
        ValueError: shapes that do not agree, values not finite or out of range.

    """
    w = class_weighted(y, weights, class_weights)
    z = logits(params, x)
    value = average(LOGISTIC.value(z, y.astype(z.dtype)), w)
    if not _check.is_zero(l2):
        value += 0.5 * l2 * jnp.vdot(params.w, params.w)
    if not _check.is_zero(l1):
        value += l1_penalty(params.w, l1=l1)
    return value


@_check.pure
def gradient(
    params: Params,
    x: Rows,
    y: Binary,
    *,
    l2: NonNegative = 0.0,
    l1: NonNegative = 0.0,
    weights: Weights | None = None,
    class_weights: Annotated[Array, "2", "[0, inf)"] | None = None,
) -> Params:
    """∂J/∂w = Σ wᵢ (pᵢ - yᵢ) xᵢ / (T Σ wᵢ) + l2 w + l1 sgn(w), and ∂J/∂b without them.

    Arguments as in `cost`: x, (m, n), y, (m,); sgn(0) = 0. Of params' shapes.
    """
    w = class_weighted(y, weights, class_weights)
    p = probability(params, x)
    r = p - y.astype(p.dtype)
    r = r / len(r) if w is None else r * shares(w)
    slope = r @ x + l2 * params.w + l1 * jnp.sign(params.w)
    return Params(slope, jnp.sum(r))


@_check.fit
def fit(
    x: Rows,
    y: Binary,
    *,
    l2: NonNegative = 0.0,
    l1: NonNegative | None = None,
    weights: Weights | None = None,
    class_weights: Annotated[Array, "2", "[0, inf)"] | None = None,
    solver: Static[str | Solver] = "auto",
    intercept: Static[bool] = True,
    learning_rate: Positive | None = None,
    tol: NonNegative = 1e-5,
    max_iter: Count = 1000,
) -> Fit:
    """Minimise J of `cost` over w and b.

    Args:
        x: (m, n) rows.
        y: (m,) labels 0 and 1, or probabilities of 1.
        l2: () the course's λ/m; scikit-learn's C is 1 / (l2 Σ wᵢ). b is not penalised.
        l1: () weight of Σ |wⱼ|; None drops the term; faster than 0.
        weights: (m,) weights w of the rows; 1 if None. Integer weights are repeated
            rows, a weight of 0 leaves a row out.
        class_weights: (2,) factors of the weights of the rows of each class.
        solver: "newton": cost, gradient and Hessian in one pass over the rows, begun on
            a 16th of them where there are many. "lbfgs": for very many columns, and for
            many fits at once to many rows (folds and penalties under vmap). An
            optax optimiser, from 0, as in optimize.minimize. "auto" is "newton" up to
            500 columns. With l1, coordinate descent on Newton's models of J, whatever
            is said here.
        intercept: whether there is a b; else it stays 0.
        learning_rate: () of an optax optimiser.
        tol: () largest √((J - J*) / J) by the Newton decrement, with J* the minimum: at
            1e-5 the cost is within 1e-10 J of it, or within its own rounding. It does
            not depend on the units of x. With l1 the same, J* by the model, which keeps
            the penalty as it is; where more than 1024 w take part, what those left out
            of it may add counts as if each were alone. For optax, largest |∂J|.
        max_iter: most steps; L-BFGS takes so many before the last, which are Newton's.

    Returns:
        Fit with Params. Status UNBOUNDED where w or b could grow for ever: a plane
        separates the classes and l1 = l2 = 0, or there is one class only (with optax,
        max_iter ends that). SINGULAR where columns depend on each other and l2 = 0,
        without l1.

    Raises:
        ValueError: an unknown solver, shapes that do not agree, values out of range.

    Source: "newton": Boyd and Vandenberghe (2004); "lbfgs": Nocedal (1980); l1:
    Friedman, Hastie and Tibshirani (2010), Yuan, Ho and Lin (2012); separation: Albert
    and Anderson (1984).

    """
    result = linear_fit(
        LOGISTIC,
        x,
        y.astype(x.dtype),
        class_weighted(y, weights, class_weights),
        l2=l2,
        l1=l1,
        solver=solver,
        newton_up_to=WIDE,
        intercept=intercept,
        learning_rate=learning_rate,
        tol=tol,
        max_iter=max_iter,
    )
    return result._replace(params=Params(*result.params))


# --- what the coefficients are worth -------------------------------------------------


class Inference(NamedTuple):
    """What the likelihood says about the coefficients and about itself."""

    table: Table  # standard errors, z, p, intervals, covariance
    log_likelihood: Annotated[jax.Array, ":sums"]  # Σ wᵢ log P(yᵢ | xᵢ)
    null: Annotated[jax.Array, ":sums"]  # the same for the best constant
    pseudo_r2: Annotated[jax.Array, ""]  # 1 - log_likelihood / null (McFadden 1974)
    aic: Annotated[jax.Array, ":sums"]  # 2p - 2 log L
    bic: Annotated[jax.Array, ":sums"]  # p log Σ wᵢ - 2 log L
    # 2 (log L - null), a χ² of n if all weights were 0
    ratio: Annotated[jax.Array, ":sums"]
    ratio_p: Annotated[jax.Array, ""]  # p-value of the ratio
    centred: Centred  # what the table's covariance comes from; exact far from x = 0


@_check.pure(jit=True)
def inference(
    params: Params,
    x: Rows,
    y: Binary,
    *,
    l2: NonNegative = 0.0,
    weights: Weights | None = None,
    covariance: Static[str] = "information",
    intercept: Static[bool] = True,
    confidence: Annotated[Scalar, "(0, 1)"] = 0.95,
) -> Inference:
    """cov(θ) = (Σ wᵢ · ∂²J/∂θ²)⁻¹, and Wald's table that follows; θ = (w, b).

    With l2 = 0 that is the inverse of Fisher's information; with l2 > 0 it is Laplace's
    approximation of the posterior for the prior w ~ N(0, 1 / (l2 Σ wᵢ)).

    Args:
        params: the minimum, as `fit` finds it.
        x: (m, n) rows.
        y: (m,) labels 0 and 1, or probabilities of 1.
        l2: () that of the fit.
        weights: (m,) weights w of the rows; 1 if None. They are frequencies: wᵢ such
            rows were seen.
        covariance: "information", or "sandwich" for a model that need not be true.
        intercept: whether b was fitted; else its entries are NaN.
        confidence: () coverage of the intervals.

    Returns:
        Inference.

    Raises:
        ValueError: an unknown option, shapes that do not agree, values out of range.

    Source: Wald (1943); Huber (1967); MacKay (1992).

    """
    _check.option("covariance", covariance, ("information", "sandwich"))
    w = weights_or_ones(weights, x)
    y, seen = y.astype(x.dtype), jnp.sum(w)
    frequencies = w if covariance == "sandwich" else None
    about = centred(LOGISTIC, params, x, y, w, l2, intercept, frequencies)
    result = wald_table(params, about, intercept, confidence, Params)
    likelihood = -jnp.sum(w * LOGISTIC.value(logits(params, x), y))
    share = jnp.sum(w * y) / seen
    null = -seen * jnp.log(2.0)
    if intercept:
        null = -seen * jnp.sum(jax.scipy.special.entr(jnp.stack([share, 1 - share])))
    scores = criteria(likelihood, null, x.shape[1], intercept, seen)
    return Inference(result, *scores, about)


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


@_check.pure
def posterior_probability(
    params: Params, inference: Unchecked[Inference], x: Rows
) -> jax.Array:
    """∫ σ(z) N(z; ẑ, s²) dz ≈ σ(ẑ / √(1 + πs²/8)), (m,): less sure where data are far.

    Args:
        params: the minimum: w, (n,), and b.
        inference: its `inference`, with the l2 of the prior.
        x: (m, n) rows.

    Raises:
        ValueError: params for another number of columns.

    Source: MacKay (1992).

    """
    z = logits(params, x)
    variance = _likelihood.variance(inference.centred, x)
    return jax.nn.sigmoid(z / jnp.sqrt(1 + jnp.pi * variance / 8))


class Couplings(NamedTuple):
    """What the spins say about their energy E = -Σ_{j<k} J s s - Σ h s, over T."""

    j: jax.Array  # (n, n) J/T, the mean of the two estimates of each pair
    h: jax.Array  # (n,) h/T
    status: jax.Array  # (n,) int32, the Status of the regression on each spin


@_check.pure
def ising_couplings(
    spins: Rows, *, l2: NonNegative = 0.0, weights: Weights | None = None
) -> Couplings:
    """P(sⱼ = 1 | the others) = σ(2 (hⱼ + Σₖ Jⱼₖ sₖ)/T): a regression on each spin.

    The maximum of the pseudo-likelihood: its weights are 2J/T and its intercepts 2h/T,
    so that samples of a known J are a thermometer.

    Args:
        spins: (m, n) of -1 and 1, a row for each configuration.
        l2: () penalty of each regression.
        weights: (m,) weights of the configurations; 1 if None.

    Returns:
        Couplings.

    Raises:
        ValueError: shapes that do not agree, values not finite.

    Source: Besag (1975); Ravikumar, Wainwright and Lafferty (2010).

    """
    n = spins.shape[1]
    if n < 2:
        raise ValueError("spins has one column: a spin alone has no couplings")
    others = jnp.arange(n - 1)[None] + (
        jnp.arange(n - 1)[None] >= jnp.arange(n)[:, None]
    )

    def one(index):
        j, rest = index
        y = (spins[:, j] > 0).astype(jnp.int32)
        result = fit(spins[:, rest], y, l2=l2, weights=weights, tol=1e-6)
        # A search that met NaN stands where it began.
        valid = jnp.where(result.status < Status.INVALID, 0.5, jnp.nan)
        valid = valid.astype(spins.dtype)
        row = jnp.zeros(n, spins.dtype).at[rest].set(valid * result.params.w)
        return row, valid * result.params.b, result.status

    # One after the other: all at once would need n copies of the spins.
    j, h, status = jax.lax.map(one, (jnp.arange(n), others))
    return Couplings((j + j.T) / 2, h, status)

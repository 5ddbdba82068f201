"""Two classes: logistic regression, which is the Fermi-Dirac distribution (slides 1.3).

P(y = 1 | x) = 1 / (e^((E - μ)/T) + 1) with the energy E = -w·x, the chemical potential
μ = b and the temperature T. That b is a chemical potential is more than a name: it is
fixed by the number of particles, Σ wᵢ P(y = 1 | xᵢ) = Σ wᵢ yᵢ. Data know w/T and b/T
alone: a fit sets T = 1, the unit of energy.
"""

from typing import Annotated, Any, NamedTuple

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
from jaxml._rows import with_b, with_ones
from jaxml.optimize._fit import Fit, Status
from jaxml.optimize._implicit import solution
from jaxml.optimize._minimize import minimize
from jaxml.optimize._solver import Solver
from jaxml.optimize.proximal import l1_penalty
from jaxml.regression import _sparse as sparse
from jaxml.regression import linear
from jaxml.regression._linear_loss import (
    Frame,
    average,
    by_gradients,
    class_weighted,
    fermi,
    frame_of,
    params_of,
    penalties,
    plane,
    plane_newton,
    shares,
    split,
    standard,
    without_rows,
)
from jaxml.regression._student import chi2
from jaxml.regression._table import Table, table

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

SOLVERS = ("auto", "newton", "lbfgs")
WIDE = 500  # columns from which "auto" means L-BFGS


class Params(NamedTuple):
    """A plane w·x + b = 0, and how wide the passage across it is."""

    w: Annotated[jax.Array, "n"]
    b: Annotated[jax.Array, ""]


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
    value = average(_losses(z, y.astype(z.dtype)), w)
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
    own = isinstance(solver, str)
    if own:
        _check.option("solver", solver, SOLVERS)
    data = x, y.astype(x.dtype), class_weighted(y, weights, class_weights)
    start = linear.Params(
        jnp.zeros_like(x[0]), jnp.zeros_like(x[0, 0]) if intercept else None
    )
    more: dict[str, Any] = {"tol": tol, "max_iter": max_iter}
    if l1 is None and not own:
        result = minimize(
            _raw,
            start,
            *data,
            solver=solver,
            learning_rate=learning_rate,
            l2=l2,
            **more,
        )
    else:
        wide = solver == "lbfgs" or (solver == "auto" and x.shape[1] > WIDE)
        result = _planar(data, l2, l1, wide, intercept, **more)
    w, b = with_b(result.params)
    return result._replace(params=Params(w, b))


def _losses(z, y):
    """y log(1 + e^-z) + (1-y) log(1 + e^z), (m,): exact also where it is small."""
    return y * jax.nn.softplus(-z) + (1 - y) * jax.nn.softplus(z)


def _raw(params, x, y, weights, *, l2):
    w, b = with_b(params)
    return cost(Params(w, b), x, y, l2=l2, weights=weights)


def _planar(data, l2, l1, wide: bool, intercept: bool, tol, max_iter: int) -> Fit:
    """Our own solvers, which see the columns in a Frame."""
    x, y, weights, l2_fixed, l1_fixed = jax.lax.stop_gradient((*data, l2, l1))
    frame = frame_of(x, weights, l2_fixed, intercept)
    problem = fermi, x, y, weights, frame, l2_fixed, intercept
    if l1 is not None:
        limits = sparse.limits(frame, l1, intercept)
        result = sparse.by_models(plane(*problem, l1_fixed), limits, tol, max_iter)
    elif wide:
        result = by_gradients(plane(*problem), tol, max_iter)
    else:
        result = plane_newton(*problem, tol, max_iter)
    status = result.status
    if intercept:
        both = jnp.stack([y, 1 - y], axis=1)
        status = without_rows(status, average(both, weights))
    data, hyper = (*data, frame), {"l2": l2}
    if l1 is not None:
        theta, value = sparse.solution(_cost, result, status, data, hyper, limits)
    else:
        theta, value = solution(_cost, result.params, result.cost, status, data, hyper)
    params = params_of(theta, frame, intercept)
    return result._replace(params=params, cost=value, status=status)


def _cost(theta, x, y, weights, frame, *, l2):
    """J of θ in a frame."""
    w, b = split(theta, x.shape[1])
    z = standard(x, frame) @ w + (0 if b is None else b)
    value = average(_losses(z, y), weights)
    return value + 0.5 * jnp.vdot(penalties(frame, l2), w**2)


# --- what the coefficients are worth -------------------------------------------------


class Centred(NamedTuple):
    """The covariance of w and of w·x + b at a point amid the rows, free of units."""

    # of w and, last, of w·centre + b, over the units
    covariance: Annotated[jax.Array, "n n|n+1 n+1"]
    centre: Annotated[jax.Array, "n"]  # the point; 0 without an intercept
    unit: Annotated[jax.Array, "n|n+1"]  # the units


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
    w = jnp.ones_like(x[:, 0]) if weights is None else weights
    y, seen = y.astype(x.dtype), jnp.sum(w)
    about = _centred(params, x, y, w, l2, covariance, intercept)
    theta = jnp.append(params.w, params.b) if intercept else params.w
    critical = jax.scipy.special.ndtri(0.5 + 0.5 * confidence)
    nan = jnp.full((), jnp.nan, x.dtype)
    result = table(
        theta,
        _moved(about, -about.centre),
        critical,
        lambda z: 2 * jax.scipy.special.ndtr(-jnp.abs(z)),
        lambda t: Params(t[: x.shape[1]], t[-1] if intercept else nan),
        unit=about.unit,
    )
    z = logits(params, x)
    likelihood = -jnp.sum(w * _losses(z, y))
    share = jnp.sum(w * y) / seen
    null = -seen * jnp.log(2.0)
    if intercept:
        null = seen * (
            jax.scipy.special.xlogy(share, share)
            + jax.scipy.special.xlogy(1 - share, 1 - share)
        )
    ratio, p = 2 * (likelihood - null), len(theta)
    slopes = jnp.asarray(x.shape[1], x.dtype)
    return Inference(
        result,
        likelihood,
        null,
        1 - likelihood / null,
        2 * p - 2 * likelihood,
        p * jnp.log(seen) - 2 * likelihood,
        ratio,
        chi2(ratio, slopes),
        about,
    )


def _centred(params, x, y, w, l2, covariance, intercept) -> Centred:
    """What is known of w and of z amid the rows, where they hardly depend."""
    scale = frame_of(x, w, l2, intercept).scale
    centre = average(x, w) if intercept else jnp.zeros_like(x[0])
    frame = Frame(centre, scale)
    theta = params.w * scale
    if intercept:
        theta = jnp.append(theta, params.b + centre @ params.w)
    hessian = plane(fermi, x, y, w, frame, l2, intercept).whole(theta)[2]
    if covariance == "sandwich":
        a = with_ones(standard(x, frame), intercept)
        r = jax.nn.sigmoid(a @ theta) - y
        meat = (a * (w * r**2)[:, None]).T @ a
        inverse = jnp.linalg.inv(jnp.sum(w) * hessian)
        inverse = inverse @ meat @ inverse
    else:
        inverse = jnp.linalg.inv(jnp.sum(w) * hessian)
    unit = jnp.append(1 / scale, jnp.ones(intercept, x.dtype))
    return Centred(inverse, centre, unit)


def _moved(about: Centred, shift) -> jax.Array:
    """The covariance of w and of z at centre + shift, over the units, (p, p)."""
    n = len(about.centre)
    if len(about.covariance) == n:
        return about.covariance
    along = shift * about.unit[:n] / about.unit[n]
    move = jnp.eye(n + 1, dtype=along.dtype).at[n, :n].set(along)
    return move @ about.covariance @ move.T


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
    n = params.w.size
    covariance, unit = inference.centred.covariance[:n, :n], inference.centred.unit[:n]
    c = contrasts * unit[None]
    size = jnp.max(jnp.abs(c), axis=1)
    size = jnp.where(size > 0, size, 1)
    c = c / size[:, None]
    value = c @ (params.w / unit)
    spread = c @ covariance @ c.T
    w = jnp.vdot(value, jnp.linalg.solve(spread, value))
    return w, chi2(w, jnp.asarray(len(contrasts), w.dtype))


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
    covariance, centre, unit = inference.centred
    a = (x - centre[None]) * unit[: x.shape[1]][None]
    if len(covariance) > x.shape[1]:
        a = jnp.concatenate([a, jnp.broadcast_to(unit[-1], (len(x), 1))], axis=1)
    variance = jnp.sum((a @ covariance) * a, axis=1)
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

"""k classes: softmax regression, which is the Boltzmann distribution (slides 1.3).

P(y = c | x) = e^(-E_c/T) / Σ_d e^(-E_d/T) with energies E_c = -(w_c·x + b_c). To add
the same to the energies of all classes changes nothing: of all W and b that are as
good, a fit gives those that sum to 0 over the classes.
"""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import (
    Array,
    Count,
    NonNegative,
    Positive,
    Rows,
    Static,
    Weights,
)
from jaxml._units import shares
from jaxml.data.scaling import one_hot
from jaxml.optimize._fit import UNRECORDED, Fit
from jaxml.optimize._solver import Solver
from jaxml.optimize.proximal import l1_penalty
from jaxml.regression import linear, logistic
from jaxml.regression._linear_fit import SOLVERS
from jaxml.regression._linear_fit import fit as linear_fit
from jaxml.regression._linear_loss import SOFTMAX, average

__all__ = [
    "Params",
    "cost",
    "fit",
    "gradient",
    "logits",
    "one_vs_all",
    "predict",
    "probability",
]

FEW = 64  # parameters up to which "auto" means Newton's method


class Params(NamedTuple):
    """The weights and intercepts of k classes."""

    w: Annotated[jax.Array, "n k"]  # weights W, a column for each class
    b: Annotated[jax.Array, "k"]  # intercepts


@_check.pure
def logits(params: Params, x: Rows, *, temperature: NonNegative = 1.0) -> jax.Array:
    """z = (x·W + b) / T = -E/T, (m, k), for the rows of x, (m, n).

    params hold W, (n, k), and b, (k,); temperature is T, (): 1 for the probabilities
    that were fitted, more for softer ones. Raises ValueError if params are for another
    number of columns.
    """
    linear_params = linear.Params(params.w, params.b)
    return linear.predict(linear_params, x) / temperature


@_check.pure
def probability(
    params: Params, x: Rows, *, temperature: NonNegative = 1.0
) -> jax.Array:
    """P(y = c | x) = e^z_c / Σ_d e^z_d, (m, k), for the rows of x, (m, n).

    params and temperature as in `logits`.
    """
    return jax.nn.softmax(logits(params, x, temperature=temperature), axis=1)


@_check.pure
def predict(params: Params, x: Rows) -> jax.Array:
    """The class of highest probability, the first of several: (m,) int32 labels.

    params as in `logits`; x, (m, n), rows.
    """
    return jnp.argmax(logits(params, x), axis=1).astype(jnp.int32)


@_check.pure
def cost(
    params: Params,
    x: Rows,
    y: Annotated[Array, "m|m k:classes"],
    *,
    l2: NonNegative = 0.0,
    l1: NonNegative = 0.0,
    weights: Weights | None = None,
    class_weights: Annotated[Array, "k", "[0, inf)"] | None = None,
) -> jax.Array:
    """J = -Σ wᵢ Σ_c y_ic log p_ic / Σ wᵢ + l2/2 |W|² + l1 |W|₁, ().

    Of no rows, all weights 0, the mean is 0: a batch of rows left out adds nothing.

    Args:
        params: W, (n, k), and b, (k,).
        x: (m, n) rows.
        y: (m,) labels in 0…k-1, or probabilities, (m, k).
        l2: () the course's λ/m; scikit-learn's C is 1 / (l2 Σ wᵢ). b is not penalised.
        l1: () weight of Σ |W|.
        weights: (m,) weights w of the rows; 1 if None.
        class_weights: (k,) factors of the weights of the rows of each class.

    Raises:
        ValueError: shapes that do not agree, values not finite or out of range.

    """
    z = logits(params, x)
    y = _targets(y, z.shape[1], z.dtype)
    w = _weights(y, weights, class_weights)
    value = average(SOFTMAX.value(z, y), w)
    if not _check.is_zero(l2):
        value += 0.5 * l2 * jnp.sum(params.w**2)
    if not _check.is_zero(l1):
        value += l1_penalty(params.w, l1=l1)
    return value


@_check.pure
def gradient(
    params: Params,
    x: Rows,
    y: Annotated[Array, "m|m k:classes"],
    *,
    l2: NonNegative = 0.0,
    l1: NonNegative = 0.0,
    weights: Weights | None = None,
    class_weights: Annotated[Array, "k", "[0, inf)"] | None = None,
) -> Params:
    """∂J/∂W = Σ wᵢ xᵢ (pᵢ - yᵢ)ᵀ / (T Σ wᵢ) + l2 W + l1 sgn(W), and ∂J/∂b without them.

    Arguments as in `cost`: x, (m, n), y, (m,) or (m, k); sgn(0) = 0. Of params' shapes.
    """
    p = probability(params, x)
    y = _targets(y, p.shape[1], p.dtype)
    w = _weights(y, weights, class_weights)
    r = p * jnp.sum(y, axis=1)[:, None] - y
    r = r / len(r) if w is None else r * shares(w)[:, None]
    slope = x.T @ r + l2 * params.w + l1 * jnp.sign(params.w)
    return Params(slope, jnp.sum(r, axis=0))


@_check.fit
def fit(
    x: Rows,
    y: Annotated[Array, "m|m k:classes k"],
    *,
    k: Count,
    l2: NonNegative = 0.0,
    l1: NonNegative | None = None,
    weights: Weights | None = None,
    class_weights: Annotated[Array, "k", "[0, inf)"] | None = None,
    solver: Static[str | Solver] = "auto",
    intercept: Static[bool] = True,
    learning_rate: Positive | None = None,
    tol: NonNegative = 1e-5,
    max_iter: Count = 1000,
) -> Fit:
    """Minimise J of `cost` over W and b.

    Args:
        x: (m, n) rows.
        y: (m,) labels in 0…k-1, or probabilities, (m, k).
        k: how many classes there are.
        l2: () the course's λ/m; scikit-learn's C is 1 / (l2 Σ wᵢ). b is not penalised.
        l1: () weight of Σ |W|; None drops the term; faster than 0.
        weights: (m,) weights w of the rows; 1 if None. Integer weights are repeated
            rows, a weight of 0 leaves a row out.
        class_weights: (k,) factors of the weights of the rows of each class.
        solver: "newton", for few parameters; "lbfgs"; or an optax optimiser, from
            0, as in optimize.minimize. "auto" is "newton" up to 64 parameters. With l1,
            coordinate descent on Newton's models of J, whatever is said here.
        intercept: whether there is a b; else it stays 0.
        learning_rate: () of an optax optimiser.
        tol: () largest √((J - J*) / J) by the Newton decrement, with J* the minimum: at
            1e-5 the cost is within 1e-10 J of it, or within its own rounding. It does
            not depend on the units of x. With l1 the same, J* by the model, which keeps
            the penalty as it is; where more than 1024 W take part, what those left out
            of it may add counts as if each were alone. For optax, largest |∂J|.
        max_iter: most steps; L-BFGS takes so many before the last, which are Newton's.

    Returns:
        Fit with Params that sum to 0 over the classes (with l1, only b does). Status
        UNBOUNDED where they could grow for ever: classes that can be separated and
        l1 = l2 = 0, or a class without rows (with optax, max_iter ends that).

    Raises:
        ValueError: an unknown solver, shapes that do not agree, values out of range.

    Source: "newton": Boyd and Vandenberghe (2004); "lbfgs": Nocedal (1980); l1:
    Friedman, Hastie and Tibshirani (2010), Yuan, Ho and Lin (2012).

    """
    if y.ndim == 2 and y.shape[1] != k:
        raise ValueError(f"y has shape {y.shape}, not (m, k) where k = {k}")
    y = _targets(y, k, x.dtype)
    result = linear_fit(
        SOFTMAX,
        x,
        y,
        _weights(y, weights, class_weights),
        l2=l2,
        l1=l1,
        solver=solver,
        newton_up_to=FEW,
        intercept=intercept,
        learning_rate=learning_rate,
        tol=tol,
        max_iter=max_iter,
        k=k,
    )
    return result._replace(params=Params(*result.params))


@_check.fit
def one_vs_all(
    x: Rows,
    y: Annotated[Array, "m:labels k"],
    *,
    k: Count,
    l2: NonNegative = 0.0,
    weights: Weights | None = None,
    solver: Static[str] = "auto",
    intercept: Static[bool] = True,
    tol: NonNegative = 1e-5,
    max_iter: Count = 1000,
) -> Fit:
    """k logistic regressions, of each class against the others, in one vmap.

    Args:
        x: (m, n) rows.
        y: (m,) labels in 0…k-1.
        k: how many classes there are.
        l2: () penalty of each, as in `logistic.fit`.
        weights: (m,) weights w of the rows; 1 if None.
        solver: "auto", "newton" or "lbfgs", as in `logistic.fit`.
        intercept: whether there is a b.
        tol: () as in `logistic.fit`.
        max_iter: most steps.

    Returns:
        Fit with Params, w, (n, k), and b, (k,); `predict` gives argmax h_c(x). cost is
        the sum of the k costs; residual, steps and status are the largest.

    Raises:
        ValueError: an unknown solver, shapes that do not agree, values out of range.

    """
    _check.option("solver", solver, SOLVERS)
    options: dict[str, Any] = {"solver": solver, "intercept": intercept}
    options |= {"l2": l2, "tol": tol, "weights": weights, "max_iter": max_iter}

    def one(c):
        return logistic.fit(x, (y == c).astype(jnp.int32), **options)

    result = jax.vmap(one)(jnp.arange(k))
    params = Params(result.params.w.T, result.params.b)
    return Fit(
        params,
        cost=jnp.sum(result.cost),
        residual=jnp.max(result.residual),
        steps=jnp.max(result.steps),
        status=jnp.max(result.status),
        history=jnp.full(1, UNRECORDED, x.dtype),
    )


def _targets(y, k: int, dtype):
    """Probabilities of the classes, (m, k)."""
    return one_hot(y, k=k).astype(dtype) if y.ndim == 1 else y


def _weights(y, weights, class_weights):
    """Weights of the rows, (m,), times those of their classes; None for none."""
    if class_weights is None:
        return weights
    of_rows = y @ class_weights
    return of_rows if weights is None else weights * of_rows

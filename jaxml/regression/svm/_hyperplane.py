"""The plane between two classes with the widest margin, in the space of x (slides 1.4).

Rows have the signs s = 2y - 1 = ±1; f(x) = w·x + b is |w| times the distance from the
plane, and the margin between f = 1 and f = -1 is 2/|w| wide. The rows that touch it
press on it with forces aᵢ >= 0 that balance: Σ sᵢ aᵢ = 0, Σ sᵢ aᵢ xᵢ = w.
"""

from dataclasses import replace
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import Array, Binary, Count, NonNegative, Rows, Static, Weights
from jaxml._rows import mean
from jaxml._units import shares_of
from jaxml.optimize._fit import Fit, Status
from jaxml.regression import _refined, linear
from jaxml.regression._linear_fit import fit as linear_fit
from jaxml.regression._linear_loss import SQUARED_HINGE, class_weighted
from jaxml.regression.svm import _hinge

Loss = Literal["squared_hinge", "hinge"]


@_check.params
class Params:
    """A plane, and the forces that hold it."""

    w: Annotated[jax.Array, "n"]  # normal to the plane
    b: Annotated[jax.Array, ""]  # offset
    # α = s a, of the rows of the fit; 0 off the support
    alpha: Annotated[Any, "rows", None] = None
    loss: Static[Loss] = "squared_hinge"  # or "hinge"


@_check.pure
def scores(params: Params, x: Rows) -> jax.Array:
    """f(x) = w·x + b, (m,), for the rows of x, (m, n).

    Raises ValueError if params are for another number of columns.
    """
    return linear.predict(linear.Params(params.w, params.b), x)


@_check.pure
def predict(params: Params, x: Rows) -> jax.Array:
    """1 where f(x) >= 0, else 0: (m,) int32 labels, for params and x, (m, n)."""
    return (scores(params, x) >= 0).astype(jnp.int32)


@_check.pure
def distances(params: Params, x: Rows) -> jax.Array:
    """(w·x + b) / |w|, (m,): how far from the plane the rows of x, (m, n), lie.

    params as in `scores`; above 0 on the side of class 1.
    """
    return scores(params, x) / jnp.linalg.norm(params.w)


@_check.pure
def margin(params: Params) -> jax.Array:
    """2 / |w|, (): the width of the strip in which |f| < 1; params hold w, (n,)."""
    return 2 / jnp.linalg.norm(params.w)


@_check.pure
def support_mask(params: Params) -> jax.Array:
    """αᵢ ≠ 0, (m,): the rows that touch the margin or lie within; params hold alpha."""
    _check.shapes(**{"params.alpha": (params.alpha, "m")})
    return params.alpha != 0


@_check.pure
def cost(
    params: Params,
    x: Rows,
    y: Binary,
    *,
    l2: NonNegative = 0.0,
    weights: Weights | None = None,
    class_weights: Annotated[Array, "2", "[0, inf)"] | None = None,
) -> jax.Array:
    """J = Σ wᵢ max(0, 1 - sᵢ f(xᵢ))² / Σ wᵢ + l2/2 |w|², (); loss "hinge": not squared.

    Args:
        params: w, (n,), and b, (), and the loss.
        x: (m, n) rows.
        y: (m,) labels 0 and 1; a number between them is a sign s = 2y - 1 between.
        l2: () scikit-learn's C is 1 / (l2 Σ wᵢ). b is not penalised.
        weights: (m,) weights w of the rows; 1 if None.
        class_weights: (2,) factors of the weights of the rows of each class.

    Raises:
        ValueError: shapes that do not agree, values out of range.

    """
    w = class_weighted(y, weights, class_weights)
    short = jax.nn.relu(1 - (2 * y.astype(x.dtype) - 1) * scores(params, x))
    value = mean(short**2 if params.loss == "squared_hinge" else short, w)
    return value + 0.5 * l2 * jnp.vdot(params.w, params.w)


@_check.fit
def fit(
    x: Rows,
    y: Binary,
    *,
    l2: NonNegative = 1e-2,
    loss: Static[Loss] = "squared_hinge",
    weights: Weights | None = None,
    class_weights: Annotated[Array, "2", "[0, inf)"] | None = None,
    intercept: Static[bool] = True,
    tol: NonNegative = 1e-5,
    max_iter: Count = 200,
) -> Fit:
    """Minimise J of `cost` over w and b.

    Args:
        x: (m, n) rows.
        y: (m,) labels 0 and 1; a number between them is a sign s = 2y - 1 between.
        l2: () above 0; scikit-learn's C is 1 / (l2 Σ wᵢ), and that of LinearSVC, which
            penalises b, with a column of ones and intercept=False. b is not penalised.
        loss: "squared_hinge", by Newton's method on rows in blocks; "hinge", by an
            interior point of the dual with (n, n) equations and an active set. Both
            are for many rows; for n far above m take svm.kernel with kernel="linear".
        weights: (m,) weights w of the rows; 1 if None. Integer weights are repeated
            rows, a weight of 0 leaves a row out.
        class_weights: (2,) factors of the weights of the rows of each class.
        intercept: whether there is a b; else it stays 0.
        tol: () "squared_hinge": largest √((J - J*) / J) by the Newton decrement, with
            J* the minimum: at 1e-5 J is within 1e-10 J of it. "hinge": largest duality
            gap over J: J is above its minimum by no more than this share. A gap that
            is due to the rounding of α alone is taken up to 1e-3, as in float32 for a
            small l2; residual tells how large it is.
        max_iter: most steps.

    Returns:
        Fit with Params. Status INVALID where l2 is 0: the forces have no bound.

    Raises:
        ValueError: an unknown loss, shapes that do not agree, values out of range.

    Source: "squared_hinge": Mangasarian (2002); "hinge": Ferris and Munson (2002),
    Mehrotra (1992).

    """
    w = class_weighted(y, weights, class_weights)
    rows, origin = _centred(x, w, intercept)
    y = y.astype(x.dtype)
    if loss == "hinge":
        result = _hinge.fit(rows, y, w, l2, intercept, tol, max_iter)
        w, b, alpha = result.params
        params = Params(w, b, alpha, loss)
    else:
        result, params = _smooth(rows, y, w, l2, intercept, tol, max_iter)
    params = replace(params, b=params.b - jnp.vdot(params.w, origin))
    return result._replace(params=params).flag(~(l2 > 0), Status.INVALID)


def _centred(x, weights, intercept: bool):
    """The rows from their mean, and this, (n,); rows of weight 0 are put there.

    What the mean is cut off b takes up: far from 0 float32 has few digits left for how
    the rows differ. Newton's method centres columns itself, but the forces do not.
    """
    if not intercept and weights is None:
        return x, jnp.zeros_like(x[0])
    there = True if weights is None else weights[:, None] > 0
    origin = (
        mean(jnp.where(there, x, 0), weights) if intercept else jnp.zeros_like(x[0])
    )
    # Less the last bits, or a compiler may round the difference in two ways.
    origin = _refined.cut(jax.lax.stop_gradient(origin), 6)
    return jnp.where(there, x - origin[None], 0), origin


def _smooth(x, y, weights, l2, intercept: bool, tol, max_iter: int):
    """The fit of the squared hinge, and its Params."""
    result = linear_fit(
        SQUARED_HINGE,
        x,
        y,
        weights,
        l2=l2,
        l1=None,
        solver="newton",
        newton_up_to=0,
        intercept=intercept,
        learning_rate=None,
        tol=tol,
        max_iter=max_iter,
    )
    w, b = result.params
    return result, Params(w, b, _forces(w, b, x, y, weights, l2))


@_check.pure
def duality_gap(
    params: Params,
    x: Rows,
    y: Binary,
    *,
    l2: NonNegative,
    weights: Weights | None = None,
    class_weights: Annotated[Array, "2", "[0, inf)"] | None = None,
) -> jax.Array:
    """J(w, b) - D(α), (): how far J can be above its minimum, where Σ α = 0.

    D = l2 (Σ aᵢ - ½ |Σ αᵢ xᵢ|²), and - ¼ Σ aᵢ² / (C wᵢ) for the squared hinge; α is
    drawn into its box first. Arguments as in `cost`: params with alpha, x, (m, n), y,
    (m,), l2, weights and class_weights.
    """
    value = cost(
        params,
        x,
        y,
        l2=l2,
        weights=weights,
        class_weights=class_weights,
    )
    _check.shapes(x=(x, "m n"), **{"params.alpha": (params.alpha, "m")})
    w = class_weighted(y, weights, class_weights)
    w = jnp.ones_like(x[:, 0]) if w is None else w
    s = 2 * y.astype(x.dtype) - 1
    a = jax.nn.relu(s * params.alpha)
    most = w / (l2 * jnp.sum(w))
    if params.loss == "hinge":
        a = jnp.minimum(a, most)
    of_dual = (s * a) @ x
    dual = jnp.sum(a) - 0.5 * jnp.vdot(of_dual, of_dual)
    if params.loss == "squared_hinge":
        dual -= 0.25 * jnp.sum(a**2 / jnp.where(most > 0, most, jnp.inf))
    return value - l2 * dual


@_check.pure
def kkt_residual(params: Params, x: Rows, y: Binary) -> jax.Array:
    """The largest of |w - Σ αᵢ xᵢ|, |Σ αᵢ|, and -sᵢ αᵢ: the forces do not balance, ().

    What Karush, Kuhn and Tucker ask of a minimum besides the rows' own conditions; 0
    for the exact one with a b. params with alpha, x, (m, n), and y, (m,), of the fit.
    """
    _check.shapes(x=(x, "m n"), **{"params.alpha": (params.alpha, "m")})
    s = 2 * y.astype(x.dtype) - 1
    torque = jnp.max(jnp.abs(params.w - params.alpha @ x))
    force = jnp.abs(jnp.sum(params.alpha))
    return jnp.maximum(jnp.maximum(torque, force), jnp.max(-s * params.alpha))


def _forces(w, b, x, y, weights, l2):
    """α = s · 2 C wᵢ max(0, 1 - s f), (m,), of the squared hinge."""
    s = 2 * y - 1
    return 2 * s * shares_of(x, weights) / l2 * jax.nn.relu(1 - s * (x @ w + b))

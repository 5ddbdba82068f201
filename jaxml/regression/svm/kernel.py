"""Two classes apart by the widest margin, in the space of a kernel.

The course's 1.4 in its dual form. Rows have the signs s = 2y - 1 = ±1, and the scores
are f(x) = w·φ(x) + b with w = Σ sᵢ aᵢ φ(xᵢ), 0 ≤ aᵢ ≤ C wᵢ and Σ sᵢ aᵢ = 0: only inner
products φ(x)·φ(x') = k(x, x') are needed. Params hold α = s a, with its sign.
"""

from dataclasses import replace
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import _check
from jaxml._check import Array, Count, NonNegative, Rows, Scalar, Static, Weights
from jaxml._units import shares
from jaxml.optimize._fit import Fit
from jaxml.regression import kernels
from jaxml.regression.svm import _expansion, _smo
from jaxml.regression.svm._expansion import Params as Params

__all__ = [
    "Params",
    "compact",
    "cost",
    "dual",
    "duality_gap",
    "fit",
    "kkt_residual",
    "margin",
    "predict",
    "scores",
    "support_mask",
]

Kernel = kernels.Kernel  # or "precomputed"


@_check.fit
def fit(
    x: Rows,
    y: Annotated[Array, "m:labels 2"],
    *,
    l2: NonNegative = 1e-2,
    kernel: Static[Kernel] = "rbf",
    gamma: NonNegative | None = None,
    offset: Scalar = 1.0,
    weights: Weights | None = None,
    class_weights: Annotated[Array, "2", "[0, inf)"] | None = None,
    solver: Static[str | None] = None,
    tol: NonNegative = 1e-4,
    max_iter: Count = 500,
) -> Fit:
    """J = Σ wᵢ max(0, 1 - sᵢ f(xᵢ)) / Σ wᵢ + l2/2 ‖w‖², minimised via its dual.

    Args:
        x: (m, n) rows; for kernel="precomputed" the matrix K, (m, m).
        y: (m,) labels 0 and 1.
        l2: () factor of ½‖w‖², above 0: C = 1/(l2 Σw) in LIBSVM and scikit-learn.
        kernel: "rbf", "polynomial", "sigmoid", "linear" or another of kernels.KERNELS,
            a function as kernels.matrix takes it, or "precomputed".
        gamma: () γ of the kernel; None for kernels.scale_gamma, 1/(n var x).
        offset: () c of polynomial and sigmoid; coef0, 0 by default, in LIBSVM.
        weights: (m,) weights w; 1 if None.
        class_weights: (2,) factors of the weights of the rows of class 0 and 1.
        solver: "full" forms K, (m, m); "block" forms rows of it when they are needed
            and keeps the last, 4096 or 400 MB of float32 at most; "interior", for
            kernel="linear" alone, solves (n, n) equations of the plane, whatever the
            units of the columns. None for "interior" with a linear kernel of up to 128
            columns and more than 2n rows, else for "full" up to 4096 rows. Under vmap
            "block" solves one problem after another, the others all together.
        tol: () largest duality gap over the cost, which is then above its minimum by
            no more than this share. Where rounding keeps α from it, as in float32 for
            a large C, a gap that is due to rounding alone is taken up to a share of
            1e-3; residual tells how large it is.
        max_iter: the most rounds: up to max(m, 256) updates ("full"), working sets
            ("block"), steps ("interior").

    Returns:
        A Fit with Params; cost is J, residual the duality gap over J, steps the
        rounds, and history the dual, which grows towards J, after each of them; of
        "interior" J itself.
        Derivatives are those of the exact solution: with respect to x, l2, gamma,
        offset and weights. Status INVALID where l2 is 0 or one of the classes is not
        there, SINGULAR where scores mean nothing for rounding (a kernel of huge
        entries) or ‖w‖² is below 0. The sigmoid, which is not positive, gives a local
        solution.

    Raises:
        ValueError: an argument of the wrong kind, or values out of range.

    Source: Boser, Guyon and Vapnik (1992), Cortes and Vapnik (1995); solved as by Fan,
    Chen and Lin (2005), in blocks after Joachims (1999), "interior" after Mehrotra
    (1992).

    """
    rows = _expansion.rows_of(x, kernel, gamma, offset, weights)
    result = _expansion.separate(
        rows,
        _signs(y, x),
        _share(x, y, weights, class_weights),
        l2,
        solver=solver,
        tol=tol,
        max_iter=max_iter,
    )
    return result._replace(params=_expansion.params_of(rows, *result.params))


@_check.pure
def scores(params: Params, x: Rows) -> jax.Array:
    """f(x) = Σ αᵢ k(xᵢ, x) + b, (m,): above 0 for class 1, ±1 on the margins.

    Args:
        params: Params.
        x: (m, n) rows; for a precomputed kernel their k with all rows of the fit.

    Raises:
        ValueError: rows of another length than those of the fit.

    """
    return _expansion.scores(params, x)


@_check.pure
def predict(params: Params, x: Rows) -> jax.Array:
    """The class, [f(x) >= 0], (m,) int32. Arguments and errors as in `scores`."""
    f = scores(params, x)
    return (f >= 0).astype(jnp.int32)


@_check.pure
def cost(
    params: Params,
    x: Rows,
    y: Annotated[Array, "m:labels 2"],
    *,
    l2: NonNegative = 0.0,
    weights: Weights | None = None,
    class_weights: Annotated[Array, "2", "[0, inf)"] | None = None,
) -> jax.Array:
    """J = Σ wᵢ max(0, 1 - sᵢ f(xᵢ)) / Σ wᵢ + l2/2 ‖w‖², ().

    With s = 2y - 1 = ±1 and ‖w‖² = Σ αᵢ αⱼ k(xᵢ, xⱼ) over the rows of params.

    Args:
        params: Params.
        x: (m, n) rows; for a precomputed kernel their k with all rows of the fit.
        y: (m,) labels 0 and 1.
        l2: () factor of ½‖w‖²; C = 1/(l2 Σw) in scikit-learn.
        weights: (m,) weights w; 1 if None.
        class_weights: (2,) factors of the weights of the rows of class 0 and 1.

    Raises:
        ValueError: an argument of the wrong kind, or values out of range.

    """
    f = _expansion.scores(params, x)
    share = _share(x, y, weights, class_weights)
    data = _expansion.hinge(f, _signs(y, x), share)
    if _check.is_zero(l2):
        return data
    return data + l2 / 2 * _expansion.squared_norm(params, x)


@_check.pure
def duality_gap(
    params: Params,
    x: Rows,
    y: Annotated[Array, "m:labels 2"],
    *,
    l2: NonNegative,
    weights: Weights | None = None,
    class_weights: Annotated[Array, "2", "[0, inf)"] | None = None,
) -> jax.Array:
    """J - D, (): J is at most so far above its least value; for the rows of the fit.

    D = l2 (Σ |αᵢ| - ½ ‖w‖²) is the dual, which LIBSVM prints divided by -l2. Arguments
    and errors as in `cost`.
    """
    primal = cost(
        params,
        x,
        y,
        l2=l2,
        weights=weights,
        class_weights=class_weights,
    )
    return primal - _dual_value(params, x, l2)


@_check.pure
def dual(
    params: Params,
    *,
    l2: NonNegative,
    gram: Annotated[Array, "m m"] | None = None,
) -> jax.Array:
    """D = l2 (Σ |αᵢ| - ½ ‖w‖²), (), which the fit makes greatest; LIBSVM's is -D/l2.

    l2 as in cost, other arguments and errors as in `margin`: gram is (m, m).
    """
    return _dual_value(params, _expansion.given(params, gram), l2)


@_check.pure
def kkt_residual(
    params: Params,
    x: Rows,
    y: Annotated[Array, "m:labels 2"],
    *,
    l2: NonNegative,
    weights: Weights | None = None,
    class_weights: Annotated[Array, "2", "[0, inf)"] | None = None,
) -> jax.Array:
    """The maximal violation, max_up(s - f) - min_down(s - f), ().

    Two rows could be moved along the margin by no more than that: what LIBSVM brings
    below its tol. Up are the rows whose α may grow in its box, [0, C wᵢ] for s = 1 and
    [-C wᵢ, 0] for s = -1, and down those whose may shrink: 0 or less is a solution.
    Arguments and errors as in `cost`; x and y are those of the fit.
    """
    _expansion.same_rows(params, x)
    share = _share(x, y, weights, class_weights)
    signs = _signs(y, x)
    # C may be rounded otherwise than in the fit: so near to the end is at the end.
    box = _expansion.box(signs, share * (1 - 8 * jnp.finfo(x.dtype).eps), l2)
    gradient = _expansion.image(params, x) - signs
    residual = _smo.violation(params.alpha, gradient, box)
    return jnp.where(jnp.isnan(jnp.sum(share)), jnp.nan, residual)


@_check.pure
def margin(
    params: Params,
    *,
    gram: Annotated[Array, "m m"] | None = None,
) -> jax.Array:
    """2/‖w‖, (): the distance in the kernel's space between the planes f = -1 and 1.

    Args:
        params: Params.
        gram: (m, m) the matrix K of the fit, for a precomputed kernel alone.

    Raises:
        ValueError: gram that is missing, or not asked for.

    """
    rows = _expansion.given(params, gram)
    return 2 / jnp.sqrt(_expansion.squared_norm(params, rows))


@_check.pure
def support_mask(params: Params) -> jax.Array:
    """α ≠ 0, (m,) bool: the rows that params, Params, rest upon."""
    return params.alpha != 0


@_check.host
def compact(params: Params) -> Params:
    """The params with the rows of the support alone; they predict the same.

    params are those of one fit, of m rows, (m, n). Their new number is data, so this is
    not for jit; raises ValueError there, and for a batch of fits.
    """
    alpha = params.alpha
    if isinstance(alpha, jax.core.Tracer) or jnp.ndim(alpha) != 1:
        raise ValueError("params must be those of one fit, outside jit and vmap")
    kept = jnp.asarray(np.flatnonzero(np.asarray(alpha)))
    return replace(params, x=params.x[kept], alpha=alpha[kept])


def _signs(y, x):
    return (2 * y - 1).astype(x.dtype)


def _share(x, y, weights, class_weights):
    """wᵢ / Σw, with the weight of the row's class in it."""
    return shares(_expansion.weights_of(x, weights, y, class_weights))


def _dual_value(params: Params, x, l2):
    size = jnp.sum(jnp.abs(params.alpha))
    return l2 * (size - _expansion.squared_norm(params, x) / 2)

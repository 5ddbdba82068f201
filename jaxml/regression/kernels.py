"""Kernels: the inner products k(a, b) = φ(a)·φ(b) of rows in another space.

Each takes two sets of rows, a (p, n) and b (q, n), and gives the (p, q) matrix of all
pairs. γ = 1/(2σ²), σ the width.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import Array, NonNegative, Rows, Scalar, Static, Weights
from jaxml._distances import root, squared
from jaxml._units import per_square, unit_of

__all__ = [
    "KERNELS",
    "Kernel",
    "bound",
    "diagonal",
    "laplacian",
    "linear",
    "matern",
    "matrix",
    "median_gamma",
    "polynomial",
    "rbf",
    "scale_gamma",
    "sigmoid",
    "squared_distances",
]

Kernel = str | Callable[..., jax.Array]  # a kernel, by name or as a function of a, b
COARSE = 128  # γ‖a‖² up to which a product's error, ε times it, leaves k its digits
DEGREE = 3  # of a polynomial, unless it is said
HUGE = 2.0**60  # of which the square is finite


@_check.pure
def squared_distances(a: Array, b: Array) -> jax.Array:
    """d²_ij = ‖a_i - b_j‖² = Σ (a_i - b_j)², (p, q), for rows a, (p, n), and b, (q, n).

    To at least four digits in float32, wherever the rows lie; 0 for equal ones.
    """
    _rows(a, b)
    return squared(a, b, own=_own(a, b))


@_check.pure
def linear(a: Array, b: Array) -> jax.Array:
    """k = a·b, (p, q), for the rows of a, (p, n), and of b, (q, n)."""
    _rows(a, b)
    return _product(a, b)


@_check.pure
def polynomial(
    a: Array,
    b: Array,
    *,
    degree: Annotated[Static[int], "[0, inf)"] = DEGREE,
    gamma: NonNegative = 1.0,
    offset: Scalar = 1.0,
) -> jax.Array:
    """k = (γ a·b + c)^degree, (p, q), for the rows of a, (p, n), and of b, (q, n).

    γ is gamma and c, scikit-learn's coef0, offset. With c > 0 these are all monomials
    up to degree, with c = 0 those of degree alone.
    """
    _rows(a, b)
    return jax.lax.integer_pow(gamma * _product(a, b) + offset, degree)


@_check.pure
def sigmoid(
    a: Array, b: Array, *, gamma: NonNegative = 1.0, offset: Scalar = 0.0
) -> jax.Array:
    """k = tanh(γ a·b + c), (p, q), for the rows of a, (p, n), and of b, (q, n).

    γ is gamma and c offset. The matrix need not be positive semi-definite: this is a
    kernel by name only.
    """
    _rows(a, b)
    return jnp.tanh(gamma * _product(a, b) + offset)


@_check.pure
def rbf(a: Array, b: Array, *, gamma: NonNegative) -> jax.Array:
    """k = exp(-γ ‖a - b‖²), (p, q), for the rows of a, (p, n), and of b, (q, n).

    gamma is γ = 1/(2σ²).
    """
    _rows(a, b)
    return jnp.exp(-_scaled(a, b, gamma))


@_check.pure
def matern(
    a: Array, b: Array, *, gamma: NonNegative, smoothness: Static[float] = 1.5
) -> jax.Array:
    """k = (1 + u + …) e^-u, u = √(2ν) ‖a - b‖/σ, (p, q): rows a (p, n), b (q, n).

    gamma is 1/(2σ²); smoothness is ν, 1.5 or 2.5: paths with so many derivatives,
    rounded down. For ν → ∞ it becomes rbf with the same gamma.

    Source: Matérn (1960); Rasmussen and Williams (2006), equations 4.16 and 4.17.
    """
    _check.option("smoothness", smoothness, (1.5, 2.5))
    _rows(a, b)
    squares = _scaled(a, b, 4 * smoothness * gamma)
    u = root(squares)  # the derivative of k at 0 is 0, as that of this root
    terms = 1 + u if smoothness == 1.5 else 1 + u + squares / 3
    return terms * jnp.exp(-u)


@_check.pure
def laplacian(a: Array, b: Array, *, gamma: NonNegative) -> jax.Array:
    """k = exp(-γ Σ_j |a_j - b_j|), (p, q), for the rows of a, (p, n), and b, (q, n).

    gamma is γ, an inverse length. No matrix product gives this distance: the columns
    are taken one after the other, and memory is that of the answer.
    """
    _rows(a, b)

    @jax.checkpoint  # or reverse mode would keep a (p, q) array for each column
    def add(total, columns):
        one, other = columns
        return total + jnp.abs(one[:, None] - other[None]), None

    zero = jnp.zeros((len(a), len(b)), a.dtype)
    return jnp.exp(-gamma * jax.lax.scan(add, zero, (a.T, b.T))[0])


KERNELS = {
    "linear": linear,
    "polynomial": polynomial,
    "sigmoid": sigmoid,
    "rbf": rbf,
    "matern": matern,
    "laplacian": laplacian,
}


# --- any of them --------------------------------------------------------------------


@_check.pure
def matrix(
    a: Array,
    b: Array,
    *,
    kernel: Static[Kernel] = "rbf",
    gamma: NonNegative = 1.0,
    offset: Scalar = 1.0,
) -> jax.Array:
    """K_ij = k(a_i, b_j), (p, q), for the rows of a, (p, n), and of b, (q, n).

    Args:
        a: (p, n) rows.
        b: (q, n) rows.
        kernel: a name in KERNELS; or a function of a and b that gives (p, q), static:
            pass one of a module, or functools.partial(kernels.polynomial, degree=2).
        gamma: () the kernel's γ; gamma and offset are passed to a kernel that has an
            argument of this name, and to no other.
        offset: () its c.

    Raises:
        ValueError: an unknown kernel, or one that gives another shape.

    """
    _rows(a, b)
    function = bound(kernel, gamma=gamma, offset=offset)
    result = function(a, b)
    wanted = len(a), len(b)
    shape = getattr(result, "shape", None)
    if shape != wanted:
        raise ValueError(f"kernel gives shape {shape}, not {wanted}")
    return result


@_check.pure
def diagonal(
    x: Rows,
    *,
    kernel: Static[Kernel] = "rbf",
    gamma: NonNegative = 1.0,
    offset: Scalar = 1.0,
) -> jax.Array:
    """k(x_i, x_i), (m,), for the rows of x, (m, n), without the matrix.

    kernel, gamma and offset as in matrix.
    """

    def one(row):
        row = row[None]
        return matrix(row, row, kernel=kernel, gamma=gamma, offset=offset)[0, 0]

    return jax.vmap(one)(x)


@_check.host
def bound(kernel: Kernel, **hyper: Any) -> Callable[..., jax.Array]:
    """The function (a, b) -> K that kernel names, with those of hyper that it takes.

    Raises ValueError, beginning with the argument's name, for an unknown kernel.
    """
    function: Any
    if isinstance(kernel, str):
        function = KERNELS[_check.option("kernel", kernel, KERNELS)]
    elif callable(kernel):
        function = kernel
    else:
        raise ValueError(f"kernel must be a name or a function, not {kernel!r}")
    taken = inspect.signature(function).parameters
    fixed = getattr(function, "keywords", {})  # those of a partial
    given = {n: v for n, v in hyper.items() if n in taken and n not in fixed}
    return partial(function, **given) if given else function


# --- widths from the data -----------------------------------------------------------


@_check.pure
def scale_gamma(x: Rows, *, weights: Weights | None = None) -> jax.Array:
    """γ = 1 / (n var x), (), the variance that of all entries of x, (m, n).

    weights, (m,), weigh the rows. What scikit-learn calls "scale"; as there it is 1
    where all entries are equal. Infinite or 0 where it is out of the dtype's range.
    """
    w = _weights(x, weights)
    share = (w / jnp.sum(w))[:, None]
    centred = x - jnp.sum(share * x) / x.shape[1]
    centred -= jnp.sum(share * centred) / x.shape[1]  # what the first mean rounded off
    unit = unit_of(centred, w)
    # A row of weight 0 may be of any size: 0 times its square must be 0.
    total = jnp.sum(share * jnp.clip(centred / unit, -HUGE, HUGE) ** 2)  # n var x
    gamma = per_square(1 / jnp.where(total == 0, 1, total), unit)
    return jnp.where(total == 0, 1, gamma)


@_check.pure
def median_gamma(x: Rows, *, weights: Weights | None = None) -> jax.Array:
    """γ = 1/(2σ²), (), σ the median distance between rows of x, (m, n), that differ.

    The pair (i, j) counts wᵢ wⱼ times, weights w being (m,). Where no rows differ it is
    NaN. Takes an (m, m) matrix and sorts it: for large m pass a sample of the rows.

    Source: Gretton et al. (2012), section 8, for the customary use of the median.
    """
    w = _weights(x, weights)
    unit = unit_of(x, w)
    x = x / unit
    squares = squared(x, x, own=_own(x, x))
    pairs = jnp.where(squares == 0, 0, w[:, None] * w[None]).ravel()
    order = jnp.argsort(squares.ravel())
    count = jnp.cumsum(pairs[order])
    half = count[-1:] / 2
    # For an even number of pairs the two in the middle, as numpy.median.
    middle = [jnp.searchsorted(count, half, side=side) for side in ("left", "right")]
    places = jnp.minimum(jnp.concatenate(middle), count.size - 1)
    chosen = squares.ravel()[order[places]]
    known = (chosen > 0) & (half > 0) & jnp.isfinite(squares).all()
    width = jnp.mean(jnp.sqrt(jnp.where(known, chosen, jnp.nan)))
    return per_square(1 / (2 * width**2), unit)


def _scaled(a: jax.Array, b: jax.Array, factor: Any) -> jax.Array:
    """factor ‖a - b‖², (p, q), to the precision that an exponential needs."""
    unlike_one = jnp.where(factor == 0, 1, factor)
    coarse = jnp.where(factor == 0, jnp.inf, COARSE / unlike_one)
    coarse = jax.lax.stop_gradient(coarse).astype(a.dtype)
    return factor * squared(a, b, own=_own(a, b), coarse=coarse)


def _own(a: jax.Array, b: jax.Array) -> jax.Array | None:
    """Where each row of a is among those of b, if they are known to be the same."""
    return jnp.arange(len(a), dtype=jnp.int32) if a is b else None


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    return a @ b.T


def _weights(x: jax.Array, weights: jax.Array | None) -> jax.Array:
    """Weights, NaN for a negative one, possible only under tracing."""
    if weights is None:
        return jnp.ones(len(x), x.dtype)
    return jnp.where(weights >= 0, weights, jnp.nan)


def _rows(a: jax.Array, b: jax.Array) -> None:
    """Rows of one length, and finite where they are concrete."""
    _check.shapes(a=(a, "p n"), b=(b, "q n"))
    _check.finite("a", a)
    _check.finite("b", b)

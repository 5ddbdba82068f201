"""Kernels: the inner products k(a, b) = φ(a)·φ(b) of rows in another space.

Each takes two sets of rows, a (p, n) and b (q, n), and gives the (p, q) matrix of all
pairs by one matrix product. γ = 1/(2σ²), σ the width. Those of distances do not depend
on where the origin is: it is moved into the rows first, for float32 loses the digits of
a distance that is small against the rows themselves.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml.optimize.recipe import Recipe

Kernel = str | Callable[..., jax.Array]  # a kernel, by name or as a function of a, b


@_check.pure(a="...", b="...")
def squared_distances(a: jax.Array, b: jax.Array) -> jax.Array:
    """d²_ij = ‖a_i - b_j‖² = ‖a_i‖² + ‖b_j‖² - 2 a_i·b_j, (p, q), never below 0.

    a is (p, n) and b (q, n). d² of equal rows is 0 to the rounding of the squares;
    its derivatives are those of the formula, there as well.
    """
    _rows(a, b)
    origin = jax.lax.stop_gradient(jnp.mean(b, axis=0, keepdims=True))
    a, b = a - origin, b - origin
    squares = _squares(a)[:, None] + _squares(b)[None] - 2 * _product(a, b)
    # Only the value is cut off at 0: a derivative that stopped there would be wrong.
    return squares + jax.lax.stop_gradient(jnp.maximum(squares, 0) - squares)


@_check.pure(a="...", b="...")
def linear(a: jax.Array, b: jax.Array) -> jax.Array:
    """k = a·b, (p, q), for the rows of a, (p, n), and of b, (q, n)."""
    _rows(a, b)
    return _product(a, b)


@_check.pure(static=("degree",), a="...", b="...")
def polynomial(
    a: jax.Array, b: jax.Array, *, degree: int = 3, gamma: Any = 1.0, offset: Any = 1.0
) -> jax.Array:
    """k = (γ a·b + c)^degree, (p, q), for the rows of a, (p, n), and of b, (q, n).

    γ is gamma and c, scikit-learn's coef0, offset. With c > 0 these are all monomials
    up to degree, with c = 0 those of degree alone.
    """
    _rows(a, b)
    return jax.lax.integer_pow(gamma * _product(a, b) + offset, degree)


@_check.pure(a="...", b="...")
def sigmoid(
    a: jax.Array, b: jax.Array, *, gamma: Any = 1.0, offset: Any = 0.0
) -> jax.Array:
    """k = tanh(γ a·b + c), (p, q), for the rows of a, (p, n), and of b, (q, n).

    γ is gamma and c offset. The matrix need not be positive semi-definite: this is a
    kernel by name only.
    """
    _rows(a, b)
    return jnp.tanh(gamma * _product(a, b) + offset)


@_check.pure(a="...", b="...")
def rbf(a: jax.Array, b: jax.Array, *, gamma: Any) -> jax.Array:
    """k = exp(-γ ‖a - b‖²), (p, q), for the rows of a, (p, n), and of b, (q, n).

    gamma is γ = 1/(2σ²).
    """
    return jnp.exp(-gamma * squared_distances(a, b))


@_check.pure(static=("smoothness",), a="...", b="...")
def matern(
    a: jax.Array, b: jax.Array, *, gamma: Any, smoothness: float = 1.5
) -> jax.Array:
    """k = (1 + u + …) e^-u, u = √(2ν) ‖a - b‖/σ, (p, q): rows a (p, n), b (q, n).

    gamma is 1/(2σ²); smoothness is ν, 1.5 or 2.5: paths with so many derivatives,
    rounded down. For ν → ∞ it becomes rbf with the same gamma.

    Source: Matérn (1960); Rasmussen and Williams (2006), equations 4.16 and 4.17.
    """
    _check.option("smoothness", smoothness, (1.5, 2.5))
    squares = 4 * smoothness * gamma * squared_distances(a, b)
    # The root has no derivative at 0, where that of k is 0.
    u = jnp.where(squares == 0, 0, jnp.sqrt(jnp.where(squares == 0, 1, squares)))
    terms = 1 + u if smoothness == 1.5 else 1 + u + squares / 3
    return terms * jnp.exp(-u)


@_check.pure(a="...", b="...")
def laplacian(a: jax.Array, b: jax.Array, *, gamma: Any) -> jax.Array:
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


@_check.pure(static=("kernel", "degree"), a="...", b="...")
def matrix(
    a: jax.Array,
    b: jax.Array,
    *,
    kernel: Kernel = "rbf",
    gamma: Any = 1.0,
    offset: Any = 1.0,
    degree: int = 3,
) -> jax.Array:
    """K_ij = k(a_i, b_j), (p, q), for the rows of a, (p, n), and of b, (q, n).

    Args:
        a: (p, n) rows.
        b: (q, n) rows.
        kernel: a name in KERNELS; or a function of a and b that gives (p, q), static:
            pass one of a module, or recipe(kernels.matern, smoothness=2.5).
        gamma: () the kernel's γ; each of gamma, offset and degree is passed to a kernel
            that has an argument of this name, and to no other.
        offset: () its c.
        degree: its degree.

    Raises:
        ValueError: an unknown kernel, or one that gives another shape.

    """
    _rows(a, b)
    function = bound(kernel, gamma=gamma, offset=offset, degree=degree)
    result = function(a, b)
    wanted = len(a), len(b)
    if jnp.shape(result) != wanted:
        raise ValueError(f"kernel gives shape {jnp.shape(result)}, not {wanted}")
    return result


@_check.pure(static=("kernel", "degree"), x="m n")
def diagonal(
    x: jax.Array,
    *,
    kernel: Kernel = "rbf",
    gamma: Any = 1.0,
    offset: Any = 1.0,
    degree: int = 3,
) -> jax.Array:
    """k(x_i, x_i), (m,), for the rows of x, (m, n), without the matrix.

    kernel, gamma, offset and degree as in matrix.
    """
    function = bound(kernel, gamma=gamma, offset=offset, degree=degree)
    return jax.vmap(lambda row: function(row[None], row[None])[0, 0])(x)


@_check.host
def bound(kernel: Kernel, **hyper: Any) -> Callable[..., jax.Array]:
    """The function (a, b) -> K that kernel names, with those of hyper that it takes.

    Raises ValueError, beginning with the argument's name, for an unknown kernel.
    """
    if isinstance(kernel, str):
        function = KERNELS[_check.option("kernel", kernel, KERNELS)]
    elif callable(kernel):
        function = kernel
    else:
        raise ValueError(f"kernel must be a name or a function, not {kernel!r}")
    fixed: set[str] = set()
    inner: Any = function
    if isinstance(function, Recipe):
        inner, fixed = function.function, {name for name, _ in function.options}
    taken = set(inspect.signature(inner).parameters) - fixed
    given = {name: value for name, value in hyper.items() if name in taken}
    return partial(function, **given) if given else function


# --- widths from the data -----------------------------------------------------------


@_check.pure(x="m n", weights="m")
def scale_gamma(x: jax.Array, *, weights: jax.Array | None = None) -> jax.Array:
    """γ = 1 / (n var x), (), the variance that of all entries of x, (m, n).

    weights, (m,), weigh the rows. What scikit-learn calls "scale"; as there it is 1
    where all entries are equal.
    """
    w = _weights(x, weights)
    share = (w / jnp.sum(w))[:, None]
    centred = x - jnp.sum(share * x) / x.shape[1]
    centred -= jnp.sum(share * centred) / x.shape[1]  # what the first mean rounded off
    total = jnp.sum(share * centred**2)  # n var x
    return jnp.where(total == 0, 1, 1 / jnp.where(total == 0, 1, total))


@_check.pure(x="m n", weights="m")
def median_gamma(x: jax.Array, *, weights: jax.Array | None = None) -> jax.Array:
    """γ = 1/(2σ²), (), σ the median distance between rows of x, (m, n), that differ.

    The pair (i, j) counts wᵢ wⱼ times, weights w being (m,). Where no rows differ it is
    NaN. Takes an (m, m) matrix and sorts it: for large m pass a sample of the rows.

    Source: Gretton et al. (2012), section 8, for the customary use of the median.
    """
    w = _weights(x, weights)
    squares = squared_distances(x, x)
    length = _squares(x - jnp.mean(x, axis=0, keepdims=True))
    rounding = 16 * jnp.finfo(x.dtype).eps * (length[:, None] + length[None])
    pairs = jnp.where(squares <= rounding, 0, w[:, None] * w[None]).ravel()
    order = jnp.argsort(squares.ravel())
    count = jnp.cumsum(pairs[order])
    half = count[-1:] / 2
    # For an even number of pairs the two in the middle, as numpy.median.
    middle = [jnp.searchsorted(count, half, side=side) for side in ("left", "right")]
    places = jnp.minimum(jnp.concatenate(middle), count.size - 1)
    chosen = squares.ravel()[order[places]]
    known = (chosen > 0) & (half > 0)
    width = jnp.mean(jnp.sqrt(jnp.where(known, chosen, jnp.nan)))
    return 1 / (2 * width**2)


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b.T, precision="highest")


def _squares(a: jax.Array) -> jax.Array:
    return jnp.sum(a * a, axis=1)


def _weights(x: jax.Array, weights: jax.Array | None) -> jax.Array:
    """Weights, NaN for a negative one, which only a trace lets in."""
    if weights is None:
        return jnp.ones(len(x), x.dtype)
    return jnp.where(weights >= 0, weights, jnp.nan)


def _rows(a: jax.Array, b: jax.Array) -> None:
    """Rows of one length, and finite where they are concrete."""
    _check.shapes(a=(a, "p n"), b=(b, "q n"))
    _check.finite("a", a)
    _check.finite("b", b)

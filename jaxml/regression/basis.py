"""Bases of functions: a linear model of φ(x) is a curved model of x.

Each takes rows x, (m, n), and gives rows φ(x) for any linear model:
`ridge.fit(basis.polynomial(x, degree=6), y, l2=1e-2)`. None but `polynomial` on request
holds a constant, for these models have a b of their own. Where a basis is drawn or
computed first, what it consists of is a NamedTuple that comes first thereafter.
"""

import itertools
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import _check
from jaxml._check import (
    Array,
    Count,
    Key,
    NonNegative,
    Positive,
    Rows,
    Scalar,
    Static,
    Weights,
)
from jaxml._units import unit_of, weights_or_ones
from jaxml.regression import kernels
from jaxml.regression.kernels import Kernel

__all__ = [
    "Nystroem",
    "RandomFourier",
    "b_spline",
    "exponents",
    "fourier",
    "init_nystroem",
    "init_random_fourier",
    "knots",
    "nystroem",
    "polynomial",
    "radial",
    "random_fourier",
    "whitened",
]


class RandomFourier(NamedTuple):
    """Waves, drawn at random, whose products average to a kernel."""

    frequencies: Annotated[jax.Array, "n k"]  # ω
    phases: Annotated[jax.Array, "k"]  # in [0, 2π)


@_check.params
class Nystroem:
    """The rows a kernel is sampled at, and what makes their features orthonormal."""

    landmarks: Annotated[jax.Array, "k n"]  # rows of x, or like them
    whitening: Annotated[jax.Array, "k k"]  # K^(-1/2), K the matrix of the landmarks
    gamma: Annotated[jax.Array, ""]  # the kernel's γ
    offset: Annotated[jax.Array, ""]  # its c
    kernel: Static[Kernel] = "rbf"  # as in kernels.matrix


# --- polynomials --------------------------------------------------------------------


@_check.pure
def polynomial(
    x: Rows,
    *,
    degree: Annotated[Static[int], "[0, inf)"],
    constant: Static[bool] = False,
    interactions: Static[bool] = False,
) -> jax.Array:
    """All monomials x₁^p₁ ⋯ x_n^p_n with 1 <= Σp <= degree, (m, terms), of x, (m, n).

    They come degree by degree, and within a degree i those with more of the first
    column first: for n = 2 the course's x₁^(i-j) x₂^j, j = 0 … i; `exponents` lists
    them. constant puts the 1 before them (28 terms for n = 2, degree 6); interactions
    leaves out the powers of a column above the first. Scale x first: in float32 the
    sixth power of 1,000 leaves little room.
    """
    columns = [jnp.ones_like(x[:, :1])] if constant else []
    terms = jnp.ones_like(x[:, :1])
    parents: list[tuple[int, ...]] = [()]
    for power in range(1, degree + 1):
        chosen = _choices(x.shape[1], power, interactions)
        if not chosen:
            break
        place = {parent: i for i, parent in enumerate(parents)}
        left = np.array([place[choice[:-1]] for choice in chosen])
        terms = terms[:, left] * x[:, np.array([choice[-1] for choice in chosen])]
        columns, parents = [*columns, terms], chosen
    if not columns:
        raise ValueError("degree must be at least 1 where there is no constant, not 0")
    return jnp.concatenate(columns, axis=1)


@_check.host
def exponents(
    n: int, *, degree: int, constant: bool = False, interactions: bool = False
) -> np.ndarray:
    """The powers p, (terms, n) ints, of the columns of `polynomial`, in their order.

    n is the number of columns; degree, constant and interactions as in polynomial.
    """
    n, degree = _check.count("n", n), _check.count("degree", degree, at_least=0)
    powers = range(0 if constant else 1, degree + 1)
    chosen = [c for power in powers for c in _choices(n, power, interactions)]
    return np.array([[c.count(j) for j in range(n)] for c in chosen]).reshape(-1, n)


def _choices(n: int, power: int, interactions: bool) -> list[tuple[int, ...]]:
    """The columns that each monomial of a degree multiplies, in ascending order."""
    if interactions:
        return list(itertools.combinations(range(n), power))
    return list(itertools.combinations_with_replacement(range(n), power))


# --- waves and bumps ----------------------------------------------------------------


@_check.pure
def fourier(x: Rows, *, order: Count, period: Positive = 1.0) -> jax.Array:
    """cos(2πkx/period), sin(2πkx/period), k = 1 … order, (m, 2·order·n) of x, (m, n).

    For each column of x all cosines, then all sines. period, (), is that of every
    column: divide the columns first where they differ.
    """
    turns = x / period
    # Whole turns are taken off before they are multiplied: they cost digits.
    turns = turns - jax.lax.stop_gradient(jnp.round(turns))
    harmonics = jnp.arange(1, order + 1, dtype=x.dtype)
    angle = 2 * jnp.pi * turns[:, :, None] * harmonics[None, None]
    waves = jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=2)
    return waves.reshape(len(x), -1)


@_check.pure
def radial(x: Rows, centres: Array, *, width: Positive) -> jax.Array:
    """exp(-‖x - c_j‖² / (2 width²)), (m, k), for rows x, (m, n), and centres, (k, n).

    width, (), is σ. With the training rows as centres this is kernel regression; see
    kernels.rbf.

    Source: Broomhead and Lowe (1988).
    """
    _check.shapes(x=(x, "m n"), centres=(centres, "k n"))
    _check.finite("centres", centres)
    width = jnp.asarray(width, x.dtype)
    unit = unit_of(width)  # in which the square of the width is no 0
    return kernels.rbf(x / unit, centres / unit, gamma=0.5 / (width / unit) ** 2)


# --- splines ------------------------------------------------------------------------


@_check.pure(jit=True)
def b_spline(
    x: Rows,
    knots: Array,
    *,
    degree: Annotated[Static[int], "[0, inf)"] = 3,
    outside: Static[str] = "linear",
) -> jax.Array:
    """B_j(x), j = 1 … t - degree - 1, for each column of x, (m, n), by Cox and de Boor.

    Args:
        x: (m, n) rows; the functions of its first column come first.
        knots: (t,) for every column or (t, n), ascending, with degree of them outside
            the domain on either side, as scipy.interpolate.BSpline has them; `knots`
            makes some.
        degree: that of the pieces; 3 for cubic, 0 for steps.
        outside: what the functions are beyond the domain [t_degree, t_(t-degree-1)]:
            "linear", as a straight line; "constant"; or "continue", as the polynomial
            of the last piece.

    Returns:
        (m, n (t - degree - 1)) values, which sum to 1 for each column of x, outside the
        domain as well. All NaN for knots that do not ascend, or all meet.

    Raises:
        ValueError: fewer than 2·degree + 2 knots, or another shape.

    Source: de Boor (1972); Cox (1972).
    """
    _check.option("outside", outside, ("linear", "constant", "continue"))
    sizes = _check.shapes(x=(x, "m n"), knots=(knots, "t|t n"))
    _check.finite("knots", knots)
    if sizes["t"] < 2 * degree + 2:
        least = f"2·degree + 2 = {2 * degree + 2}"
        raise ValueError(f"knots must be at least {least}, not {sizes['t']}")
    axis = 1 if knots.ndim == 2 else None

    def column(x, knots):
        return _spline(x, knots, degree, outside)

    return jax.vmap(column, (1, axis), 1)(x, knots).reshape(len(x), -1)


def _spline(x, knots, degree: int, outside: str):
    """All functions, (m, t - degree - 1), of one column, (m,)."""
    last = len(knots) - degree - 1
    if outside == "continue":
        return _cox_de_boor(x, knots, degree)
    inside = jnp.clip(x, knots[degree], knots[last])
    if outside == "constant":
        return _cox_de_boor(inside, knots, degree)

    def functions(x):
        return _cox_de_boor(x, knots, degree)

    values, slopes = jax.jvp(functions, (inside,), (jnp.ones_like(x),))
    return values + slopes * (x - inside)[:, None]


def _cox_de_boor(x, knots, degree: int):
    # The piece x lies in; the first and the last of those that have a width, though
    # knots may meet at the ends of the domain, reach on beyond it.
    low, high = knots[degree], knots[len(knots) - degree - 1]
    first = jnp.searchsorted(knots, low, side="right") - 1
    last = jnp.searchsorted(knots, high, side="left") - 1
    piece = jnp.clip(jnp.searchsorted(knots, x, side="right") - 1, first, last)
    valid = (jnp.diff(knots) >= 0).all() & (low < high) & ~jnp.isnan(x)
    steps = (piece[:, None] == jnp.arange(len(knots) - 1)[None]).astype(x.dtype)
    functions = jnp.where(valid[:, None], steps, jnp.nan)
    t, x = knots[None], x[:, None]
    for d in range(1, degree + 1):
        width = t[:, d:-1] - t[:, : -d - 1]
        rising = _ratio(x - t[:, : -d - 1], width)
        width = t[:, d + 1 :] - t[:, 1:-d]
        falling = _ratio(t[:, d + 1 :] - x, width)
        functions = rising * functions[:, :-1] + falling * functions[:, 1:]
    return functions


def _ratio(a, b):
    """a / b, (m, t) by (1, t), and 0 where b is 0: a piece between equal knots."""
    return jnp.where(b == 0, 0, a / jnp.where(b == 0, 1, b))


@_check.pure(jit=True)
def knots(
    x: Rows,
    *,
    k: Count,
    degree: Annotated[Static[int], "[0, inf)"] = 3,
    spacing: Static[str] = "uniform",
    weights: Weights | None = None,
) -> jax.Array:
    """Knots for `b_spline`, (k + 2·degree, n): k of them in the range of x, (m, n).

    Args:
        x: (m, n) rows.
        k: knots from the least to the greatest entry of each column, 2 or more.
        degree: so many more on either side, at the distance of the two outermost.
        spacing: "uniform", or "quantile" for as many rows between any two.
        weights: (m,) as frequencies, Σw >= 1: a weight of 2 is a row that is there
            twice; rows of weight 0 are not.

    Returns:
        (k + 2·degree, n) knots. Those of a column whose entries are all c are uniform
        from c - |c|/2 to c + |c|/2, or ±½ where c is 0.

    Source: Eilers and Marx (1996), for knots that go on beyond the data.
    """
    _check.option("spacing", spacing, ("uniform", "quantile"))
    _check.count("k", k, at_least=2)
    w = weights_or_ones(weights, x)
    w = jnp.where(w >= 0, w, jnp.nan)
    share = jnp.linspace(0, 1, k, dtype=x.dtype)
    between = jax.vmap(lambda c: _quantiles(c, w, share, spacing), 1, 1)(x)
    low, high = between[:1], between[-1:]
    width = jnp.where(low == 0, 1, jnp.abs(low))
    around = low + (share - 0.5)[:, None] * width
    between = jnp.where(low == high, around, between)
    low, high = between[:1], between[-1:]
    beyond = jnp.arange(1, degree + 1, dtype=x.dtype)[:, None]
    before = low - beyond[::-1] * (between[1:2] - low)
    after = high + beyond * (high - between[-2:-1])
    return jnp.concatenate([before, between, after])


def _quantiles(column, w, share, spacing: str):
    """Quantiles of a column, (m,), at shares, (k,), of w rows each."""
    order = jnp.argsort(jnp.where(w == 0, jnp.inf, column))
    values, count = column[order], jnp.cumsum(w[order])
    rank = share * jnp.maximum(count[-1] - 1, 0)  # among the repeated rows, from 0
    whole = jnp.floor(rank)

    def ranked(rank):
        place = jnp.searchsorted(count, jnp.minimum(rank, count[-1] - 1), side="right")
        return values[jnp.minimum(place, jnp.sum(w > 0) - 1)]

    low, high = ranked(whole), ranked(whole + 1)
    result = low + (rank - whole) * (high - low)
    if spacing == "uniform":
        result = result[0] + share * (result[-1] - result[0])
    wrong = jnp.isnan(column).any() | jnp.isnan(count[-1])
    return jnp.where(wrong, jnp.nan, result)


# --- features of kernels ------------------------------------------------------------


@_check.pure
def init_random_fourier(
    key: Key,
    *,
    n: Static[int],
    k: Count,
    gamma: NonNegative,
    kernel: Static[str] = "rbf",
) -> RandomFourier:
    """Draw ω, (n, k), from the spectrum of a kernel, and phases, (k,), in [0, 2π).

    Args:
        key: jax.random.key(seed).
        n: columns of the rows to come.
        k: how many waves.
        gamma: () the kernel's γ, in which ω is differentiable.
        kernel: "rbf", of normal ω with variance 2γ; or "laplacian", of Cauchy ω with
            scale γ.

    Source: Rahimi and Recht (2007), algorithm 1.
    """
    _check.option("kernel", kernel, ("rbf", "laplacian"))
    n = _check.count("n", n)
    gamma = jnp.asarray(gamma, jnp.result_type(float))
    wave, shift = jax.random.split(key)
    if kernel == "rbf":
        frequencies = jnp.sqrt(2 * gamma) * jax.random.normal(wave, (n, k), gamma.dtype)
    else:
        frequencies = gamma * jax.random.cauchy(wave, (n, k), gamma.dtype)
    phases = jax.random.uniform(shift, (k,), gamma.dtype, 0, 2 * jnp.pi)
    return RandomFourier(frequencies, phases)


@_check.pure
def random_fourier(params: RandomFourier, x: Rows) -> jax.Array:
    """z = √(2/k) cos(x ω + phase), (m, k), for the rows of x, (m, n); z·z' ≈ k(x, x').

    params hold k waves, made by init_random_fourier. The error of z·z' is of the order
    of 1/√k.
    """
    k = len(params.phases)
    angle = x @ params.frequencies
    return (2 / k) ** 0.5 * jnp.cos(angle + params.phases[None])


@_check.pure
def init_nystroem(
    key: Key,
    x: Rows,
    *,
    k: Count,
    kernel: Static[Kernel] = "rbf",
    gamma: NonNegative = 1.0,
    offset: Scalar = 1.0,
    weights: Weights | None = None,
) -> Nystroem:
    """Draw k rows of x, (m, n), as landmarks, without replacement, and whiten them.

    key is a key, (); rows are drawn in proportion to weights, (m,), of which k or more
    must be positive: else ValueError, or landmarks of NaN where traced. kernel, gamma
    and offset as in kernels.matrix.

    Source: Williams and Seeger (2000).
    """
    if k > len(x):
        raise ValueError(f"k must be at most m = {len(x)}, not {k}")
    w = weights_or_ones(weights, x)
    usable = jnp.sum(w > 0)
    if not isinstance(usable, jax.core.Tracer) and usable < k:
        raise ValueError(f"weights must be positive for k = {k} rows, not {usable}")
    share = jnp.where(w >= 0, w, jnp.nan) / jnp.sum(w)
    chosen = jax.random.choice(key, len(x), (k,), replace=False, p=share)
    landmarks = jnp.where(share[chosen][:, None] > 0, x[chosen], jnp.nan)
    return whitened(landmarks, kernel=kernel, gamma=gamma, offset=offset)


@_check.pure
def whitened(
    landmarks: Annotated[Array, "k n"],
    *,
    kernel: Static[Kernel] = "rbf",
    gamma: NonNegative = 1.0,
    offset: Scalar = 1.0,
) -> Nystroem:
    """K^(-1/2) of the landmarks, (k, n), by their eigenvectors; for `nystroem`.

    Landmarks may be rows of the data or, better, centres of k-means. Directions whose
    eigenvalue is lost in rounding, at most k ε of the largest, are left out: what is
    equal to others adds nothing. Differentiable in landmarks, gamma and offset also
    where eigenvalues coincide. kernel, gamma and offset as in kernels.matrix.
    """
    options: dict[str, Any] = {"kernel": kernel, "gamma": gamma, "offset": offset}
    matrix = kernels.matrix(landmarks, landmarks, **options)
    gamma, offset = (jnp.asarray(h, matrix.dtype) for h in (gamma, offset))
    return Nystroem(landmarks, _inverse_root(matrix), gamma, offset, kernel)


@_check.pure
def nystroem(params: Nystroem, x: Rows) -> jax.Array:
    """z = k(x, landmarks) K^(-1/2), (m, k), for the rows of x, (m, n); z·z' ≈ k(x, x').

    Between landmarks z·z' is k exactly. params are made by init_nystroem or whitened.
    """
    hyper: dict[str, Any] = {"gamma": params.gamma, "offset": params.offset}
    near = kernels.matrix(x, params.landmarks, kernel=params.kernel, **hyper)
    return near @ params.whitening


@jax.custom_jvp
def _inverse_root(matrix: jax.Array) -> jax.Array:
    """The symmetric pseudo-inverse root, (k, k), of a positive semi-definite matrix."""
    values, vectors, root = _roots(matrix)
    return _congruent(vectors, jnp.diag(root))


@_inverse_root.defjvp
@_check.precise
def _inverse_root_jvp(primals, tangents):
    """Daleckii and Krein (1965): the quotient of differences, f(λ) = λ^(-1/2).

    (f(λ_i) - f(λ_j)) / (λ_i - λ_j) = -f_i f_j / (√λ_i + √λ_j), which is as good where
    two eigenvalues coincide.
    """
    (matrix,), (tangent,) = primals, tangents
    values, vectors, root = _roots(matrix)
    f, other, kept = root[:, None], root[None], root > 0
    both = kept[:, None] & kept[None]
    # √λ = 1/f, so the quotient is -f² f'² / (f + f').
    quotient = -((f * other) ** 2) / jnp.where(both, f + other, 1)
    apart = kept[:, None] != kept[None]
    gap = jnp.where(apart, values[:, None] - values[None], 1)
    quotient = jnp.where(apart, (f - other) / gap, jnp.where(both, quotient, 0))
    moved = vectors.T @ (tangent @ vectors)
    primal = _congruent(vectors, jnp.diag(root))
    return primal, _congruent(vectors, quotient * moved)


def _roots(matrix):
    """λ, (k,), eigenvectors, (k, k), and λ^(-1/2), 0 where λ is lost in rounding."""
    values, vectors = jnp.linalg.eigh(matrix)
    kept = values > len(values) * jnp.finfo(values.dtype).eps * values[-1]
    root = jnp.where(kept, 1 / jnp.sqrt(jnp.where(kept, values, 1)), 0)
    return values, vectors, jnp.where(jnp.isnan(values), jnp.nan, root)


def _congruent(vectors, middle):
    """V M Vᵀ."""
    half = vectors @ middle
    return half @ vectors.T

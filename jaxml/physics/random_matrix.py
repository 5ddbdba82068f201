"""Random matrices: the null model of principal components (slides 2.1).

Of m rows of n independent entries of variance σ² the covariance has n eigenvalues, not
all σ²: with γ = n/m they fill the band σ²(1 ± √γ)² (Marchenko and Pastur 1967). What
stands above means something. A direction of variance ℓ σ² leaves the band at
ℓ = 1 + √γ, a phase transition (Baik, Ben Arous and Péché 2005): below it nothing can be
learned of the direction, above it the overlap with it rises from 0 like an order
parameter.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import Array, NonNegative, Positive, Rows, Static
from jaxml._units import per_square, unit_of
from jaxml.reduction._covariance import covariance

__all__ = [
    "Band",
    "Largest",
    "Significant",
    "bbp_eigenvalue",
    "bbp_overlap",
    "bbp_spike",
    "cumulative",
    "density",
    "edges",
    "hard_threshold",
    "largest",
    "median",
    "quantile",
    "shrink",
    "shrinkage",
    "significant_components",
    "singular_value",
    "wigner_eigenvalue",
    "wigner_overlap",
]

NARROW = 0.25  # √γ below which sums in closed form lose digits
TERMS = 30  # of their series there: 0.25^28 is below rounding
LOSSES = ("frobenius", "hard")
# The 99 % quantile of the distribution of Tracy and Widom (1996) for real matrices.
QUANTILE = 2.0234


class Band(NamedTuple):
    """Where the eigenvalues of noise lie."""

    low: jax.Array  # () σ²(1 - √γ)²
    high: jax.Array  # () σ²(1 + √γ)²


class Largest(NamedTuple):
    """How the largest eigenvalue of noise is distributed in finite data."""

    centre: jax.Array  # () (λ - centre) / scale has the law of Tracy and Widom
    scale: jax.Array  # ()


class Significant(NamedTuple):
    """How many principal components are more than noise."""

    number: jax.Array  # () int32
    noise: jax.Array  # () σ²
    edge: jax.Array  # () what noise exceeds with 1 %


# --- the law of Marchenko and Pastur --------------------------------------------------


@_check.pure
def edges(*, gamma: NonNegative, variance: Positive = 1.0) -> Band:
    """λ± = σ² (1 ± √γ)²: the ends of the band; gamma is γ = n/m and variance σ²."""
    return _edges(gamma, variance)


@_check.pure
def density(x: Array, *, gamma: NonNegative, variance: Positive = 1.0) -> jax.Array:
    """ρ(x) = √((λ₊ - x)(x - λ₋)) / (2π σ² γ x), of x's shape (...), 0 outside the band.

    For γ > 1 a share 1 - 1/γ of the eigenvalues is 0 besides, so that ρ integrates to
    1/γ.

    Args:
        x: (...) eigenvalues.
        gamma: () γ = n/m, above 0.
        variance: () σ².

    Source: Marchenko and Pastur (1967).

    """
    low, high = _edges(gamma, variance)
    valued = ((x > low) & (x < high)) | jnp.isnan(x) | jnp.isnan(high)
    x = jnp.where(valued, x, variance * (1 + gamma))
    root = jnp.sqrt((high - x) * (x - low))
    return jnp.where(valued, root / (2 * jnp.pi * variance * gamma * x), 0)


@_check.pure
def cumulative(x: Array, *, gamma: NonNegative, variance: Positive = 1.0) -> jax.Array:
    """F(x) = ∫₀ˣ ρ, of x's shape (...), with the share 1 - 1/γ at 0 where γ > 1.

    With x = σ²(1 + γ + 2√γ cos θ) and r = min(√γ, 1/√γ)

    1 - F = min(1, 1/γ) (θ - r sin θ - (1 - r²) Σ_{j>=2} (-r)^(j-2) sin(jθ)/j) / π.

    x, gamma and variance as in `density`.
    """
    low, high = _edges(gamma, variance)
    inside = (x > low) & (x < high)
    y = jnp.where(inside, x / variance, 1 + gamma)
    cosine = (y - 1 - gamma) / (2 * jnp.sqrt(gamma))
    # In the band, but for rounding; its ends have no angle's derivative.
    angle = jnp.arccos(jnp.clip(cosine, -1 + _eps(y), 1 - _eps(y)))
    least = jnp.where(x < 0, 0, 1 - _share(gamma))
    outside = jnp.where(x >= high, 1, least)
    value = jnp.where(inside, 1 - _share(gamma) * _above(angle, gamma), outside)
    return jnp.where(jnp.isnan(x) | jnp.isnan(high), jnp.nan, value)


@_check.pure
def quantile(p: Array, *, gamma: NonNegative, variance: Positive = 1.0) -> jax.Array:
    """x with F(x) = p, of p's shape (...): the inverse of `cumulative`.

    Args:
        p: (...) shares between 0 and 1, NaN outside; 0 is the quantile of a share that
            lies in the zeros of γ > 1.
        gamma: () γ = n/m, above 0.
        variance: () σ².

    """
    share = _share(gamma)
    fraction = (1 - p) / share  # of the band, above x
    zero = fraction > 1
    fraction = jnp.where(zero, 0.5, fraction)
    angle = jax.lax.stop_gradient(_angle(fraction, gamma))
    # A step of Newton from the root has its derivative; its value is rounding.
    derivative = _above_derivative(angle, jax.lax.stop_gradient(gamma))
    step = (_above(angle, gamma) - fraction) / jnp.where(derivative > 0, derivative, 1)
    angle -= step - jax.lax.stop_gradient(step)
    x = _positive(variance) * (1 + gamma + 2 * jnp.sqrt(gamma) * jnp.cos(angle))
    valid = (p >= 0) & (p <= 1)
    return jnp.where(valid, jnp.where(zero, 0, x), jnp.nan)


@_check.pure
def median(*, gamma: NonNegative, variance: Positive = 1.0) -> jax.Array:
    """x with F(x) = ½, (): `quantile` for gamma and variance, as in `density`."""
    return _positive(variance) * _median(jnp.asarray(gamma))


def _median(gamma: jax.Array) -> jax.Array:
    return quantile(jnp.full_like(gamma, 0.5), gamma=gamma)


def _edges(gamma, variance=1.0) -> Band:
    # What is public casts its arguments to the widest float where it has no array.
    variance, root = _positive(variance), jnp.sqrt(gamma)
    return Band(variance * (1 - root) ** 2, variance * (1 + root) ** 2)


def _positive(variance):
    """σ², NaN where a trace let in what is none."""
    return jnp.where(variance > 0, variance, jnp.nan)


def _eps(x) -> float:
    return float(jnp.finfo(x.dtype).eps)


def _share(gamma):
    """The part of the eigenvalues that is not 0."""
    _check.values("gamma", gamma, "(0, inf)")
    return jnp.minimum(1, 1 / gamma)


def _above(angle, gamma):
    """The part of the band above θ = angle."""
    r = jnp.sqrt(jnp.minimum(gamma, 1 / gamma))
    narrow = r < NARROW

    def series(r):
        powers, total = jnp.ones_like(r), jnp.zeros_like(angle)
        for j in range(2, TERMS):
            total += powers * jnp.sin(j * angle) / j
            powers *= -r
        return total

    def closed(r):
        # Im of (r e^iθ - log(1 + r e^iθ)) / r²
        sine = r * jnp.sin(angle)
        turn = 2 * jnp.arctan2(
            (1 - r) * jnp.sin(angle / 2), (1 + r) * jnp.cos(angle / 2)
        )
        return (sine - (angle - turn) / 2) / r**2

    total = jnp.where(
        narrow, series(jnp.where(narrow, r, 0)), closed(jnp.where(narrow, 1, r))
    )
    return (angle - r * jnp.sin(angle) - (1 - r**2) * total) / jnp.pi


def _above_derivative(angle, gamma):
    """The derivative of `_above` in the angle, which is never below 0."""
    r = jnp.sqrt(jnp.minimum(gamma, 1 / gamma))
    # 1 + r² + 2 r cos θ without cancellation at θ = π
    length = (1 - r) ** 2 + 4 * r * jnp.cos(angle / 2) ** 2
    sine = jnp.sin(angle) ** 2
    return 2 / jnp.pi * sine / jnp.where(sine > 0, length, 1)


def _angle(fraction, gamma):
    """The angle above which the band has this part, by halving."""

    def halve(_, ends):
        low, high = ends
        middle = (low + high) / 2
        less = _above(middle, gamma) < fraction
        return jnp.where(less, middle, low), jnp.where(less, high, middle)

    shape = jnp.broadcast_shapes(jnp.shape(fraction), jnp.shape(gamma))
    low = jnp.zeros(shape, fraction.dtype)
    steps = 3 + jnp.finfo(fraction.dtype).nmant
    ends = jax.lax.fori_loop(0, steps, halve, (low, jnp.full_like(low, jnp.pi)))
    return (ends[0] + ends[1]) / 2


# --- a spike in noise -----------------------------------------------------------------


@_check.pure
def bbp_eigenvalue(
    spike: Array, *, gamma: NonNegative, variance: Positive = 1.0
) -> jax.Array:
    """λ = σ² ℓ (1 + γ/(ℓ - 1)) for ℓ > 1 + √γ, else the edge σ²(1 + √γ)², (...).

    What a direction of variance ℓ σ² has for its eigenvalue in m rows.

    Args:
        spike: (...) ℓ, variances in the population, in units of σ².
        gamma: () γ = n/m.
        variance: () σ² of all other directions.

    Source: Baik, Ben Arous and Péché (2005); Baik and Silverstein (2006).

    """
    out, ell = _out(spike, 1 + jnp.sqrt(gamma))
    edge = _edges(gamma).high
    value = jnp.where(out, ell * (1 + gamma / (ell - 1)), edge)
    return _positive(variance) * _known(spike, value)


@_check.pure
def bbp_overlap(spike: Array, *, gamma: NonNegative) -> jax.Array:
    """cos² = (1 - γ/(ℓ - 1)²) / (1 + γ/(ℓ - 1)) for ℓ > 1 + √γ, else 0, (...).

    The squared overlap of the direction that is found with the true one; spike, ℓ, and
    gamma, γ, as in `bbp_eigenvalue`.

    Source: Paul (2007); Benaych-Georges and Nadakuditi (2011).
    """
    out, ell = _out(spike, 1 + jnp.sqrt(gamma))
    above = ell - 1
    value = (1 - gamma / above**2) / (1 + gamma / above)
    return _known(spike, jnp.where(out, value, 0))


@_check.pure
def bbp_spike(
    eigenvalue: Array, *, gamma: NonNegative, variance: Positive = 1.0
) -> jax.Array:
    """ℓ = ½ (b + √(b² - 4λ)), b = λ + 1 - γ: the inverse of `bbp_eigenvalue`, (...).

    Args:
        eigenvalue: (...) σ² λ, of the covariance of the rows. Up to the edge of the
            band there is no telling: NaN.
        gamma: () γ = n/m.
        variance: () σ².

    """
    value = eigenvalue / _positive(variance)
    out, value = _out(value, _edges(gamma).high)
    b = value + 1 - gamma
    # b² - 4λ, as a product that loses no digits at the edge
    root = jnp.sqrt(gamma)
    square = (value - (1 + root) ** 2) * (value - (1 - root) ** 2)
    return jnp.where(out, (b + jnp.sqrt(square)) / 2, jnp.nan)


@_check.pure
def wigner_eigenvalue(strength: Array) -> jax.Array:
    """λ + 1/λ for λ > 1, else 2, (...): the largest eigenvalue of λ v vᵀ + G.

    G is symmetric, (n, n), its entries of variance 1/n, and strength is λ, (...). The
    band of G is [-2, 2].

    Source: Féral and Péché (2007).
    """
    out, value = _out(strength, jnp.ones_like(strength))
    return _known(strength, jnp.where(out, value + 1 / value, 2))


@_check.pure
def wigner_overlap(strength: Array) -> jax.Array:
    """cos² = 1 - 1/λ² for λ > 1, else 0, (...), of the first eigenvector with v.

    strength is λ, (...), as in `wigner_eigenvalue`.
    """
    out, value = _out(strength, jnp.ones_like(strength))
    return _known(strength, jnp.where(out, 1 - 1 / value**2, 0))


@_check.pure
def singular_value(strength: Array, *, gamma: NonNegative) -> jax.Array:
    """y = √((1 + x²)(γ + x²)) / x for x > γ^¼, else 1 + √γ, (...).

    The largest singular value of x u vᵀ + G, (m, n), u and v of length 1, the entries
    of G of variance 1/m.

    Args:
        strength: (...) x.
        gamma: () γ = n/m.

    Source: Benaych-Georges and Nadakuditi (2012).

    """
    root = jnp.sqrt(gamma)
    out, x = _out(strength, jnp.sqrt(root))
    value = jnp.sqrt((1 + x**2) * (gamma + x**2)) / x
    return _known(strength, jnp.where(out, value, 1 + root))


def _out(value, threshold):
    """Which values are above a threshold, and values that are safe to compute with."""
    out = value > threshold
    return out, jnp.where(out, value, threshold + 1)


def _known(source, value):
    """The value, NaN where what it was made of is NaN."""
    return jnp.where(jnp.isnan(source), jnp.nan, value)


# --- shrinkage of singular values -----------------------------------------------------


@_check.pure
def hard_threshold(*, gamma: NonNegative) -> jax.Array:
    """√(2(γ + 1) + 8γ / (γ + 1 + √(γ² + 14γ + 1))), (): 4/√3 for γ = 1.

    The singular value from which it is best to keep a component as it is, the entries
    of the noise having variance 1/m; gamma is γ = n/m, 1 at most. For entries of
    variance σ², multiply by √m σ; where σ is unknown `shrink` estimates it.

    Source: Gavish and Donoho (2014), equation 11.
    """
    return _hard_threshold(gamma)


def _hard_threshold(gamma):
    root = jnp.sqrt(gamma**2 + 14 * gamma + 1)
    return jnp.sqrt(2 * (gamma + 1) + 8 * gamma / (gamma + 1 + root))


@_check.pure
def shrinkage(
    y: Array, *, gamma: NonNegative, loss: Static[str] = "frobenius"
) -> jax.Array:
    """η(y) = √((y² - γ - 1)² - 4γ) / y for y > 1 + √γ, else 0, (...).

    What is best put in the place of a singular value y of signal and noise, the entries
    of the noise having variance 1/m.

    Args:
        y: (...) singular values.
        gamma: () γ = n/m, at most 1 for "hard".
        loss: "frobenius": the formula, which has the least squared error of all;
            "hard": y itself above `hard_threshold`, else 0.

    Raises:
        ValueError: an unknown loss.

    Source: Gavish and Donoho (2017), equation 7; (2014) for "hard".

    """
    _check.option("loss", loss, LOSSES)
    if loss == "hard":
        return _known(y, jnp.where(y > _hard_threshold(gamma), y, 0))
    low, high = _edges(gamma)
    out, value = _out(y, jnp.sqrt(high))
    square = (value**2 - high) * (value**2 - low)
    return _known(y, jnp.where(out, jnp.sqrt(square) / value, 0))


@_check.pure
def shrink(
    x: Rows, *, sigma: Positive | None = None, loss: Static[str] = "frobenius"
) -> jax.Array:
    """Σᵢ √m σ η(yᵢ / √m σ) uᵢ vᵢᵀ, (m, n): x without its noise.

    Args:
        x: (m, n) signal of low rank, and noise; nothing is centred.
        sigma: () σ of the noise's entries; from the median singular value if None,
            which must not be 0, or all is NaN.
        loss: as in `shrinkage`.

    Raises:
        ValueError: an unknown loss, x that is not (m, n) or not finite.

    Source: Gavish and Donoho (2014, 2017).

    """
    _check.option("loss", loss, LOSSES)
    m, n = x.shape
    if m < n:
        return shrink(x.T, sigma=sigma, loss=loss).T
    u, s, vt = jnp.linalg.svd(x, full_matrices=False)
    gamma = jnp.asarray(n / m, x.dtype)
    if sigma is None:
        unit = jnp.median(s) / jnp.sqrt(_median(gamma))
    else:
        unit = m**0.5 * sigma
    kept = unit * shrinkage(s / unit, gamma=gamma, loss=loss)
    return (u * kept[None]) @ vt


@_check.pure
def largest(
    *, rows: Static[int], columns: Static[int], variance: Positive = 1.0
) -> Largest:
    """σ²(√(m-1) + √n)²/m and σ²(√(m-1) + √n)(1/√(m-1) + 1/√n)^⅓/m: Largest.

    Centre and scale of the largest eigenvalue of the covariance of noise.

    Args:
        rows: m, above 1.
        columns: n.
        variance: () σ².

    Raises:
        ValueError: rows or columns that are too few.

    Source: Johnstone (2001), theorem 1.1.

    """
    m = _check.count("rows", rows, at_least=2)
    n = _check.count("columns", columns)
    return _largest(m, n, _positive(variance))


def _largest(m: int, n: Any, variance: jax.Array) -> Largest:
    left, right = (m - 1) ** 0.5, n**0.5
    scale = (left + right) * (1 / left + 1 / right) ** (1 / 3) / m
    return Largest(variance * ((left + right) ** 2 / m), variance * scale)


@_check.pure
def significant_components(x: Rows, *, variance: Positive | None = None) -> Significant:
    """#{i : λᵢ > centre + 2.02 scale}: how many eigenvalues noise does not explain.

    λ are those of the covariance of the rows about their mean, and centre and scale
    those of `largest`: the edge of the band, and a margin that noise alone exceeds with
    1 %. Columns that are constant do not count among the n, and eigenvalues that are 0
    but for rounding are no components.

    Args:
        x: (m, n) rows, at least 3.
        variance: () σ² of the noise; from the median eigenvalue if None, which takes
            components that matter to be few. Where half of them are 0 there is no
            noise.

    Raises:
        ValueError: x of less than 3 rows, not (m, n) or not finite.

    """
    m, n = x.shape
    if m < 3:
        raise ValueError(f"x has {m} rows: the edge of a band needs at least 3")
    # From the first row constant columns are 0, and in units of the largest entry, by
    # a power of two, no square is lost.
    x = x - x[:1]
    varies = jnp.any(x != 0, axis=0)
    unit = unit_of(x)
    x = x / unit
    centre, matrix = covariance(x, None)
    if n < m:
        values = jnp.linalg.eigvalsh(matrix)
    else:
        y = x - centre[None]
        values = jnp.linalg.eigvalsh((y @ y.T) / m)[1:]  # the mean took one
    free = m - 1
    rounding = 10 * max(m, n) ** 0.5 * _eps(x) * values[-1]
    values = jnp.where(values <= rounding, 0, values) * (m / free)
    columns = jnp.maximum(jnp.sum(varies), 1).astype(x.dtype)
    if variance is None:
        # Those above 0 have the band of γ or, for more columns than rows, of 1/γ.
        gamma = columns / free
        middle = _middle(values, jnp.minimum(columns, free))
        median_ = _median(jnp.minimum(gamma, 1 / gamma))
        noise = middle / (jnp.maximum(1, gamma) * median_)
    else:
        noise = _known(values[-1], _positive(jnp.asarray(variance, x.dtype)))
        noise = per_square(noise, unit)
    centre, scale = _largest(free, columns, noise)
    edge = centre + QUANTILE * scale
    number = jnp.sum((values > edge) & (values > rounding)).astype(jnp.int32)
    return Significant(number, noise * unit * unit, edge * unit * unit)


def _middle(values, count):
    """The median of the last of rising values, as many as count says."""
    first = len(values) - count.astype(jnp.int32)
    last = len(values) - 1
    return (values[(first + last) // 2] + values[(first + last + 1) // 2]) / 2

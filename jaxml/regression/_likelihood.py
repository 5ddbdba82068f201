"""What a likelihood says about the coefficients that maximise it."""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from jaxml._rows import with_ones
from jaxml.regression._frame import Frame, frame_of, standard
from jaxml.regression._linear_loss import Loss, average, problem
from jaxml.regression._student import chi2
from jaxml.regression._table import Table, table


class Centred(NamedTuple):
    """The covariance of w and of w·x + b at a point amid the rows, free of units."""

    # of w and, last, of w·centre + b, over the units
    covariance: Annotated[jax.Array, "n n|n+1 n+1"]
    centre: Annotated[jax.Array, "n"]  # the point; 0 without an intercept
    unit: Annotated[jax.Array, "n|n+1"]  # the units


def centred(
    loss: Loss, params, x, y, weights, l2, intercept: bool, frequencies=None
) -> Centred:
    """(Σ w · ∂²J/∂θ²)⁻¹ amid the rows, where w and z hardly depend on each other.

    With frequencies, (m,), of rows whose losses have these weights, the sandwich of
    that and the sum of the squared gradients, for a model that need not be true.
    """
    scale = frame_of(x, weights, l2, intercept).scale
    centre = average(x, weights) if intercept else jnp.zeros_like(x[0])
    frame = Frame(centre, scale)
    theta = params.w * scale
    if intercept:
        theta = jnp.append(theta, params.b + centre @ params.w)
    hessian = problem(loss, x, y, weights, frame, l2, intercept).whole(theta)[2]
    inverse = jnp.linalg.inv(jnp.sum(weights) * hessian)
    if frequencies is not None:
        a = with_ones(standard(x, frame), intercept)
        _, r, _ = loss.derivatives(a @ theta, y, weights)
        squares = r**2 / jnp.where(frequencies > 0, frequencies, 1)
        inverse = inverse @ ((a * squares[:, None]).T @ a) @ inverse
    unit = jnp.append(1 / scale, jnp.ones(intercept, x.dtype))
    return Centred(inverse, centre, unit)


def moved(about: Centred, shift) -> jax.Array:
    """The covariance of w and of z at centre + shift, over the units, (p, p)."""
    n = len(about.centre)
    if len(about.covariance) == n:
        return about.covariance
    along = shift * about.unit[:n] / about.unit[n]
    move = jnp.eye(n + 1, dtype=along.dtype).at[n, :n].set(along)
    return move @ about.covariance @ move.T


def variance(about: Centred, x) -> jax.Array:
    """That of w·x + b, (m,), for the rows of x, (m, n)."""
    a = (x - about.centre[None]) * about.unit[: x.shape[1]][None]
    if len(about.covariance) > x.shape[1]:
        a = jnp.concatenate([a, jnp.broadcast_to(about.unit[-1], (len(x), 1))], axis=1)
    return jnp.sum((a @ about.covariance) * a, axis=1)


def wald_table(params, about: Centred, intercept: bool, confidence, make) -> Table:
    """The Table of params by the normal distribution; make(w, b) gives its Params."""
    n = len(params.w)
    nan = jnp.full((), jnp.nan, params.w.dtype)
    return table(
        jnp.append(params.w, params.b) if intercept else params.w,
        moved(about, -about.centre),
        jax.scipy.special.ndtri(0.5 + 0.5 * confidence),
        lambda z: 2 * jax.scipy.special.ndtr(-jnp.abs(z)),
        lambda theta: make(theta[:n], theta[-1] if intercept else nan),
        unit=about.unit,
    )


class Criteria(NamedTuple):
    """A likelihood, held against that of the best constant."""

    log_likelihood: jax.Array  # ()
    null: jax.Array  # ()
    pseudo_r2: jax.Array  # () 1 - log_likelihood / null (McFadden 1974)
    aic: jax.Array  # () 2p - 2 log L
    bic: jax.Array  # () p log Σ wᵢ - 2 log L
    ratio: jax.Array  # () 2 (log L - null), a χ² of n if all weights were 0
    ratio_p: jax.Array  # () p-value of the ratio


def criteria(likelihood, null, n: int, intercept: bool, seen) -> Criteria:
    """Criteria of n columns and so many rows seen, Σ wᵢ, ()."""
    ratio, p = 2 * (likelihood - null), n + intercept
    return Criteria(
        likelihood,
        null,
        1 - likelihood / null,
        2 * p - 2 * likelihood,
        p * jnp.log(seen) - 2 * likelihood,
        ratio,
        chi2(ratio, jnp.asarray(n, ratio.dtype)),
    )


def wald(params, about: Centred, contrasts) -> tuple[jax.Array, jax.Array]:
    """W = (Cw)ᵀ (C cov(w) Cᵀ)⁻¹ Cw, () and its p-value, (), for C, (r, n)."""
    n = params.w.size
    covariance, unit = about.covariance[:n, :n], about.unit[:n]
    c = contrasts * unit[None]
    size = jnp.max(jnp.abs(c), axis=1)
    size = jnp.where(size > 0, size, 1)
    c = c / size[:, None]
    value = c @ (params.w / unit)
    w = jnp.vdot(value, jnp.linalg.solve(c @ covariance @ c.T, value))
    return w, chi2(w, jnp.asarray(len(contrasts), w.dtype))

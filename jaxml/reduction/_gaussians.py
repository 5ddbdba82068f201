"""Gaussians in the form that densities need, and the sums that EM takes over rows."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Gaussian(NamedTuple):
    """One of them, or all on a leading axis, in the form that densities need."""

    level: jax.Array  # () log π - log √|2πΣ|
    mean: jax.Array  # (n,) μ
    whiten: jax.Array  # W with WᵀW = Σ⁻¹: (n, n), or its diagonal (n,)


def log_density(gaussian: Gaussian, x):
    """log π N(xᵢ; μ, Σ), (rows,), by differences from μ: right wherever it lies."""
    z = times(gaussian.whiten, x - gaussian.mean[None])
    return gaussian.level - 0.5 * jnp.sum(z * z, axis=1)


def times(whiten, y):
    """W y for each of the rows of y, (rows, n)."""
    return y @ whiten.T if whiten.ndim == 2 else y * whiten[None]


class Sums(NamedTuple):
    """What EM needs to know of the rows; y = x - a point, (k, n), near them."""

    counts: jax.Array  # (k,) N = Σ wᵢ γ_ik
    first: jax.Array  # (k, n) Σ wᵢ γ_ik y
    second: jax.Array  # (k, n, n) or (k, n): Σ wᵢ γ_ik y yᵀ, or its diagonal


def by_products(gaussians: Gaussian, origin, careful):
    """log π_k N(x) = F(x)·θ_k with F = [products of y, y, 1]: two products a block.

    y = x - origin. Those Gaussians that are careful are done anew, one by one.
    """
    level, means, whiten = gaussians
    n, paired = means.shape[1], whiten.ndim == 3
    means = means - origin[None]
    if paired:
        precision = jnp.swapaxes(whiten, 1, 2) @ whiten
        linear = jnp.einsum("kij,kj->ki", precision, means)
        # Each pair of columns stands once in F, and twice in the quadratic form.
        twice = precision - 0.5 * precision * jnp.eye(n, dtype=precision.dtype)[None]
        quadratic = -jnp.concatenate([twice[:, i, i:] for i in range(n)], axis=1)
    else:
        precision = whiten * whiten
        linear = precision * means
        quadratic = -0.5 * precision
    level = level - 0.5 * jnp.sum(linear * means, axis=1)
    theta = jnp.concatenate([quadratic, linear, level[:, None]], axis=1)
    order = jnp.flatnonzero(careful, size=len(careful))
    count = jnp.sum(careful, dtype=jnp.int32)

    def corrected(result, one):
        """Found, of which the first axis is that of the Gaussians, with one(k)."""

        def put(i, result):
            k = order[i]
            return jax.tree.map(lambda f, o: f.at[k].set(o), result, one(k))

        return jax.lax.fori_loop(0, count, put, result)

    def sums(x, w):
        y = x - origin[None]
        # Slice by slice: a gather of columns is slow to compile.
        pairs = [y[:, i : i + 1] * y[:, i:] for i in range(n)] if paired else []
        squares = pairs or [y * y]
        features = jnp.concatenate([*squares, y, jnp.ones_like(y[:, :1])], axis=1)
        of = lambda k: jax.tree.map(lambda leaf: leaf[k], gaussians)
        log_joint = corrected(theta @ features.T, lambda k: log_density(of(k), x))
        gamma, value = responsibilities(log_joint)
        gamma = gamma * w[None]
        result = gamma @ features
        second = result[:, : -n - 1]
        if paired:
            second = unfolded(second, n)
        moments = result[:, -n - 1 : -1], second
        one = lambda k: moments_of((gaussians.mean[k], gamma[k]), x, paired)
        return Sums(result[:, -1], *corrected(moments, one)), jnp.vdot(w, value)

    return sums


def moments_of(one, x, paired):
    """Σ pᵢ yᵢ, (n,), and Σ pᵢ yᵢ yᵢᵀ, (n, n), or its diagonal, for y = x - μ."""
    mean, p = one  # (n,) and (rows,)
    y = x - mean[None]
    weighted = y * p[:, None]
    second = weighted.T @ y if paired else jnp.sum(weighted * y, axis=0)
    return jnp.sum(weighted, axis=0), second


def unfolded(pairs, n):
    """The symmetric (k, n, n) whose upper triangle stands in pairs, (k, n(n+1)/2)."""
    starts = [0]
    for i in range(n):
        starts.append(starts[-1] + n - i)
    rows = [
        jnp.pad(pairs[:, starts[i] : starts[i + 1]], ((0, 0), (i, 0))) for i in range(n)
    ]
    upper = jnp.stack(rows, axis=1)
    return upper + jnp.swapaxes(jnp.triu(upper, 1), 1, 2)


def one_by_one(gaussians: Gaussian):
    """The same by differences from each mean."""
    paired = gaussians.whiten.ndim == 3

    def sums(x, w):
        gamma, value = responsibilities(
            jax.lax.map(lambda g: log_density(g, x), gaussians)
        )
        gamma = gamma * w[None]
        first, second = jax.lax.map(
            lambda one: moments_of(one, x, paired), (gaussians.mean, gamma)
        )
        return Sums(jnp.sum(gamma, axis=1), first, second), jnp.vdot(w, value)

    return sums


def responsibilities(log_joint):
    """γ, (k, rows), and log p, (rows,)."""
    largest = jnp.max(log_joint, axis=0, keepdims=True)
    gamma = jnp.exp(log_joint - largest)
    norm = jnp.sum(gamma, axis=0, keepdims=True)
    return gamma / norm, (largest + jnp.log(norm))[0]

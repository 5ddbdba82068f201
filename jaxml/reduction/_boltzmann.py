"""The rows of `annealing` as systems whose levels are the centres: sums over them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxml._rows import total
from jaxml.physics import statmech

HUGE = 2.0**30  # in units of the largest entry that counts


class Clusters(NamedTuple):
    """Sums over the rows of each cluster, of rows measured from its centre."""

    counts: jax.Array  # (k,) Σ wᵢ P(k | xᵢ)
    first: jax.Array  # (k, n) Σ wᵢ P (xᵢ - y)
    second: Any  # (k, n, n) Σ wᵢ P (xᵢ - y)(xᵢ - y)ᵀ
    free_energy: jax.Array  # () Σ wᵢ Fᵢ


def energies(params, x):
    """|xᵢ - y_k|², (rows, k), from differences: exact where they are small."""

    def one(centre):
        return jnp.sum((x - centre[None]) ** 2, axis=1)

    return jax.lax.map(one, params.centres).T


def in_units(x, unit):
    """Rows in units of their largest entry; one of weight 0 may be larger, to a point.

    Beyond it 0 times its square would not be 0.
    """
    return jnp.clip(x / unit, -HUGE, HUGE)


def levels(observable, params, x, temperature):
    """An observable of statmech for each row."""

    def of(energies):
        more = {"temperature": temperature, "degeneracies": params.shares}
        return observable(energies, **more)

    return jax.vmap(of)(energies(params, x))


def clusters(params, x, w, temperature, second=False, unit=1) -> Clusters:
    """Sums over the rows of each cluster; the second moments only where asked for.

    params and temperature are in units, x is not yet.
    """

    def sums(x, w):
        x = in_units(x, unit)
        p = levels(statmech.boltzmann, params, x, temperature) * w[:, None]
        energy = levels(statmech.free_energy, params, x, temperature)

        def one(cluster):
            centre, p = cluster
            y = x - centre[None]
            return p @ y, (y * p[:, None]).T @ y if second else None

        first, outer = jax.lax.map(one, (params.centres, p.T))
        return Clusters(jnp.sum(p, axis=0), first, outer, jnp.vdot(w, energy))

    return total(sums, x, w)


def covariances(result: Clusters):
    """The covariance of the rows of each cluster, (k, n, n), about their mean."""
    counts = jnp.where(result.counts == 0, 1, result.counts)
    offset = result.first / counts[:, None]
    outer = offset[:, :, None] * offset[:, None, :]
    return result.second / counts[:, None, None] - outer

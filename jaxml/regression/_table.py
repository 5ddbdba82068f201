"""The table of a regression: what each coefficient is worth."""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxml.regression import _refined

REFINED = 1e6  # m p² up to which covariances are refined too


class Table(NamedTuple):
    """Standard errors and what follows from them; Params as the model has them."""

    standard_error: Any  # Params
    statistic: Any  # Params, t or z: coefficient over standard error
    p: Any  # Params, p-value of the statistic, if the coefficient were 0
    low: Any  # Params, the lower end of the confidence interval
    high: Any  # Params, the upper end
    # of the coefficients, b last; one of each target
    covariance: Annotated[jax.Array, "n n|n+1 n+1|t n n|t n+1 n+1"]


def table(theta, covariance, critical, tail, split, unit=1.0) -> Table:
    """The Table of coefficients θ, (p,), with their covariance, (p, p).

    critical, (), is the statistic at the ends of an interval, tail(statistic) its p,
    and split(θ) gives Params. unit, (p,), are units in which the covariance is given:
    its squares need not be numbers where those of the errors are not.
    """
    unit = jnp.broadcast_to(jnp.asarray(unit, theta.dtype), theta.shape)
    error = unit * jnp.sqrt(jnp.diagonal(covariance))
    statistic = theta / error
    return Table(
        standard_error=split(error),
        statistic=split(statistic),
        p=split(tail(statistic)),
        low=split(theta - critical * error),
        high=split(theta + critical * error),
        covariance=covariance * jnp.outer(unit, unit),
    )


class Rows(NamedTuple):
    """What the rows of a design say about its coefficients."""

    inverse: jax.Array  # (p, p) (AᵀA)⁻¹
    influence: jax.Array  # (m, p) A (AᵀA)⁻¹: how each row moves the coefficients
    leverage: jax.Array  # (m,) diagonal of the projection on the columns


def rows(a: jax.Array) -> Rows:
    """Rows of a design A, (m, p), by its factors."""
    factors = _refined.factorise(a)
    p = len(factors.r)
    root = jax.scipy.linalg.solve_triangular(factors.r, jnp.eye(p, dtype=a.dtype))
    if a.shape[0] * p**2 <= REFINED:
        inverse = _refined.inverse_gram(factors)
    else:
        inverse = (root @ root.T) / jnp.outer(factors.scale, factors.scale)
    influence = (factors.q @ root.T) / factors.scale[None]
    return Rows(inverse, influence, jnp.sum(factors.q**2, axis=1))


def residual(a: jax.Array, theta: jax.Array, y: jax.Array) -> jax.Array:
    """y - A θ, (m,), in twice the precision where there are few rows."""
    if a.shape[0] * a.shape[1] ** 2 <= REFINED:
        return _refined.residual(a, theta, y, jnp.zeros_like(y))
    return y - a @ theta

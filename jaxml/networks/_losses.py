"""What follows the last layer: outputs, losses and their errors, and the penalty."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import _check
from jaxml.networks import neuron

# The outputs each loss can follow. Cross-entropy and log-likelihood are computed from
# z, where they lose no digits.
LOSSES = {
    "quadratic": ("sigmoid", "tanh", "relu", "softplus", "linear", "softmax"),
    "cross-entropy": ("sigmoid",),
    "log-likelihood": ("softmax",),
}
SLACK, OFF = 1e-6, 1e-2  # what rounding may do to a target, and to a row's sum


# --- the output ----------------------------------------------------------------------


def output_function(output):
    """g of the last layer, which "softmax" is too."""
    if output == "softmax":
        return jax.nn.softmax
    return neuron.named(output, "output").function


def output_slope(a, output):
    """g' of the last layer, as a function of a, unit by unit."""
    if output == "softmax":  # the diagonal of the Jacobian, ∂a_k/∂z_k
        return a * (1 - a)
    return neuron.named(output, "output").slope(a)


def check_loss(loss, output) -> None:
    """Refuse a loss that is unknown, or that this output is not for."""
    outputs = LOSSES[_check.option("loss", loss, LOSSES)]
    if isinstance(output, neuron.Activation) and loss == "quadratic":
        return
    try:
        _check.option("output", output, outputs)
    except ValueError as error:
        raise ValueError(f"{error}, with loss {loss!r}") from None


# --- targets -------------------------------------------------------------------------


def check_targets(given: dict[str, Any]) -> None:
    """Refuse targets, where they are concrete, that the loss is not for."""
    loss, y, weights = given["params"].loss, given["y"], given.get("weights")
    if loss not in LOSSES or not _are_concrete(y, weights):
        return
    y = np.asarray(y)
    wrong = np.flatnonzero(invalid_rows(y, loss, weights, np))
    if len(wrong):
        kind = {
            "cross-entropy": "lie in [0, 1]",
            "log-likelihood": "hold distributions, not negative and of sum 1,",
        }[loss]
        where = f"row {wrong[0]} holds {y[wrong[0]]}"
        raise ValueError(f"y must {kind} for loss {loss!r}; {where}")


def _are_concrete(*arrays) -> bool:
    return all(_check.concrete(a) for a in arrays if a is not None)


def invalid_rows(y, loss, weights, xp):
    """The rows of y, (m, s_L), that are no targets of the loss, (m,); NaN is none.

    Rows of weight 0 may hold anything.
    """
    if loss == "quadratic":
        return xp.zeros(len(y), bool)
    beyond = ((y < -SLACK) | (y > 1 + SLACK)).any(axis=1)
    if loss == "log-likelihood":
        beyond = beyond | (abs(y.sum(axis=1) - 1) > OFF)
    return beyond if weights is None else beyond & (xp.asarray(weights) > 0)


def check_units(a: jax.Array, y: jax.Array) -> None:
    """Refuse targets that are not as many as outputs."""
    if y.shape != a.shape:
        where = "m = {}, s_L = {}".format(*a.shape)
        raise ValueError(f"y has shape {y.shape}, not (m, s_L) where {where}")


def targets(a: jax.Array, y: jax.Array, loss, weights=None) -> jax.Array:
    """y for the outputs a, NaN in rows that are possible only under tracing."""
    check_units(a, y)
    if loss == "quadratic" or _are_concrete(y, weights):
        return y
    return jnp.where(invalid_rows(y, loss, weights, jnp)[:, None], jnp.nan, y)


# --- the loss, and its error ----------------------------------------------------------


def mean_loss(z, a, y, loss, weights) -> jax.Array:
    """Σ wᵢ Cᵢ / Σ wᵢ, (), for z and a of the last layer."""
    if loss == "quadratic":
        each = 0.5 * (a - y) ** 2
    elif loss == "cross-entropy":
        each = jax.nn.softplus(z) - y * z
    else:
        each = -y * jax.nn.log_softmax(z)
    rows = jnp.sum(each, axis=1)
    if weights is None:
        return jnp.mean(rows)
    return jnp.vdot(weights, rows) / total_weight(weights)


def total_weight(weights):
    """Σ w, and 1 for a batch in which no row has weight: its mean is 0."""
    whole = jnp.sum(weights)
    return jnp.where(whole == 0, 1, whole)


def output_error(a, y, output, loss) -> jax.Array:
    """δ^(L) = ∂Cᵢ/∂z^(L), (m, s_L)."""
    if loss == "cross-entropy":
        return a - y
    if loss == "log-likelihood":
        # a - y where the targets of a row sum to one, as they should.
        return a * jnp.sum(y, axis=1, keepdims=True) - y
    if output == "softmax":  # the Jacobian is diag(a) - a aᵀ
        return a * (a - y - jnp.sum(a * (a - y), axis=1, keepdims=True))
    return (a - y) * output_slope(a, output)


# --- the penalty ----------------------------------------------------------------------


def penalty(params, l1, l2):
    """The terms in the weights; a literal 0 is left out, a traced one cannot be."""
    total = 0.0
    if not _check.is_zero(l2):
        total += 0.5 * l2 * sum(jnp.sum(theta[:, 1:] ** 2) for theta in params)
    if not _check.is_zero(l1):
        # Not jnp.abs, whose derivative at 0 JAX takes to be 1.
        sizes = (jnp.sign(theta[:, 1:]) * theta[:, 1:] for theta in params)
        total += l1 * sum(jnp.sum(size) for size in sizes)
    return total


def penalty_gradient(theta: jax.Array, l1, l2):
    """The gradient of the penalty, zero in the bias column."""
    total = 0.0
    if not _check.is_zero(l2):
        total += l2 * theta
    if not _check.is_zero(l1):
        total += l1 * jnp.sign(theta)
    if isinstance(total, float):
        return total
    return jnp.where((jnp.arange(theta.shape[1]) > 0)[None], total, 0)

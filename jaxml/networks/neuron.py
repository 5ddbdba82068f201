"""The neuron as a function, a = g(Θ [1; x]): activations, and the perceptron.

Section 3.2 of the course. The derivative of each activation is written in a = g(z), as
the course does for the sigmoid, g' = a (1 - a): back-propagation has a at hand.
"""

from collections.abc import Callable
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import Array, Count, Positive, Rows, Static, Weights
from jaxml._units import weights_or_ones
from jaxml.optimize._fit import Fit, Progress, iterate

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "Params",
    "derivative",
    "fit",
    "gate",
    "heaviside",
    "learn",
    "linear",
    "named",
    "predict",
    "relu",
    "sigmoid",
    "softplus",
    "tanh",
    "xor",
]


class Activation(NamedTuple):
    """An activation and its derivative; a pair of your own can be passed as well."""

    function: Callable[[jax.Array], jax.Array]  # a = g(z)
    slope: Callable[[jax.Array], jax.Array]  # g'(z) as a function of a


class Params(NamedTuple):
    """A perceptron, and how often it was corrected."""

    theta: Annotated[jax.Array, "n+1"]  # the threshold's bias, then the weights
    # int32, examples answered wrongly while learning
    mistakes: Annotated[jax.Array, ""]


@_check.pure
def sigmoid(z: Array) -> jax.Array:
    """1 / (1 + e^-z), elementwise, any shape: Fermi-Dirac at -z; g' = a (1 - a)."""
    return jax.nn.sigmoid(z)


@_check.pure
def tanh(z: Array) -> jax.Array:
    """(e^z - e^-z) / (e^z + e^-z), elementwise, any shape; g' = 1 - a²."""
    return jnp.tanh(z)


@_check.pure
def relu(z: Array) -> jax.Array:
    """max(0, z), elementwise, any shape; g' = 1 where z > 0, else 0."""
    return jax.nn.relu(z)


@_check.pure
def softplus(z: Array) -> jax.Array:
    """log(1 + e^z), elementwise, any shape; g' = sigmoid(z) = 1 - e^-a."""
    return jax.nn.softplus(z)


@_check.pure
def linear(z: Array) -> jax.Array:
    """z itself, any shape; g' = 1."""
    return z


@_check.pure
def heaviside(z: Array) -> jax.Array:
    """1 where z > 0, else 0, elementwise, any shape: McCulloch and Pitts; g' = 0."""
    return jnp.where(jnp.isnan(z), z, z > 0)


ACTIVATIONS = {
    "sigmoid": Activation(jax.nn.sigmoid, lambda a: a * (1 - a)),
    "tanh": Activation(jnp.tanh, lambda a: 1 - a**2),
    "relu": Activation(jax.nn.relu, lambda a: (a > 0).astype(a.dtype)),
    "softplus": Activation(jax.nn.softplus, lambda a: -jnp.expm1(-a)),
    "linear": Activation(lambda z: z, jnp.ones_like),
    "heaviside": Activation(heaviside, jnp.zeros_like),
}


@_check.host
def named(activation: str | Activation, name: str = "activation") -> Activation:
    """The pair that an activation names; a pair is given back as it is.

    Raises ValueError, beginning with the name of the argument, for an unknown one.
    """
    if isinstance(activation, Activation):
        return activation
    return ACTIVATIONS[_check.option(name, activation, ACTIVATIONS)]


@_check.pure
def derivative(
    z: Array, *, activation: Static[str | Activation] = "sigmoid"
) -> jax.Array:
    """g'(z), elementwise, any shape: activation is a name in ACTIVATIONS or a pair."""
    function, slope = named(activation)
    return slope(function(z))


# --- the perceptron (Rosenblatt 1958) ----------------------------------------------


@_check.pure
def predict(params: Params, x: Rows) -> jax.Array:
    """1 where Θ [1; x] > 0, else 0: (m,) int32 for the rows of x, (m, n).

    params.theta is (n + 1,), bias first.
    """
    return (_potential(params, x) > 0).astype(jnp.int32)


@_check.pure
def learn(
    params: Params,
    x: Rows,
    y: Annotated[Array, "m:labels 2"],
    *,
    learning_rate: Positive = 1.0,
    weights: Weights | None = None,
) -> Params:
    """One pass of the perceptron rule: Θ := Θ + η wᵢ (yᵢ - ŷᵢ) [1; xᵢ], row by row.

    η is learning_rate; x is (m, n), y (m,) holds 0 or 1, weights (m,) scale the
    correction each row makes; a row of weight 0 is not shown. params.mistakes counts
    the rows answered wrongly: for separable rows with |[1; x]| <= R and margin γ they
    never exceed (R/γ)² (Novikoff 1962).
    """
    _potential(params, x)
    rows = jnp.concatenate([jnp.ones_like(x[:, :1]), x], axis=1)
    w = weights_or_ones(weights, x)

    def show(params, example):
        row, target, weight = example
        answer = (jnp.vdot(params.theta, row) > 0).astype(jnp.int32)
        theta = params.theta + learning_rate * weight * (target - answer) * row
        wrong = (answer != target) & (weight > 0)
        return Params(theta, params.mistakes + wrong.astype(jnp.int32)), None

    return jax.lax.scan(show, params, (rows, y, w))[0]


@_check.fit
def fit(
    params: Params,
    x: Rows,
    y: Annotated[Array, "m:labels 2"],
    *,
    learning_rate: Positive = 1.0,
    weights: Weights | None = None,
    max_iter: Count = 100,
) -> Fit:
    """Repeat `learn` over x, (m, n), and y, (m,) of 0 or 1, until no row is wrong.

    params.theta, (n + 1,), is where to start; weights, (m,), as in learn. cost and
    residual are the share of rows that a pass answered wrongly: CONVERGED if and only
    if the data were separated within max_iter passes. learning_rate, (), is the
    size of a correction. The gradient of a threshold is zero: nothing here has
    derivatives.
    """
    params = jax.lax.stop_gradient(params)
    shown = jnp.ones_like(x[:, 0]) if weights is None else (weights > 0).astype(x.dtype)

    def one_pass(params):
        after = learn(params, x, y, learning_rate=learning_rate, weights=weights)
        wrong = (after.mistakes - params.mistakes) / jnp.sum(shown)
        bad = ~jnp.isfinite(after.theta).all()
        wrong = jnp.where(bad, jnp.nan, wrong.astype(x.dtype))
        return after, Progress(wrong, wrong)

    less_than_one = 0.5 / len(x)  # row; with tol = 0 the passes would be FINISHED
    result = iterate(one_pass, params, tol=less_than_one, max_iter=max_iter)
    return result._replace(params=jax.lax.stop_gradient(result.params))


# Weights for two inputs by hand; NAND as in Nielsen (2015), chapter 1.
GATES = {
    "and": (-3.0, 2.0, 2.0),
    "or": (-1.0, 2.0, 2.0),
    "nand": (3.0, -2.0, -2.0),
}


@_check.host
def gate(name: str) -> Params:
    """A perceptron by its name, "and", "or" or "nand": theta, (3,), set by hand."""
    theta = GATES[_check.option("name", name, GATES)]
    return Params(jnp.array(theta), jnp.int32(0))


@_check.pure
def xor(x: Annotated[Array, "m 2"]) -> jax.Array:
    """Exclusive or of the two columns of x, (m, 2) of 0 and 1: (m,) int32.

    No single perceptron can (Minsky and Papert 1969); two layers can: or and nand, then
    and.
    """
    hidden = [predict(gate(name), x) for name in ("or", "nand")]
    return predict(gate("and"), jnp.stack(hidden, axis=1).astype(x.dtype))


def _potential(params: Params, x: jax.Array) -> jax.Array:
    return x @ params.theta[1:] + params.theta[0]

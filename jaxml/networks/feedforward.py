"""Feed-forward network: forward pass, costs, and back-propagation by hand.

Section 3.3 of the course, with its errors corrected. Layer l has s_l units;
z^(l+1) = Θ^(l) [1; a^(l)] and a^(l) = g(z^(l)), from a^(1) = x to a^(L); Θ^(l) is
[s_(l+1) × (s_l + 1)] and maps layer l to l + 1, bias in column 0. Rows are examples.
"""

from dataclasses import replace
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

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
from jaxml.networks import _losses, neuron
from jaxml.networks._losses import LOSSES as LOSSES
from jaxml.optimize._fit import Fit, Status
from jaxml.optimize._minimize import minimize
from jaxml.optimize._solver import Solver

__all__ = [
    "LOSSES",
    "Layers",
    "Params",
    "Slowdown",
    "backprop",
    "cost",
    "deltas",
    "ensemble",
    "fit",
    "forward",
    "gradient_check",
    "init",
    "outputs",
    "predict",
    "probabilities",
    "score",
    "slowdown",
]

Unit = str | neuron.Activation  # an activation, by name or as a pair


@_check.params
class Params:
    """The weights of a network, and what is done with them."""

    theta: tuple[jax.Array, ...]  # (Θ^(1), …, Θ^(L-1)), each (s_(l+1), s_l + 1)
    activation: Static[Unit] = "sigmoid"  # g of the hidden layers
    output: Static[Unit] = "sigmoid"  # g of layer L: one of these, or "softmax"
    loss: Static[str] = "cross-entropy"  # or "quadratic", "log-likelihood"


class Layers(NamedTuple):
    """Every z and a of a forward pass: z^(l) is z[l - 2], and a^(l) is a[l - 1]."""

    z: tuple[jax.Array, ...]  # z^(2) … z^(L), each (m, s_l)
    a: tuple[jax.Array, ...]  # a^(1) … a^(L), each (m, s_l); the first is x


SCHEMES = ("course", "normal", "scaled", "glorot", "he")


@_check.pure(full_precision=False)
def init(
    key: Key,
    *,
    sizes: Static[tuple[int, ...]],
    activation: Static[Unit] = "sigmoid",
    output: Static[Unit] = "sigmoid",
    loss: Static[str] = "cross-entropy",
    scheme: Static[str] = "scaled",
    dtype: Static[Any] = None,
) -> Params:
    """Draw Θ^(l), (s_(l+1), s_l + 1), for layers of sizes = (s_1, …, s_L).

    key is a key, (). activation is g of the hidden layers: "sigmoid", "tanh", "relu",
    "softplus", "linear", "heaviside" or a neuron.Activation; output is g of layer L,
    one of these or "softmax"; loss is as in cost. scheme is one of

        "course": all entries uniform in (-ε, ε), ε = √6 / √(s_l + s_(l+1)) (Ng);
        "normal": all N(0, 1) (Nielsen 2015, chapter 1);
        "scaled": weights N(0, 1/s_l), biases N(0, 1) (Nielsen 2015, chapter 3);
        "glorot": weights uniform of variance 2 / (s_l + s_(l+1)), biases 0 (Glorot and
            Bengio 2010);
        "he": weights N(0, 2/s_l), biases 0 (He et al. 2015), for ReLU.

    dtype is a float dtype, JAX's default if None. Raises ValueError for fewer than two
    layers, an empty one, an unknown scheme, or a loss that cannot follow the output.
    """
    _check.option("scheme", scheme, SCHEMES)
    _losses.check_loss(loss, output)
    neuron.named(activation)
    if not isinstance(sizes, tuple) or len(sizes) < 2:
        raise ValueError(f"sizes must name two layers or more, not {sizes!r}")
    for size in sizes:
        _check.count("sizes", size)
    dtype = _float(dtype)
    keys = jax.random.split(key, len(sizes) - 1)
    layers = zip(keys, sizes[:-1], sizes[1:], strict=True)
    theta = [_draw(key, n_in, n_out, scheme, dtype) for key, n_in, n_out in layers]
    return Params(tuple(theta), activation, output, loss)


def _float(dtype):
    """A float dtype, JAX's default if None."""
    try:
        result = jnp.result_type(float) if dtype is None else jnp.dtype(dtype)
        if not jnp.issubdtype(result, jnp.floating):
            raise TypeError
    except TypeError:
        raise ValueError(f"dtype must be a float dtype, not {dtype}") from None
    return result


def _draw(key, n_in, n_out, scheme, dtype) -> jax.Array:
    bias_key, weight_key = jax.random.split(key)
    bias, weight = (n_out, 1), (n_out, n_in)
    normal, uniform = jax.random.normal, jax.random.uniform
    reach = (6 / (n_in + n_out)) ** 0.5
    if scheme in ("course", "glorot"):
        b = uniform(bias_key, bias, dtype, -reach, reach)
        w = uniform(weight_key, weight, dtype, -reach, reach)
    else:
        b = normal(bias_key, bias, dtype)
        w = normal(weight_key, weight, dtype)
        w *= {"normal": 1.0, "scaled": n_in**-0.5, "he": (2 / n_in) ** 0.5}[scheme]
    b = jnp.zeros_like(b) if scheme in ("glorot", "he") else b
    return jnp.concatenate([b, w], axis=1)


@_check.pure(full_precision=False)
def forward(params: Params, x: Rows) -> Layers:
    """z^(l+1) = Θ^(l) [1; a^(l)], a^(l) = g(z^(l)), for all rows of x, (m, n).

    params hold Θ^(l), (s_(l+1), s_l + 1), and g. No bias unit is added to a^(L).
    """
    _shapes(params, x)
    hidden = neuron.named(params.activation).function
    final = _losses.output_function(params.output)
    z: list[jax.Array] = []
    a = [x]
    for theta in params.theta:
        z.append(_augment(a[-1]) @ theta.T)
        a.append((hidden if len(z) < len(params.theta) else final)(z[-1]))
    return Layers(tuple(z), tuple(a))


@_check.pure(full_precision=False)
def outputs(params: Params, x: Rows) -> jax.Array:
    """a^(L) = h_Θ(x), (m, s_L), for the rows of x, (m, n), and params."""
    return forward(params, x).a[-1]


@_check.pure(full_precision=False)
def probabilities(params: Params, x: Rows) -> jax.Array:
    """a^(L), (m, s_L), as probabilities, for the rows of x, (m, n).

    With output "softmax" the rows sum to one; with "sigmoid" unit k gives the
    probability that label k is on, whatever the others are. Other outputs are none:
    ValueError. params as in forward.
    """
    _check.option("params.output", params.output, ("sigmoid", "softmax"))
    return forward(params, x).a[-1]


@_check.pure(full_precision=False)
def predict(params: Params, x: Rows) -> jax.Array:
    """The label, (m,) int32, argmax_k a_k^(L), for the rows of x, (m, n).

    A single output unit has two labels: 1 where a^(L) > ½. params as in
    forward; for regression, see outputs.
    """
    return _labels(forward(params, x).a[-1])


# --- costs and their gradients ------------------------------------------------------


@_check.pure(also=_losses.check_targets, full_precision=False)
def cost(
    params: Params,
    x: Rows,
    y: Annotated[Array, "m s_L"],
    *,
    l2: NonNegative = 0.0,
    l1: NonNegative = 0.0,
    weights: Weights | None = None,
) -> jax.Array:
    r"""$J = \frac{\sum_i w_i C_i}{\sum_i w_i} + \frac{l_2}{2}\|w\|^2 + l_1\|w\|_1$.

    x is (m, n), the targets y are (m, s_L) (scaling.one_hot makes them), weights (m,),
    one each if None; C_i is, for row i,

        "quadratic": ½ Σ_k (a_k - y_k)², with any output;
        "cross-entropy": -Σ_k [y_k log a_k + (1 - y_k) log(1 - a_k)], output "sigmoid",
            for y_k in [0, 1];
        "log-likelihood": -Σ_k y_k log a_k, output "softmax", for rows of y that are
            distributions: not negative, with Σ_k y_k = 1 to within 0.01.

    ‖w‖ runs over all Θ_ij^(l) with j >= 1: biases are never penalised. l2 = λ/m in the
    course and in Nielsen (2015); l1 = λ/m there. params as in
    forward; their loss says which C. Raises ValueError for a loss that cannot follow
    the output, and for targets that it is not for; under jit the cost is NaN then.
    """
    _losses.check_loss(params.loss, params.output)
    layers = forward(params, x)
    z, a = layers.z[-1], layers.a[-1]
    y = _losses.targets(a, y, params.loss, weights)
    data = _losses.mean_loss(z, a, y, params.loss, weights)
    return data + _losses.penalty(params.theta, l1, l2)


@_check.pure(also=_losses.check_targets, full_precision=False)
def deltas(
    params: Params,
    x: Rows,
    y: Annotated[Array, "m s_L"],
) -> tuple[jax.Array, ...]:
    """The errors δ^(2), …, δ^(L), each (m, s_l): δ^(l) = ∂C_i/∂z^(l), row by row.

    δ^(L) = (a^(L) - y) ⊙ g'(z^(L)) for the quadratic loss, a^(L) - y for cross-entropy
    with sigmoid and log-likelihood with softmax; δ^(l) = (Θ^(l)[:, 1:])ᵀ δ^(l+1) ⊙
    g'(z^(l)) before. There is no δ^(1): the input makes no error. x is (m, n), y
    (m, s_L); params as in cost. In mechanics, δ^(l) is the
    multiplier of the constraint z^(l) = Θ^(l-1) [1; a^(l-1)] (LeCun 1988).
    """
    _losses.check_loss(params.loss, params.output)
    layers = forward(params, x)
    y = _losses.targets(layers.a[-1], y, params.loss)
    return _deltas(params, layers, y)


def _deltas(params, layers, y):
    result = [_losses.output_error(layers.a[-1], y, params.output, params.loss)]
    slope = neuron.named(params.activation).slope
    for theta, a in zip(params.theta[:0:-1], layers.a[-2:0:-1], strict=True):
        # δ_0 is dropped after the product: before, Θ would be copied at each step.
        result.append((result[-1] @ theta)[:, 1:] * slope(a))
    return tuple(reversed(result))


@_check.pure(also=_losses.check_targets, full_precision=False)
def backprop(
    params: Params,
    x: Rows,
    y: Annotated[Array, "m s_L"],
    *,
    l2: NonNegative = 0.0,
    l1: NonNegative = 0.0,
    weights: Weights | None = None,
) -> Params:
    """The gradient of cost by back-propagation: D^(l), (s_(l+1), s_l + 1), like params.

    Δ^(l) = Σ_i wᵢ δ_i^(l+1) [1; a_i^(l)]ᵀ and D^(l) = Δ^(l) / Σ w, to which l2 Θ_ij +
    l1 sgn Θ_ij is added for j >= 1. Arguments as in cost: x (m, n), y (m, s_L), weights
    (m,). Equal to jax.grad(cost), without autodiff.

    Source: Rumelhart, Hinton and Williams (1986); Nielsen (2015), BP1-BP4.
    """
    _losses.check_loss(params.loss, params.output)
    layers = forward(params, x)
    y = _losses.targets(layers.a[-1], y, params.loss, weights)
    errors = _deltas(params, layers, y)
    share: Any = 1 / len(x)
    if weights is not None:
        share = (weights / _losses.total_weight(weights))[:, None]
    gradient = []
    for theta, a, delta in zip(params.theta, layers.a, errors, strict=False):
        accumulated = _accumulate(share * delta, _augment(a))
        gradient.append(accumulated + _losses.penalty_gradient(theta, l1, l2))
    return replace(params, theta=tuple(gradient))


def _accumulate(delta: jax.Array, a: jax.Array) -> jax.Array:
    """Δ = Σ_i δ_i a_iᵀ, (p, q), of δ, (m, p), and a, (m, q).

    Of a mini-batch the few terms are written out: the compiler then makes one pass of
    the sum and of the step that uses it, where a matrix product would write Δ first.
    """
    # Of more rows, or for a larger Δ, the product is faster (benchmarks/mlp.py).
    if len(a) > 16 or delta.shape[1] * a.shape[1] > 1 << 17:
        return delta.T @ a
    return sum(d[:, None] * row[None] for d, row in zip(delta, a, strict=True))


@_check.pure(also=_losses.check_targets, full_precision=False)
def gradient_check(
    params: Params,
    x: Rows,
    y: Annotated[Array, "m s_L"],
    *,
    l2: NonNegative = 0.0,
    l1: NonNegative = 0.0,
    weights: Weights | None = None,
    epsilon: NonNegative = 1e-4,
) -> jax.Array:
    """|g - D| / |g + D|, (), between central differences g and back-propagation D.

    epsilon is the step of the differences. About 1e-9 in float64 (jax.enable_x64) where
    the cost is smooth; float32 cannot tell much, take epsilon = 1e-2 there. params,
    l2, l1 as in cost: x (m, n), y (m, s_L), weights (m,). Two
    costs per parameter, one after the other: for small networks.
    """
    options: dict[str, Any] = {"l2": l2, "l1": l1, "weights": weights}
    flat, unravel = ravel_pytree(params)

    def difference(i):
        ends = flat.at[i].add(epsilon), flat.at[i].add(-epsilon)
        up, down = (cost(unravel(v), x, y, **options) for v in ends)
        return (up - down) / (2 * epsilon)

    g = jax.lax.map(difference, jnp.arange(flat.size))
    d, _ = ravel_pytree(backprop(params, x, y, **options))
    return jnp.linalg.norm(g - d) / jnp.linalg.norm(g + d)


@_check.fit(also=_losses.check_targets, full_precision=False)
def fit(
    params: Params,
    x: Rows,
    y: Annotated[Array, "m s_L"],
    *,
    l2: NonNegative = 0.0,
    l1: NonNegative = 0.0,
    weights: Weights | None = None,
    solver: Static[Solver] = optax.lbfgs,
    learning_rate: Positive | None = None,
    tol: NonNegative = 1e-4,
    max_iter: Count = 300,
) -> Fit:
    """Minimise cost over the whole batch, from params, a start made by init.

    x (m, n), y (m, s_L), weights (m,), l2, l1 as in cost;
    solver, learning_rate, tol, max_iter as in optimize.minimize. A network's minimum
    is not unique: Fit.params is cut off from derivatives. For mini-batches, see
    optimize.train with train.descend(feedforward.cost, gradient=feedforward.backprop).
    """
    hyper: dict[str, Any] = {"l2": l2, "l1": l1, "weights": weights}
    result = minimize(
        cost,
        params,
        *jax.lax.stop_gradient((x, y)),
        solver=solver,
        learning_rate=learning_rate,
        tol=tol,
        max_iter=max_iter,
        **jax.lax.stop_gradient(hyper),
    )
    invalid = _losses.invalid_rows(y, params.loss, weights, jnp).any()
    status = jnp.where(invalid, Status.INVALID, result.status).astype(jnp.int32)
    return jax.lax.stop_gradient(result._replace(status=status))


@_check.pure(full_precision=False)
def score(
    params: Params,
    x: Rows,
    y: Annotated[Array, "m s_L"],
    *,
    weights: Weights | None = None,
) -> jax.Array:
    """Share, (), of the rows of x, (m, n), whose predict is the label of y, (m, s_L).

    The label of a row of targets is their argmax, or whether a single one is above ½.
    weights, (m,), weigh the rows; params as in forward.
    """
    layers = forward(params, x)
    _losses.check_units(layers.a[-1], y)
    right = (_labels(layers.a[-1]) == _labels(y)).astype(x.dtype)
    # NaN has an argmax all the same.
    right = jnp.where(jnp.isnan(layers.a[-1] + y).any(axis=1), jnp.nan, right)
    if weights is None:
        return jnp.mean(right)
    return jnp.vdot(weights, right) / jnp.sum(weights)


def _labels(a: jax.Array) -> jax.Array:
    if a.shape[1] == 1:
        return (a[:, 0] > 0.5).astype(jnp.int32)
    return jnp.argmax(a, axis=1).astype(jnp.int32)


# --- an ensemble, and the slowdown of learning -------------------------------------


@_check.pure(full_precision=False)
def ensemble(
    params: Params,
    x: Rows,
    *,
    vote: Static[bool] = False,
) -> jax.Array:
    """Labels, (m,) int32, of several networks together, for the rows of x, (m, n).

    params are those of e networks stacked, each Θ^(l) (e, s_(l+1), s_l + 1), as
    jax.vmap(init) and fits under vmap make them. The mean of the outputs decides, or
    with vote=True the majority of the labels (the lower label in a tie).
    """
    stacked = {
        f"params.theta[{i}]": (a, f"e rows{i} columns{i}")
        for i, a in enumerate(params.theta)
    }
    _check.shapes(**stacked)
    a = jax.vmap(lambda p: outputs(p, x))(params)
    if a.shape[2] == 1:
        a = jnp.concatenate([1 - a, a], axis=2)
    if vote:
        labels = jnp.argmax(a, axis=2)
        a = jax.nn.one_hot(labels, a.shape[2], dtype=x.dtype)
    return jnp.argmax(jnp.mean(a, axis=0), axis=1).astype(jnp.int32)


class Slowdown(NamedTuple):
    """Why learning is slow, layer by layer."""

    gradient: jax.Array  # (L - 1,) norm of ∂J/∂b^(l) for l = 2 … L
    saturated: jax.Array  # (L - 1,) share of units, over the rows, with g' < threshold


@_check.pure(also=_losses.check_targets, full_precision=False)
def slowdown(
    params: Params,
    x: Rows,
    y: Annotated[Array, "m s_L"],
    *,
    threshold: Scalar = 0.05,
) -> Slowdown:
    """The speed of learning ‖mean_i δ_i^(l)‖, (L-1,), and the share of saturated units.

    A unit is saturated on a row where g'(z) < threshold: BP1-BP4 then make its weights
    learn slowly, unless the loss cancels g' (cross-entropy at the output). x is (m, n),
    y (m, s_L); params as in cost.

    Source: Nielsen (2015), chapters 3 and 5.
    """
    _losses.check_loss(params.loss, params.output)
    layers = forward(params, x)
    y = _losses.targets(layers.a[-1], y, params.loss)
    errors = _deltas(params, layers, y)
    speeds = [jnp.linalg.norm(jnp.mean(delta, axis=0)) for delta in errors]
    hidden = neuron.named(params.activation).slope
    slopes = [hidden(a) for a in layers.a[1:-1]]
    slopes.append(_losses.output_slope(layers.a[-1], params.output))
    shares = [jnp.mean((s < threshold).astype(x.dtype)) for s in slopes]
    return Slowdown(jnp.stack(speeds), jnp.stack(shares))


# --- shapes ------------------------------------------------------------------------


def _shapes(params: Params, x: jax.Array) -> None:
    """Θ^(l) must be [s_(l+1) × (s_l + 1)], from s_1 = n on."""
    n_in = x.shape[1]
    for i, theta in enumerate(params.theta):
        wide = {f"params.theta[{i}]": (theta, f"s_{i + 2} {n_in + 1}")}
        n_in = _check.shapes(**wide)[f"s_{i + 2}"]


def _augment(a: jax.Array) -> jax.Array:
    """[1; a]: a column of ones before a, (m, s) to (m, s + 1)."""
    return jnp.concatenate([jnp.ones_like(a[:, :1]), a], axis=1)

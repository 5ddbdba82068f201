"""Least squares with an l1 penalty: lasso, elastic net, non-negative and group lasso.

J(w, b) = ½ Σ wᵢ (h(xᵢ) - yᵢ)² / Σ wᵢ + l1 Σ f_j |w_j| + l2/2 |w|², with h(x) = x·w + b
and weights wᵢ of the rows. With groups the second term is l1 Σ_g c_g |w_g|, where c_g²
is Σ f_j² over group g. The intercept is never penalised.
"""

from functools import partial
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import (
    Array,
    Count,
    NonNegative,
    Rows,
    Scalar,
    Static,
    Targets,
    Weights,
)
from jaxml._units import shares_of
from jaxml.optimize._fit import Fit, Status
from jaxml.optimize._implicit import kinked_solution
from jaxml.optimize._linear_solve import solve
from jaxml.regression import linear
from jaxml.regression._least_squares import centred
from jaxml.regression.lasso import _penalty
from jaxml.regression.lasso._search import along
from jaxml.regression.linear import Params

__all__ = [
    "Params",
    "Path",
    "cost",
    "degrees_of_freedom",
    "duality_gap",
    "fit",
    "kkt_residual",
    "largest_l1",
    "path",
    "predict",
]


class Path(NamedTuple):
    """A fit for each of a series of penalties."""

    l1s: jax.Array  # (p,)
    fits: Fit  # of them, stacked: w is (p, n), b (p,)


@_check.pure
def predict(params: Params, x: Rows) -> jax.Array:
    """h(x) = x·w + b, (m,): as linear.predict, for params and x, (m, n)."""
    return linear.predict(params, x)


@_check.pure
def cost(
    params: Params,
    x: Rows,
    y: Targets,
    *,
    l1: NonNegative,
    l2: NonNegative = 0.0,
    weights: Weights | None = None,
    penalty_factors: Annotated[Array, "n", "[0, inf)"] | None = None,
    groups: Annotated[Array, "n:labels"] | None = None,
) -> jax.Array:
    """J = ½ Σ wᵢ (h(xᵢ) - yᵢ)² / Σ wᵢ + l1 Σ f_j |w_j| + l2/2 |w|², ().

    Args:
        params: w, (n,), and b, ().
        x: (m, n) rows.
        y: (m,) targets.
        l1: () factor of the absolute values; alpha in scikit-learn's Lasso, and
            alpha · l1_ratio in its ElasticNet.
        l2: () factor of ½|w|²; alpha · (1 - l1_ratio) in scikit-learn's ElasticNet.
        weights: (m,) weights w of the rows; 1 if None.
        penalty_factors: (n,) f, 1 if None; 0 leaves w_j without an l1 penalty.
        groups: (n,) labels below n of the group that each column is in: the penalty is
            then l1 Σ_g c_g |w_g|, c_g = √Σ f_j² over group g.

    Raises:
        ValueError: shapes that do not agree, values that are not finite.

    """
    r = predict(params, x) - y
    squares = 0.5 * jnp.vdot(shares_of(x, weights) * r, r)
    squares += 0.5 * l2 * jnp.vdot(params.w, params.w)
    limits = _penalty.limits(l1, x, penalty_factors, groups)
    return squares + _penalty.value(params.w, limits, groups)


@_check.fit
def fit(
    x: Rows,
    y: Targets,
    *,
    l1: NonNegative,
    l2: NonNegative = 0.0,
    weights: Weights | None = None,
    penalty_factors: Annotated[Array, "n", "[0, inf)"] | None = None,
    groups: Annotated[Array, "n:labels"] | None = None,
    intercept: Static[bool] = True,
    positive: Static[bool] = False,
    tol: NonNegative = 1e-5,
    max_iter: Count = 2000,
) -> Fit:
    """Minimise J = ½ Σ wᵢ (h(xᵢ) - yᵢ)² / Σ wᵢ + l1 Σ f_j |w_j| + l2/2 |w|².

    Coordinate descent on the normal equations where there are few columns, on those of
    a growing set of columns where there are many; with groups, and on an accelerator,
    accelerated proximal descent.

    Args:
        x: (m, n) rows.
        y: (m,) targets.
        l1: () factor of the absolute values, as in `cost`.
        l2: () factor of ½|w|²; above 0 this is the elastic net.
        weights: (m,) weights w of the rows; 1 if None.
        penalty_factors: (n,) f, 1 if None; 0 leaves w_j without an l1 penalty.
        groups: (n,) labels below n, one group each if None; w of a group is 0 together.
        intercept: whether there is a b; else it stays 0.
        positive: whether w >= 0 is asked for; not with groups.
        tol: () stop when the residual is at most tol.
        max_iter: the most steps; of coordinate descent one is up to 100 sweeps.

    Returns:
        Fit with Params. residual is `duality_gap` over J₀ at w = 0: J is above its
        minimum by so much at most (where l1 f_j and l2 are 0 that is an estimate); or
        `kkt_residual` over the largest |∂J/∂w_j| at w = 0, where that is more. It may
        be up to ten times tol where no condition of a minimum is violated by more than
        rounding, as with small l1 and columns that nearly depend on each other.
        Derivatives are those of the exact minimum, where its zeros stay zero.

    Raises:
        ValueError: positive with groups, shapes that do not agree, values not finite.

    Source: Tibshirani (1996), Zou and Hastie (2005), Yuan and Lin (2006); Friedman,
    Hastie and Tibshirani (2010).

    """
    _one_kind(positive, groups)
    limits = _penalty.limits(l1, x, penalty_factors, groups)
    fixed = jax.lax.stop_gradient((x, y, weights, limits[None], l2, groups, tol))
    result = along(
        *fixed,
        intercept=intercept,
        positive=positive,
        max_iter=max_iter,
        history_length=None,
    )
    result = jax.tree.map(lambda a: a[0], result)
    data = x, y, weights
    return _with_derivatives(result, data, limits, l2, groups, intercept, positive)


@_check.pure(jit=True)
def path(
    x: Rows,
    y: Targets,
    *,
    l1s: Annotated[Array, "p", "[0, inf)"] | None = None,
    count: Count = 100,
    ratio: Annotated[Scalar, "(0, 1)"] = 1e-3,
    l2: NonNegative = 0.0,
    weights: Weights | None = None,
    penalty_factors: Annotated[Array, "n", "[0, inf)"] | None = None,
    groups: Annotated[Array, "n:labels"] | None = None,
    intercept: Static[bool] = True,
    positive: Static[bool] = False,
    tol: NonNegative = 1e-5,
    max_iter: Count = 2000,
) -> Path:
    """The minimum for each of a series of l1, each begun where the one before ended.

    Args:
        x: (m, n) rows.
        y: (m,) targets.
        l1s: (p,) the penalties, best from large to small; if None, count of them in
            equal ratios, from `largest_l1` down to ratio times that.
        count: how many there are, if l1s is None.
        ratio: () the last over the first, if l1s is None.
        l2: () factor of ½|w|².
        weights: (m,) weights w of the rows; 1 if None.
        penalty_factors: (n,) as in `fit`.
        groups: (n,) as in `fit`.
        intercept: as in `fit`.
        positive: as in `fit`.
        tol: () of each fit.
        max_iter: the most steps of each fit.

    Returns:
        Path; its fits, without history, are those of jax.vmap over l1.

    Raises:
        ValueError: as in `fit`.

    Source: Friedman, Hastie and Tibshirani (2010).

    """
    _one_kind(positive, groups)
    if l1s is None:
        first = largest_l1(
            x,
            y,
            weights=weights,
            penalty_factors=penalty_factors,
            groups=groups,
            intercept=intercept,
            positive=positive,
        )
        powers = jnp.arange(count, dtype=x.dtype) / max(count - 1, 1)
        l1s = first * jnp.asarray(ratio, x.dtype) ** powers
    limits = jax.vmap(lambda l1: _penalty.limits(l1, x, penalty_factors, groups))(l1s)
    fixed = jax.lax.stop_gradient((x, y, weights, limits, l2, groups, tol))
    result = along(
        *fixed,
        intercept=intercept,
        positive=positive,
        max_iter=max_iter,
        history_length=1,
    )
    data = x, y, weights

    def one(result, limits):
        return _with_derivatives(result, data, limits, l2, groups, intercept, positive)

    return Path(l1s, jax.vmap(one)(result, limits))


def _one_kind(positive: bool, groups) -> None:
    if positive and groups is not None:
        raise ValueError("positive cannot be asked for together with groups")


def _with_derivatives(
    result: Fit, data, limits, l2, groups, intercept, positive
) -> Fit:
    """The Fit of Params for one of w: its derivatives on the active set, and b."""
    hyper = {"limits": limits, "l2": l2, "groups": groups}
    w, value = kinked_solution(
        partial(_squares, intercept=intercept),
        partial(_prox, positive=positive),
        _kinks,
        result.params,
        result.cost,
        result.status,
        jnp.ones((), result.cost.dtype),
        data,
        hyper,
    )
    x, y, weights = data
    b = jnp.zeros_like(value)
    if intercept:
        b = shares_of(x, weights) @ (y - x @ w)
    invalid = (limits < 0).any()
    if groups is not None:
        invalid |= (groups >= len(groups)).any()
    status = jnp.where(invalid, Status.INVALID, result.status).astype(jnp.int32)
    return result._replace(params=Params(w, b), cost=value, status=status)


def _squares(w, data, hyper, *, intercept):
    """The smooth part at the best b, so that w is all there is to solve for."""
    x, y, weights = data
    share = shares_of(x, weights)
    r = x @ w - y
    if intercept:
        r -= share @ r
    return 0.5 * jnp.vdot(share * r, r) + 0.5 * hyper["l2"] * jnp.vdot(w, w)


def _prox(w, step, hyper, *, positive):
    return _penalty.prox(w, step, hyper["limits"], hyper["groups"], positive)


def _kinks(w, hyper):
    return _penalty.value(w, hyper["limits"], hyper["groups"])


@_check.pure
def largest_l1(
    x: Rows,
    y: Targets,
    *,
    weights: Weights | None = None,
    penalty_factors: Annotated[Array, "n", "[0, inf)"] | None = None,
    groups: Annotated[Array, "n:labels"] | None = None,
    intercept: Static[bool] = True,
    positive: Static[bool] = False,
) -> jax.Array:
    """max_j |Σ wᵢ x_ij (yᵢ - ȳ)| / f_j Σ wᵢ, (): the least l1 at which w is 0.

    x is (m, n), y (m,), weights (m,), penalty_factors (n,), groups (n,), intercept and
    positive as in `fit`. Where f_j is 0, w_j need not be 0: y is then what is left of
    it by least squares on those columns.
    """
    _one_kind(positive, groups)
    limits = _penalty.limits(1, x, penalty_factors, groups)
    share = shares_of(x, weights)
    x, y = centred(x, share, intercept)[0], centred(y, share, intercept)[0]
    if penalty_factors is not None:
        free = limits == 0 if groups is None else (limits == 0)[groups]

        def normal(w):
            curved = x.T @ (share * (x @ jnp.where(free, w, 0)))
            return jnp.where(free, curved, w)

        cross = jnp.where(free, x.T @ (share * y), 0)
        y = y - x @ solve(normal, cross)
    reach = _penalty.sizes(x.T @ (share * y), groups, positive)
    bound = jnp.where(limits == 0, 1, limits)
    return jnp.max(jnp.where(limits == 0, 0, reach / bound))


@_check.pure
def kkt_residual(
    params: Params,
    x: Rows,
    y: Targets,
    *,
    l1: NonNegative,
    l2: NonNegative = 0.0,
    weights: Weights | None = None,
    penalty_factors: Annotated[Array, "n", "[0, inf)"] | None = None,
    groups: Annotated[Array, "n:labels"] | None = None,
    intercept: Static[bool] = True,
    positive: Static[bool] = False,
) -> jax.Array:
    """max_j of (|p_j| - l1 f_j)₊ where w_j = 0, else of |p_j - l1 f_j sgn w_j|, ().

    p_j is Σ wᵢ x_ij (yᵢ - h(xᵢ)) / Σ wᵢ - l2 w_j, and (·)₊ what is
    above 0; with an intercept |Σ wᵢ (yᵢ - h(xᵢ))| / Σ wᵢ counts too. 0 at a minimum and
    nowhere else (Karush, Kuhn and Tucker), in the units of l1. Infinite where w < 0 and
    positive is asked for. params, x, (m, n), and the others as in `cost` and `fit`.
    """
    _one_kind(positive, groups)
    r = shares_of(x, weights) * (y - predict(params, x))
    limits = _penalty.limits(l1, x, penalty_factors, groups)
    descent = x.T @ r - l2 * params.w
    worst = _penalty.violations(descent, params.w, limits, groups, positive).max()
    return jnp.maximum(worst, jnp.abs(jnp.sum(r))) if intercept else worst


@_check.pure
def duality_gap(
    params: Params,
    x: Rows,
    y: Targets,
    *,
    l1: NonNegative,
    l2: NonNegative = 0.0,
    weights: Weights | None = None,
    penalty_factors: Annotated[Array, "n", "[0, inf)"] | None = None,
    groups: Annotated[Array, "n:labels"] | None = None,
    intercept: Static[bool] = True,
    positive: Static[bool] = False,
) -> jax.Array:
    """J(w, b) minus a lower bound of every J, (): how far from the minimum at most.

    The bound is the dual D(θ) = Σ wᵢ (yᵢθᵢ - ½θᵢ²) / Σ wᵢ at θ = s (y - h(x)), y and θ
    without their means if there is an intercept. s is the best for which no |p_j|
    is above l1 f_j, with l2 as rows √l2 below x; where l2 > 0, also D(y - h(x))
    - Σ (|p_j| - l1 f_j)₊² / 2 l2 is one, and the better counts. Where f_j is 0, w_j is
    taken to be at its best. params, x, (m, n), and the others as in `kkt_residual`.

    Source: Kim et al. (2007).
    """
    _one_kind(positive, groups)
    limits = _penalty.limits(l1, x, penalty_factors, groups)
    share, r = shares_of(x, weights), y - predict(params, x)
    off = jnp.vdot(share, r) if intercept else jnp.zeros_like(r[0])
    r -= off
    corr, rr = centred(x, share, intercept)[0].T @ (share * r), jnp.vdot(share * r, r)
    # What a b that is not at its best costs is certain.
    return _penalty.gap(params.w, corr, rr, limits, l2, groups, positive) + off**2 / 2


@_check.pure
def degrees_of_freedom(params: Params) -> jax.Array:
    """The number of w_j, (n,), that are not 0, () int32: those of a lasso with l2 = 0.

    params are w, (n,), and b, which is not counted. Source: Zou, Hastie and Tibshirani
    (2007).
    """
    return jnp.sum(params.w != 0).astype(jnp.int32)

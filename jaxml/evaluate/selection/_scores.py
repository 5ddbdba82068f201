"""Scores of all folds and all points of a grid, in one program."""

import functools
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import _check
from jaxml._check import AnyArray, Array, Count, Key, Static, Weights
from jaxml.evaluate.selection import _fold
from jaxml.evaluate.selection._folds import Folds
from jaxml.optimize._fit import Fit
from jaxml.optimize._solver import names_taken


class Scores(NamedTuple):
    """Scores of f folds at g points of a grid."""

    train: jax.Array  # (f, g) on the rows learned from
    test: jax.Array  # (f, g) on the rows held out; NaN where the fit failed
    status: jax.Array  # (f, g) int32, the Status of each fit
    mean: jax.Array  # (g,) of test over the folds
    error: jax.Array  # (g,) standard error of mean; NaN for a single fold
    best: jax.Array  # () int32, the point of the best mean
    # () int32, the first point within one error of the best
    one_standard_error: jax.Array


class ScoreCurve(NamedTuple):
    """Scores of f folds along one quantity."""

    at: jax.Array  # (g,) rows learned from, or values of a hyper-parameter
    train: jax.Array  # (f, g)
    test: jax.Array  # (f, g)
    status: jax.Array  # (f, g) int32


class Nested(NamedTuple):
    """What a search over a grid is worth on rows that had no part in it."""

    test: jax.Array  # (f,) score of the chosen point, learned anew, for each outer fold
    status: jax.Array  # (f,) int32, the Status of that fit
    chosen: jax.Array  # (f,) int32, the point that the inner folds chose
    inner: jax.Array  # (f, g) the means they chose by
    mean: jax.Array  # () of test
    error: jax.Array  # () standard error of mean


@_check.host
def scorer(
    predict: Callable[..., jax.Array], metric: Callable[..., jax.Array]
) -> Callable[..., jax.Array]:
    """score(params, x, y, *, weights) = metric(y, predict(params, x), weights=weights).

    So any metric of `metrics`, or of your own, becomes a score of a model's
    predictions: `scorer(logistic.predict, metrics.accuracy)`. Both are compiled in.
    """
    of = _fold.compiled_in("predict", predict), _fold.compiled_in("metric", metric)
    return _check.by_value("score", functools.partial(_score_of, *of))


def _score_of(predict, metric, params, x, y, *, weights):
    return metric(y, predict(params, x), weights=weights)


@_check.pure
def cross_validate(
    fit: Static[Callable[..., Fit]],
    score: Static[Callable[..., jax.Array]],
    x: Annotated[Array, "m|m n"],
    y: AnyArray,
    *,
    folds: Folds,
    grid: Mapping[str, Any] | None = None,
    weights: Weights | None = None,
    greater_is_better: Static[bool] = True,
    chunk: Count | None = None,
) -> Scores:
    """Scores of fit, learned on each fold's training rows, at every point of a grid.

    All f × g fits are one program: fit is traced once, and not again for new values.
    A fit that is UNBOUNDED or worse has the score NaN, and so has the mean of its
    point, which is then not chosen; if there is no other, best is 0 and mean[0] is NaN.
    Fits that are EXHAUSTED or STALLED count: look at status. Folds without any row to
    be judged by (of weight 0) are left out of mean and error.

    Args:
        fit: fit(x, y, *, weights, **point) -> Fit; static.
        score: score(params, x, y, *, weights) -> (); static. A model's cost is one, for
            greater_is_better = False.
        x: (m,) or (m, n) rows.
        y: (m,) or (m, t) array of targets or labels, handed on as it is.
        folds: Folds of masks or weights, (f, m).
        grid: {name: (g, …)}, as `grid` or `random_search` make it; None for one point
            without hyper-parameters. The values become floats of x's dtype.
        weights: (m,) weights of the rows; 1 if None. The folds' are multiplied by them.
        greater_is_better: whether a greater score is better.
        chunk: how many folds are fitted at a time, to bound memory; None for all.

    Returns:
        Scores.

    Raises:
        ValueError: shapes that do not agree, values out of range, what fit or score
            raise.

    """
    train, test = _fold.row_weights(folds, x, y, weights)
    points = _fold.as_points("grid", grid, x.dtype, _check.limits(fit))
    fit, score = _fold.compiled_in("fit", fit), _fold.compiled_in("score", score)
    scores = _cross_validate(fit, score, chunk, x, y, train, test, points)
    return _summary(*scores, test, greater_is_better)


@_check.pure
def validation_curve(
    fit: Static[Callable[..., Fit]],
    score: Static[Callable[..., jax.Array]],
    x: Annotated[Array, "m|m n"],
    y: AnyArray,
    *,
    folds: Folds,
    name: Static[str],
    values: Any,
    weights: Weights | None = None,
    chunk: Count | None = None,
) -> ScoreCurve:
    """Scores on training and held-out rows along one hyper-parameter of fit.

    Args:
        fit: as in `cross_validate`, as are score, folds, weights and chunk.
        score: static.
        x: (m,) or (m, n) rows.
        y: (m,) or (m, t) array of targets or labels.
        folds: Folds, (f, m).
        name: the hyper-parameter.
        values: (g,) its values.
        weights: (m,)
        chunk: static.

    Returns:
        ScoreCurve with at = values.

    """
    train, test = _fold.row_weights(folds, x, y, weights)
    if not isinstance(name, str) or name not in names_taken(fit, [name]):
        raise ValueError(f"name must be that of an argument of fit, not {name!r}")
    points = _fold.as_points("values", {name: values}, x.dtype, _check.limits(fit))
    fit, score = _fold.compiled_in("fit", fit), _fold.compiled_in("score", score)
    scores = _cross_validate(fit, score, chunk, x, y, train, test, points)
    return ScoreCurve(points[name], *scores)


@_check.pure
def learning_curve(
    key: Key,
    fit: Static[Callable[..., Fit]],
    score: Static[Callable[..., jax.Array]],
    x: Annotated[Array, "m|m n"],
    y: AnyArray,
    *,
    folds: Folds,
    shares: Any,
    weights: Weights | None = None,
    chunk: Count | None = None,
    **hyper: Any,
) -> ScoreCurve:
    """Scores on training and held-out rows for growing numbers of training rows.

    The rows of a fold are put in a random order; a share s of its r rows of weight
    above 0 is the first max(1, s r), rounded. So each set contains those before it.

    Args:
        key: jax.random.key(seed), for the order.
        fit: fit(x, y, *, weights, **hyper) -> Fit; static.
        score: score(params, x, y, *, weights) -> (); static.
        x: (m,) or (m, n) rows.
        y: (m,) or (m, t) array of targets or labels.
        folds: Folds, (f, m).
        shares: (g,) numbers in (0, 1]; traced.
        weights: (m,) weights of the rows; 1 if None.
        chunk: as in `cross_validate`.
        hyper: hyper-parameters of fit, by name.

    Returns:
        ScoreCurve; at is the number of rows learned from, the mean over folds.

    Raises:
        ValueError: as in `cross_validate`, or shares out of range. Under jit such a
            share has scores NaN.

    """
    train, test = _fold.row_weights(folds, x, y, weights)
    inside = {"shares": "[0, inf)"}
    shares = _fold.as_points("shares", {"shares": shares}, x.dtype, inside)["shares"]
    _check.shapes(shares=(shares, "g"))
    if not isinstance(shares, jax.core.Tracer):
        wrong = np.asarray((shares <= 0) | (shares > 1))
        if wrong.any():
            raise ValueError(f"shares must lie in (0, 1], not {shares[wrong.argmax()]}")
    fit, score = _fold.compiled_in("fit", fit), _fold.compiled_in("score", score)
    order = jax.random.permutation(key, len(x))
    return _learning_curve(
        fit, score, chunk, x, y, train, test, order, shares, dict(hyper)
    )


@_check.pure
def nested(
    fit: Static[Callable[..., Fit]],
    score: Static[Callable[..., jax.Array]],
    x: Annotated[Array, "m|m n"],
    y: AnyArray,
    *,
    outer: Folds,
    inner: Folds,
    grid: Mapping[str, Any],
    weights: Weights | None = None,
    greater_is_better: Static[bool] = True,
    chunk: Count | None = None,
) -> Nested:
    """Score of choosing from a grid by inner folds, on outer folds that had no part.

    For each outer fold the inner ones are cut down to its training rows; the best point
    is fitted to all of these and judged by the rows held out.

    Args:
        fit: as in `cross_validate`, as are score, grid, weights and greater_is_better.
        score: static.
        x: (m,) or (m, n) rows.
        y: (m,) or (m, t) array of targets or labels.
        outer: Folds of all rows, (f, m).
        inner: Folds of all rows, (i, m), drawn with another key.
        grid: {name: (g, …)}.
        weights: (m,)
        greater_is_better: static.
        chunk: how many outer folds are worked on at a time; None for all.

    Returns:
        Nested. A fold of which every point failed has the score NaN.

    """
    train, test = _fold.row_weights(outer, x, y, weights)
    _fold.row_weights(inner, x, y, weights)
    points = _fold.as_points("grid", grid, x.dtype, _check.limits(fit))
    fit, score = _fold.compiled_in("fit", fit), _fold.compiled_in("score", score)
    return _nested(
        fit, score, greater_is_better, chunk, x, y, train, test, inner, points
    )


@_check.pure
def out_of_fold(
    fit: Static[Callable[..., Fit]],
    predict: Static[Callable[..., jax.Array]],
    x: Annotated[Array, "m|m n"],
    y: AnyArray,
    *,
    folds: Folds,
    weights: Weights | None = None,
    chunk: Count | None = None,
    **hyper: Any,
) -> jax.Array:
    """Predictions for each row by the fits that did not see it, (m, …).

    For stacking and calibration. A row that several folds hold out gets the mean, one
    that none does NaN; so do the rows of a fold whose fit is UNBOUNDED or worse.

    Args:
        fit: fit(x, y, *, weights, **hyper) -> Fit; static.
        predict: predict(params, x) -> (m, …) floats; static.
        x: (m,) or (m, n) rows.
        y: (m,) or (m, t) array of targets or labels.
        folds: Folds, (f, m).
        weights: (m,) weights of the rows; 1 if None.
        chunk: as in `cross_validate`.
        hyper: hyper-parameters of fit, by name.

    """
    train, _ = _fold.row_weights(folds, x, y, weights)
    test = folds.test.astype(x.dtype)
    fit, predict = _fold.compiled_in("fit", fit), _fold.compiled_in("predict", predict)
    return _out_of_fold(fit, predict, chunk, x, y, train, test, dict(hyper))


def _grid(fit, score, x, y, train, test, points):
    one = functools.partial(_fold.one_fit, fit, score, x, y, train, test)
    if not points:
        return jax.tree.map(lambda a: a[None], one({}))
    return jax.vmap(one)(points)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _cross_validate(fit, score, chunk, x, y, train, test, points):
    def fold(rows):
        train, test = rows
        return _grid(fit, score, x, y, train, test, points)

    return _fold.in_chunks(fold, (train, test), chunk)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _learning_curve(fit, score, chunk, x, y, train, test, order, shares, hyper):
    valid = (shares > 0) & (shares <= 1)

    def fold(rows):
        train, test = rows
        there = train != 0
        rank = jnp.zeros_like(order).at[order].set(jnp.cumsum(there[order]))
        size = jnp.maximum(1, jnp.round(shares * jnp.sum(there)))
        kept = jnp.where(rank[None] <= size[:, None], train[None], 0)
        one = functools.partial(_fold.one_fit, fit, score, x, y, test=test, point=hyper)
        return size, *jax.vmap(lambda train: one(train=train))(kept)

    size, learned, judged, status = _fold.in_chunks(fold, (train, test), chunk)
    learned, judged = (jnp.where(valid[None], s, jnp.nan) for s in (learned, judged))
    return ScoreCurve(jnp.mean(size, axis=0), learned, judged, status)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _nested(fit, score, greater_is_better, chunk, x, y, train, test, inner, points):
    def fold(rows):
        train, test = rows
        within = Folds(*(each.astype(x.dtype) * train[None] for each in inner))
        scores = jax.vmap(functools.partial(_grid, fit, score, x, y), (0, 0, None))(
            *within, points
        )
        summary = _summary(*scores, within.test, greater_is_better)
        point = jax.tree.map(lambda v: v[summary.best], points)
        _, judged, status = _fold.one_fit(fit, score, x, y, train, test, point)
        missing = jnp.isnan(summary.mean[summary.best])
        judged = jnp.where(missing, jnp.nan, judged)
        return judged, status, summary.best, summary.mean

    judged, status, best, inside = _fold.in_chunks(fold, (train, test), chunk)
    mean, error = _fold.over_folds(judged, _fold.held_out(test))
    return Nested(judged, status, best, inside, mean, error)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _out_of_fold(fit, predict, chunk, x, y, train, test, hyper):
    def fold(rows):
        train, test = rows
        result = _fold.fitted(fit, x, y, train, hyper)
        predicted = predict(result.params, x)
        if not hasattr(predicted, "dtype"):
            raise ValueError(f"predict must return an array, not {predicted}")
        predicted *= _fold.worked(result, x.dtype)
        share = test[(..., *[None] * (predicted.ndim - 1))]
        return jnp.where(share != 0, share * predicted, 0)

    sums = jnp.sum(_fold.in_chunks(fold, (train, test), chunk), axis=0)
    total = jnp.sum(test, axis=0)[(..., *[None] * (sums.ndim - 1))]
    return jnp.where(total != 0, sums / jnp.where(total != 0, total, 1), jnp.nan)


@functools.partial(jax.jit, static_argnums=4)
def _summary(train, test, status, weights, greater_is_better) -> Scores:
    mean, error = _fold.over_folds(test, _fold.held_out(weights))
    # NaN is below the worst of all costs, ∞.
    worst = jnp.finfo(mean.dtype).min
    rank = jnp.maximum(mean if greater_is_better else -mean, worst)
    rank = jnp.where(jnp.isnan(mean), -jnp.inf, rank)
    best = jnp.argmax(rank)
    margin = jnp.where(jnp.isnan(error[best]), 0, error[best])
    one_standard_error = jnp.argmax(rank >= rank[best] - margin)
    best, one_standard_error = (
        best.astype(jnp.int32),
        one_standard_error.astype(jnp.int32),
    )
    return Scores(train, test, status, mean, error, best, one_standard_error)

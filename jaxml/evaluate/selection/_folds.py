"""Which rows are learned from, and which are held out, as masks of one shape."""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import _check
from jaxml._check import Key, Labels, Static


class Folds(NamedTuple):
    """Which rows each of f folds learns from, and which it is judged by.

    Masks, or weights; both are multiplied by the weights of the rows. To repeat folds,
    vmap over keys and lay the repetitions one after the other with
    `jax.tree.map(lambda a: a.reshape(-1, m), folds)`.
    """

    train: Annotated[jax.Array, "_f m"]  # weights of the rows to learn from
    test: Annotated[jax.Array, "_f m"]  # and of those held out


@_check.pure
def k_fold(key: Key, *, m: Static[int], folds: Static[int]) -> Folds:
    """k folds of m rows at random; their sizes differ by one at most.

    Args:
        key: jax.random.key(seed).
        m: how many rows there are.
        folds: how many, k, at most m.

    Returns:
        Folds of masks, (k, m): each row is held out once.

    Raises:
        ValueError: folds or m that is no int, or folds above m.

    """
    _at_most(folds, m)
    place = jax.random.permutation(key, m)
    return _complements(place % folds, folds)


@_check.pure
def stratified(key: Key, y: Labels, *, folds: Static[int]) -> Folds:
    """k folds at random, with each class in proportion.

    The rows are shuffled, laid in the order of their class and dealt out in turn: of
    each class, and of all rows, two folds get numbers that differ by one at most.

    Args:
        key: jax.random.key(seed).
        y: (m,) labels. A class of fewer than k rows is missing from some folds.
        folds: how many, k, at most m.

    Returns:
        Folds of masks, (k, m): each row is held out once.

    Raises:
        ValueError: labels that are no integers (m,), or folds above m.

    """
    m = len(y)
    _at_most(folds, m)
    rows = jax.random.permutation(key, m)
    rows = rows[jnp.argsort(y[rows], stable=True)]
    fold = jnp.zeros(m, jnp.int32).at[rows].set(jnp.arange(m, dtype=jnp.int32) % folds)
    return _complements(fold, folds)


@_check.host
def leave_one_out(m: int) -> Folds:
    """m folds, each of which holds out one of the m rows: masks (m, m).

    With chunk = c, cross_validate keeps c fits at a time. Raises ValueError for an m
    that is no int of at least 2.
    """
    m = _check.count("m", m, at_least=2)
    return _complements(jnp.arange(m), m)


@_check.pure
def grouped(groups: Labels, *, folds: Static[int]) -> Folds:
    """k folds that keep groups whole: no group is both learned from and held out.

    The largest group not yet dealt out goes to the fold with the fewest rows. With as
    many folds as groups, each fold holds out one.

    Args:
        groups: (m,) the group of each row, integers from 0 on.
        folds: how many, k, at most the number of groups.

    Returns:
        Folds of masks, (k, m). Under jit, more folds than groups leave some
        of them with no rows held out; cross_validate passes over them.

    Raises:
        ValueError: groups that are no integers (m,), or fewer than k.

    """
    m = len(groups)
    _at_most(folds, m)
    if not isinstance(groups, jax.core.Tracer):
        there = len(np.unique(np.asarray(groups)))
        if folds > there:
            raise ValueError(f"folds must be at most the {there} groups, not {folds}")
    _, member = jnp.unique(groups, return_inverse=True, size=m)
    size = jnp.zeros(m, jnp.int32).at[member].add(1)

    def deal(load, group):
        fold = jnp.argmin(load)
        return load.at[fold].add(size[group]), fold

    order = jnp.argsort(-size, stable=True)
    _, fold = jax.lax.scan(deal, jnp.zeros(folds, jnp.int32), order)
    fold = jnp.zeros(m, fold.dtype).at[order].set(fold)
    return _complements(fold[member], folds)


@_check.host
def time_ordered(
    m: int,
    *,
    folds: int,
    test_size: int | None = None,
    gap: int = 0,
    longest: int | None = None,
) -> Folds:
    """k folds of m rows in order of time: each learns from the rows before its own.

    The last k · test_size rows are held out in k blocks.

    Args:
        m: how many rows there are, the oldest first.
        folds: how many, k.
        test_size: rows in each block; m // (folds + 1) if None.
        gap: rows left out between those learned from and those held out.
        longest: the most rows to learn from, the latest; None for all.

    Returns:
        Folds of masks, (k, m).

    Raises:
        ValueError: counts that are no ints, or leave the first fold without rows.

    """
    folds = _check.count("folds", folds)
    m, gap = _check.count("m", m, at_least=2), _check.count("gap", gap, at_least=0)
    test_size = m // (folds + 1) if test_size is None else test_size
    test_size = _check.count("test_size", test_size)
    longest = m if longest is None else _check.count("longest", longest)
    start = m - np.arange(folds, 0, -1)[:, None] * test_size
    if start[0, 0] - gap < 1:
        blocks = f"{folds} blocks of {test_size} rows and a gap of {gap}"
        raise ValueError(f"m = {m} leaves no rows to learn from before {blocks}")
    row, end = np.arange(m)[None], start - gap
    train = (row < end) & (row >= end - longest)
    test = (row >= start) & (row < start + test_size)
    return Folds(jnp.asarray(train), jnp.asarray(test))


def _at_most(folds: int, m: int) -> None:
    if _check.count("folds", folds) > _check.count("m", m):
        raise ValueError(f"folds must be at most m = {m}, not {folds}")


def _complements(fold: jax.Array, k: int) -> Folds:
    """Folds that hold out the rows, (m,), which bear their number."""
    test = fold[None] == jnp.arange(k, dtype=fold.dtype)[:, None]
    return Folds(~test, test)

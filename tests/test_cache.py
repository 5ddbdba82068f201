"""Rows of a matrix that are kept: always the right ones, seldom computed twice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml.regression.svm import _cache

ROWS, ASKED, ROUNDS = 300, 70, 25
RANDOM = np.random.default_rng(0)
MATRIX = RANDOM.normal(size=(ROWS, ROWS)).astype(np.float32)
# From two thirds of the rows; some are asked for twice at once.
WANTED = RANDOM.integers(0, 200, (ROUNDS, ASKED)).astype(np.int32)


@pytest.mark.parametrize("most", [64, 2048])
def test_rows_stay_until_the_fetch_after_next(most, monkeypatch):
    """In a ring that overflows all the time, and in one that holds everything."""
    monkeypatch.setattr(_cache, "MOST", most)
    matrix = jnp.asarray(MATRIX)

    @jax.jit
    def run(wanted):
        def step(state, now):
            cache, before = state
            new = _cache.fetch(cache, now, lambda i: matrix[i])
            both = jnp.concatenate([before, now])
            right = new.rows[new.place[both]] == matrix[both]
            computed = (new.head - cache.head) % len(new.owner)
            return (new, now), (right.all(), computed)

        cache = _cache.empty(ROWS, ASKED, matrix.dtype)
        cache = _cache.fetch(cache, wanted[0], lambda i: matrix[i])
        return jax.lax.scan(step, (cache, wanted[0]), wanted[1:])[1]

    right, computed = run(WANTED)
    assert right.all()
    first = _cache.CHUNK * _cache._chunks(ASKED)
    total = int(computed.sum()) + first
    print(f"{total} rows computed of {WANTED.size} asked for")
    if most == 2048:  # after some rounds all 200 rows are there
        assert total >= 200
        assert (computed[-5:] == 0).all()
    else:
        assert total > WANTED.size / 2

"""The marked loop of coordinate descent against the same loop as it is."""

import contextlib
import time

import jax
import jax.numpy as jnp
import numpy as np
from sklearn import linear_model

from jaxml.optimize import _single_kernel, check
from jaxml.regression import lasso


def test_the_marked_loop_is_one_kernel():
    """It gives what the plain loop does, and does it many times as fast."""
    assert _single_kernel._works()
    rng = np.random.default_rng(0)
    n = 192
    x = rng.normal(size=(400, n)).astype(np.float32)
    gram, c = x.T @ x / 400, x.T @ rng.normal(size=400).astype(np.float32) / 400
    arrays = gram, np.diag(gram), 1 / np.diag(gram), np.full(n, 0.02, np.float32), c
    arrays = [jnp.asarray(a) for a in (*arrays, np.zeros(n, np.float32))]
    arrays += [jnp.int32(n), jnp.float32(-1)]
    loop = _single_kernel._loop

    def plain(*a):
        return loop(*a, sweeps=50, positive=False)

    seconds, found = [], []
    for run in (jax.jit(plain), jax.jit(_single_kernel._marked(plain))):
        found.append(jax.block_until_ready(run(*arrays)))
        times = []
        for _ in range(3):
            start = time.perf_counter()
            jax.block_until_ready(run(*arrays))
            times.append(time.perf_counter() - start)
        seconds.append(min(times))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    print(f"plain {seconds[0]:.4f} s, marked {seconds[1]:.4f} s")
    assert seconds[0] > 3 * seconds[1]


def test_without_the_mark_all_is_the_same(monkeypatch, x64):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 12)), rng.normal(size=60)
    _single_kernel._sequential.cache_clear()
    with contextlib.ExitStack() as stack:
        stack.callback(_single_kernel._sequential.cache_clear)
        monkeypatch.setattr(_single_kernel, "_works", lambda: False)
        fit = jax.jit(lambda x: lasso.fit(x, y, l1=0.1, tol=1e-10, max_iter=333))(x)
    theirs = linear_model.Lasso(alpha=0.1, tol=1e-14).fit(x, y)
    np.testing.assert_allclose(check(fit).params.w, theirs.coef_, atol=1e-9)

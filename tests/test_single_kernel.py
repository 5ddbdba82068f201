"""The marked loop of coordinate descent against the same loop as it is."""

import contextlib

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from sklearn import linear_model

from jaxml import check
from jaxml.optimize import _single_kernel
from jaxml.regression import lasso


def test_the_marked_loop_gives_what_the_plain_one_does():
    """And the mark, with which it is compiled, is there: this jaxlib was tested."""
    assert jaxlib.__version__ in _single_kernel.TESTED
    rng = np.random.default_rng(0)
    n = 192
    x = rng.normal(size=(400, n)).astype(np.float32)
    gram, c = x.T @ x / 400, x.T @ rng.normal(size=400).astype(np.float32) / 400
    arrays = gram, np.diag(gram), 1 / np.diag(gram), np.full(n, 0.02, np.float32), c
    arrays = [jnp.asarray(a) for a in (*arrays, np.zeros(n, np.float32))]
    arrays += [jnp.int32(n), jnp.float32(-1)]

    def plain(*a):
        return _single_kernel._loop(*a, sweeps=50, positive=False)

    marked = jax.jit(_single_kernel._marked(plain))
    assert 'xla_cpu_small_call = "true"' in marked.lower(*arrays).as_text()
    for a, b in zip(jax.jit(plain)(*arrays), marked(*arrays), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_without_the_mark_all_is_the_same(monkeypatch, x64):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 12)), rng.normal(size=60)
    _single_kernel._sequential.cache_clear()
    with contextlib.ExitStack() as stack:
        stack.callback(_single_kernel._sequential.cache_clear)
        monkeypatch.setattr(_single_kernel, "TESTED", ())
        fit = jax.jit(lambda x: lasso.fit(x, y, l1=0.1, tol=1e-10, max_iter=333))(x)
    theirs = linear_model.Lasso(alpha=0.1, tol=1e-14).fit(x, y)
    np.testing.assert_allclose(check(fit).params.w, theirs.coef_, atol=1e-9)

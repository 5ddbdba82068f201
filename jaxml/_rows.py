"""Sums over rows, taken in blocks that stay in the cache."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._units import shares, weights_or_ones

ROWS = 2000  # rows of a block; 500 are too little work, 5000 leave the cache
WIDE = 144  # columns from which products are made in panels
PANEL, PANELS = 112, 7  # columns of a panel while these many panels are enough


def total(function: Callable[..., Any], *arrays: jax.Array | None) -> Any:
    """Σ over blocks of rows of function(*blocks), a pytree of sums.

    Each of arrays, (m, …), is read once, however much function does with a block. On
    an accelerator function takes all rows at once. None among arrays is passed on.
    """

    def blocks(*arrays):
        def add(i, sums):
            part = function(*_cut(arrays, i * ROWS, ROWS))
            return jax.tree.map(jnp.add, sums, part)

        whole, rest = divmod(_count(arrays), ROWS)
        shapes = jax.eval_shape(function, *_cut(arrays, 0, ROWS))
        sums = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        sums = jax.lax.fori_loop(0, whole, add, sums)
        if rest:
            part = function(*_cut(arrays, whole * ROWS, rest))
            sums = jax.tree.map(jnp.add, sums, part)
        return sums

    def add_up(parts):
        return jax.tree.map(lambda p: jnp.sum(p, axis=0, dtype=p.dtype), parts)

    return _by_blocks(function, blocks, add_up, arrays)


def each(function: Callable[..., Any], *arrays: jax.Array | None) -> Any:
    """function(*arrays), (m, …) arrays, made of blocks of rows as in `total`."""

    def blocks(*arrays):
        def put(result, start, size):
            part = function(*_cut(arrays, start, size))
            return jax.tree.map(
                lambda f, p: jax.lax.dynamic_update_slice_in_dim(f, p, start, 0),
                result,
                part,
            )

        m = _count(arrays)
        whole, rest = divmod(m, ROWS)
        shapes = jax.eval_shape(function, *_cut(arrays, 0, ROWS))
        result = jax.tree.map(lambda s: jnp.zeros((m, *s.shape[1:]), s.dtype), shapes)
        result = jax.lax.fori_loop(
            0, whole, lambda i, result: put(result, i * ROWS, ROWS), result
        )
        return put(result, whole * ROWS, rest) if rest else result

    def join(parts):
        return jax.tree.map(lambda p: p.reshape(-1, *p.shape[2:]), parts)

    return _by_blocks(function, blocks, join, arrays)


def _by_blocks(function, blocks, together, arrays):
    """function(*arrays), on a CPU with many rows by blocks.

    Where there are several devices the rows may be laid over them, and a block cut out
    of all of them would be gathered from all. So each share of the rows, one for a
    device, is cut by itself, and the shares are put together.
    """
    m = _count(arrays)
    if m <= 2 * ROWS:
        return function(*arrays)

    def shares(*arrays):
        devices = jax.device_count()
        if devices == 1:
            return blocks(*arrays)
        if m % devices:  # rows of one device, else they would divide
            return function(*arrays)
        parts = [
            None if a is None else a.reshape(devices, -1, *a.shape[1:]) for a in arrays
        ]
        small = m // devices <= 2 * ROWS
        return together(jax.vmap(function if small else blocks)(*parts))

    return jax.lax.platform_dependent(
        cpu=lambda: shares(*arrays), default=lambda: function(*arrays)
    )


def qr(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Q, (m, p), and R, (p, p), of a, (m, p), m >= p.

    Where there are several devices, each factorises its share of the rows, and what is
    gathered are the factors R alone (Demmel et al., 2012).
    """
    if not shared(a):
        return _qr(a)
    m, p = a.shape
    own, upper = _qr(a.reshape(jax.device_count(), -1, p))
    joint, upper = _qr(upper.reshape(-1, p))
    return (own @ joint.reshape(-1, p, p)).reshape(m, p), upper


@jax.custom_jvp
def _qr(a):
    return tuple(jnp.linalg.qr(a))


@_qr.defjvp
@_check.precise
def _qr_jvp(primals, tangents):
    """JAX's own rule, whose products would round where hardware does."""
    return jax.jvp(lambda a: tuple(jnp.linalg.qr(a)), primals, tangents)


def svd(a: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """U, (m, r), s, (r,), and Vᵀ, (r, p), of a, (m, p), with r = min(m, p); as `qr`."""
    q, upper = qr(a) if shared(a) else (None, a)
    u, s, vt = jnp.linalg.svd(upper, full_matrices=False)
    return u if q is None else q @ u, s, vt


def shared(a: jax.Array) -> bool:
    """Whether each of several devices may have a share of the rows, itself tall."""
    m, p = a.shape
    devices = jax.device_count()
    return devices > 1 and m % devices == 0 and m // devices >= p


def row(x: jax.Array, index: jax.Array) -> jax.Array:
    """x[index], (…), for one index, (): a slice would gather x from several devices."""
    return x[index[None]][0]


def _count(arrays):
    return len(next(a for a in arrays if a is not None))


def _cut(arrays, start, size):
    return [
        None if a is None else jax.lax.dynamic_slice_in_dim(a, start, size)
        for a in arrays
    ]


def with_b(params: Any) -> Any:
    """Params with b = 0 where it is None, as in a fit that has no intercept."""
    if params.b is not None:
        return params
    return params._replace(b=jnp.zeros_like(params.w[0]))


def with_ones(x: jax.Array, intercept: bool = True) -> jax.Array:
    """[x, 1], (m, p): a column for the intercept, where there is one."""
    if not intercept:
        return x
    return jnp.concatenate([x, jnp.ones_like(x, shape=(len(x), 1))], axis=1)


def mean(x: jax.Array, weights: jax.Array | None) -> jax.Array:
    """Σ wᵢ xᵢ / Σ wᵢ over the rows of x, (m,) or (m, t): () or (t,)."""
    if weights is None:
        return jnp.mean(x, axis=0)
    share = shares(weights)
    if x.ndim == 1:
        return share @ x
    return jnp.sum(share[:, None] * x, axis=0)  # on a CPU faster than a product


class Normal(NamedTuple):
    """The normal equations of centred rows: gram · w = cross."""

    gram: jax.Array  # (n, n) Σ wᵢ (xᵢ - x̄)(xᵢ - x̄)ᵀ / Σ wᵢ
    cross: jax.Array  # (n, t) Σ wᵢ (xᵢ - x̄)(yᵢ - ȳ)ᵀ / Σ wᵢ
    mean_x: jax.Array  # (n,) x̄; 0 without an intercept
    mean_y: jax.Array  # (t,) ȳ


def normal(
    x: jax.Array, y: jax.Array, weights: jax.Array | None, intercept: bool
) -> Normal:
    """The normal equations for x, (m, n), and y, (m, t).

    Centred about the means, from all rows that count: a few of them can lie anywhere.
    What is taken off afterwards is what rounding left: it loses no precision.
    """
    near_x, near_y = jnp.zeros_like(x[0]), jnp.zeros_like(y[0])
    if intercept:
        near_x, near_y = mean(x, weights), mean(y, weights)
    weights = weights_or_ones(weights, x)

    def sums(x, y, weights):
        # One product for all: each of its own would be compiled and read x again.
        centred = with_ones(x - near_x[None])
        right = jnp.concatenate([centred, y - near_y[None]], axis=1)
        return triangle(centred * weights[:, None], right)

    n, weight = x.shape[1], jnp.sum(weights)
    result = mirrored(total(sums, x, y, weights)) / weight
    gram, cross = result[:n, :n], result[:n, n + 1 :]
    if not intercept:
        return Normal(gram, cross, near_x, near_y)
    mean_x, mean_y = result[n, :n], result[n, n + 1 :]
    gram -= jnp.outer(mean_x, mean_x)
    cross -= jnp.outer(mean_x, mean_y)
    return Normal(gram, cross, near_x + mean_x, near_y + mean_y)


def symmetric(a: jax.Array, b: jax.Array) -> jax.Array:
    """aᵀb, (p, p + t), for a, (r, p), and b, (r, p + t), if aᵀb is symmetric up to t.

    Of wide products only the upper triangle is made, in panels of columns: XLA has no
    product that knows of symmetry.
    """
    return mirrored(triangle(a, b))


def triangle(a: jax.Array, b: jax.Array) -> list[list[jax.Array]]:
    """The panels of `symmetric`, which can be summed before they are put together."""
    p = a.shape[1]
    if p < WIDE:
        return [[a.T @ b]]
    width = -(-p // min(PANELS, -(-p // PANEL)))
    width += -width % 16  # whole vectors
    starts = [*range(width, p, width)]
    left, right = (jnp.split(c, starts, axis=1) for c in (a, b))
    return [[c.T @ d for d in right[i:]] for i, c in enumerate(left)]


def mirrored(parts: list[list[jax.Array]]) -> jax.Array:
    """aᵀb from what `triangle` made of it."""
    if len(parts) == 1:
        return parts[0][0]

    def below(i, j):
        return parts[j][i - j][:, : len(parts[i][0])].T

    rows = enumerate(parts)
    return jnp.block([[below(i, j) for j in range(i)] + row for i, row in rows])

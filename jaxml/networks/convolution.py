"""Convolution and pooling of images, (m, h, w, c): rows, height, width, channels.

On a CPU a convolution is a matrix product. The window under the kernel becomes a row,
and windows are made of shifted images, so that the derivative is a sum of shifted
images too: XLA's own convolutions are ten times slower there, once differentiated. On
accelerators it is XLA's, which are the vendor's.

Of stride s, an image is first cut into cells of s × s pixels, which become channels:
windows then overlap by whole cells, and the stride is 1. Pooling of p × p values takes
the maximum of a convolution at p × p places: one window of k + p - 1 pixels at stride p
holds all it needs, so the two together are one product.
"""

import functools
from typing import Annotated

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import Array, Count, Static

__all__ = ["conv", "conv_max_pool", "max_pool", "mean_pool"]

PADDINGS = ("valid", "same", "periodic")
LAYOUT = ("NHWC", "HWIO", "NHWC")

Images = Annotated[Array, "m h w c"]
Kernel = Annotated[Array, "p q c f"]


@_check.pure(full_precision=False)
def conv(
    x: Images, kernel: Kernel, *, stride: Count = 1, padding: Static[str] = "valid"
) -> jax.Array:
    """Σ_abc x[m, si + a, sj + b, c] kernel[a, b, c, f], (m, h', w', f), at stride s.

    The kernel is not turned round, as everywhere in machine learning: what it is
    strictly is a cross-correlation. x is (m, h, w, c), kernel (p, q, c, f).

    Args:
        x: (m, h, w, c) images.
        kernel: (p, q, c, f) filters.
        stride: s, pixels from one window to the next.
        padding: "valid": h' = ⌊(h - p)/s⌋ + 1, only whole windows; "same": h' = ⌈h/s⌉,
            zeros around; "periodic": as "same", of an image that repeats itself.

    """
    x = _padded(x, kernel.shape[:2], stride, padding)
    _fits(x, kernel)
    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(_product, stride=stride),
        default=functools.partial(_convolved, stride=stride),
    )


@_check.pure(full_precision=False)
def conv_max_pool(
    x: Images, kernel: Kernel, *, pool: Count = 2, padding: Static[str] = "valid"
) -> jax.Array:
    """max_pool(conv(x, kernel), size=pool), (m, h'/pool, w'/pool, f), in one product.

    A bias, and an activation that rises, may be applied after it: of the largest value
    they are the largest. x, (m, h, w, c), kernel, (p, q, c, f), and padding as in conv.
    """
    x = _padded(x, kernel.shape[:2], 1, padding)
    _fits(x, kernel, pool)

    def separate(x, kernel):
        return max_pool(_convolved(x, kernel, 1), size=pool)

    together = functools.partial(_product_pooled, pool=pool)
    return jax.lax.platform_dependent(x, kernel, cpu=together, default=separate)


@_check.pure(full_precision=False)
def max_pool(x: Images, *, size: Count = 2, stride: Count | None = None) -> jax.Array:
    """max_ab x[m, si + a, sj + b, c], (m, h', w', c), over size × size pixels.

    Of equal values the first has the derivative. What is left over at the lower and the
    right edge is dropped. x is (m, h, w, c); stride is size if None.
    """
    return _largest(_pooled(x, size, stride))


@_check.pure(full_precision=False)
def mean_pool(x: Images, *, size: Count = 2, stride: Count | None = None) -> jax.Array:
    """Mean_ab x[m, si + a, sj + b, c], (m, h', w', c); arguments as in max_pool."""
    return jnp.mean(_pooled(x, size, stride), axis=3)


# --- windows --------------------------------------------------------------------------


def _padded(x, size, stride, padding):
    """The image with what padding puts around it."""
    padding = _check.option("padding", padding, PADDINGS)
    if padding == "valid":
        return x
    widths = [(0, 0)]
    for length, width in zip(x.shape[1:3], size, strict=True):
        more = max(0, (-(-length // stride) - 1) * stride + width - length)
        widths.append((more // 2, more - more // 2))
    widths.append((0, 0))
    return jnp.pad(x, widths, mode="constant" if padding == "same" else "wrap")


def _fits(x, kernel, pool=1):
    for name, length, width in zip("hw", x.shape[1:3], kernel.shape[:2], strict=True):
        if length < width + pool - 1:
            raise ValueError(
                f"x has {name} = {length} pixels, fewer than the {width + pool - 1} of "
                "a window"
            )


def _convolved(x, kernel, stride):
    strides = stride, stride
    return jax.lax.conv_general_dilated(
        x, kernel, strides, "VALID", dimension_numbers=LAYOUT
    )


def _product(x, kernel, stride):
    """The convolution as rows of windows times the kernel as a matrix."""
    return _times(_windows(x, kernel.shape[:2], stride), _as_matrix(kernel, stride))


def _product_pooled(x, kernel, pool):
    """Windows of k + pool - 1 pixels times the kernel at pool × pool places in them."""
    p, q, _, f = kernel.shape
    rows = _windows(x, (p + pool - 1, q + pool - 1), pool)
    edges = [(i, pool - 1 - i) for i in range(pool)]
    placed = [jnp.pad(kernel, (a, b, (0, 0), (0, 0))) for a in edges for b in edges]
    matrix = _as_matrix(jnp.concatenate(placed, axis=3), pool)
    values = _times(rows, matrix)
    return _largest(values.reshape(*values.shape[:3], pool * pool, f))


def _times(rows, matrix):
    """Windows, (m, h', w', r), times a matrix, (r, f): one product of two matrices.

    With three axes summed over, what makes the derivative would be fused into a loop.
    """
    result = rows.reshape(-1, rows.shape[3]) @ matrix
    return result.reshape(*rows.shape[:3], -1)


def _windows(x, size, stride):
    """Windows of that size as rows, (m, h', w', r), in cells of stride × stride."""
    m, h, w, c = x.shape
    cells = [-(-length // stride) for length in size]
    count = [(n - k) // stride + 1 for n, k in zip((h, w), size, strict=True)]
    high, wide = ((n + k - 1) * stride for n, k in zip(count, cells, strict=True))
    # Where windows are not whole cells the last ones reach beyond the image.
    x = x[:, :high, :wide]
    x = jnp.pad(x, ((0, 0), (0, high - x.shape[1]), (0, wide - x.shape[2]), (0, 0)))
    x = x.reshape(m, high // stride, stride, wide // stride, stride, c)
    x = jnp.moveaxis(x, 3, 2).reshape(m, high // stride, wide // stride, -1)
    # One axis after the other: p + q shifts, not p × q, of which most are small.
    x = jnp.concatenate([x[:, :, j : j + count[1]] for j in range(cells[1])], axis=3)
    return jnp.concatenate([x[:, i : i + count[0]] for i in range(cells[0])], axis=3)


def _as_matrix(kernel, stride):
    """The kernel, (p, q, c, f), as (r, f), in the order of `_windows`."""
    p, q, c, f = kernel.shape
    kernel = jnp.pad(kernel, ((0, -p % stride), (0, -q % stride), (0, 0), (0, 0)))
    p, q = (length // stride for length in kernel.shape[:2])
    kernel = kernel.reshape(p, stride, q, stride, c, f)
    return jnp.moveaxis(kernel, 2, 1).reshape(-1, f)


# --- pools ----------------------------------------------------------------------------


def _pooled(x, size, stride):
    """What is pooled together, (m, h', w', size², c)."""
    stride = size if stride is None else stride
    m, h, w, c = x.shape
    if min(h, w) < size:
        raise ValueError(
            f"x has {h} × {w} pixels, fewer than a pool of {size} × {size}"
        )
    high, wide = ((n - size) // stride + 1 for n in (h, w))
    if stride == size:
        x = x[:, : high * size, : wide * size]
        x = x.reshape(m, high, size, wide, size, c)
        return jnp.moveaxis(x, 3, 2).reshape(m, high, wide, size * size, c)
    last = (high - 1) * stride + 1, (wide - 1) * stride + 1
    shifts = [
        x[:, i : i + last[0] : stride, j : j + last[1] : stride]
        for i in range(size)
        for j in range(size)
    ]
    return jnp.stack(shifts, axis=3)


@jax.custom_jvp
def _largest(values):
    """The largest of values, (m, h, w, k, c), along k."""
    return jnp.max(values, axis=3)


@_largest.defjvp
def _largest_jvp(primals, tangents):
    """The derivative is that of the first of the largest."""
    (values,), (moved,) = primals, tangents
    result = jnp.max(values, axis=3)
    number = jax.lax.broadcasted_iota(jnp.int32, values.shape, 3)
    largest = jnp.where(values == result[:, :, :, None], number, values.shape[3])
    first = number == jnp.min(largest, axis=3, keepdims=True)
    return result, jnp.sum(jnp.where(first, moved, 0), axis=3)

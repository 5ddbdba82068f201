"""Convolution and pooling: XLA's own answers, of both modes of differentiation."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml.networks import convolution
from tests.common.samples import Made

LAYOUT = ("NHWC", "HWIO", "NHWC")
SAMPLES = {
    "x": Made(lambda seed: np.random.default_rng(seed).normal(size=(4, 7, 6, 2))),
    "kernel": Made(
        lambda seed: np.random.default_rng(seed + 9).normal(size=(3, 2, 2, 3))
    ),
    "stride": 2,
    "size": 2,
    "pool": 2,
    "padding": "same",
}
FREE = ("x", "kernel")  # as many images, and pixels of a filter, as there are


def lax_conv(x, kernel, stride=1, padding="valid"):
    if padding == "periodic":
        x = jax.vmap(lambda image: wrapped(image, kernel.shape, stride))(x)
        padding = "valid"
    strides = stride, stride
    return jax.lax.conv_general_dilated(
        x, kernel, strides, padding.upper(), dimension_numbers=LAYOUT
    )


def wrapped(image, size, stride):
    """An image that repeats itself, by the index of each pixel."""
    index = []
    for n, k in zip(image.shape[:2], size[:2], strict=True):
        more = max(0, (-(-n // stride) - 1) * stride + k - n)
        index.append(np.arange(-(more // 2), n + more - more // 2) % n)
    return image[np.ix_(*index)]


def lax_pool(x, size, stride):
    return jax.lax.reduce_window(
        x, -jnp.inf, jax.lax.max, (1, size, size, 1), (1, stride, stride, 1), "VALID"
    )


def shapes(count):
    """Random sizes of images and kernels, strides and pools."""
    rng = np.random.default_rng(3)
    for _ in range(count):
        p, q, s, pool = rng.integers(1, [5, 6, 4, 4])
        h, w = rng.integers([p + pool - 1, q + pool - 1], 12)
        m, c, f = rng.integers(1, [4, 4, 5])
        yield {"x": (m, h, w, c), "kernel": (p, q, c, f), "stride": s, "pool": pool}


def whole(rng, shape, dtype):
    """Small whole numbers: exact in any order of summation, and full of ties."""
    return rng.integers(-2, 3, shape).astype(dtype)


CASES = [
    pytest.param(each, marks=() if i < 4 else pytest.mark.long)
    for i, each in enumerate(shapes(40))
]


def agree(ours, theirs, *args):
    """Values and both derivatives, in one program: to the last bit."""

    @jax.jit
    def everything(args, moved):
        results = []
        for function in (ours, theirs):
            out, tangent = jax.jvp(function, args, moved)
            back = jnp.round(3 * jnp.cos(jnp.arange(out.size, dtype=out.dtype)))
            adjoint = jax.vjp(function, *args)[1](back.reshape(out.shape))
            results.append((out, tangent, adjoint))
        return results

    rng = np.random.default_rng(1)
    moved = tuple(whole(rng, a.shape, a.dtype) for a in args)
    one, two = everything(args, moved)
    chex.assert_trees_all_equal_shapes_and_dtypes(one, two)
    chex.assert_trees_all_equal(one, two)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_they_are_xlas(case, dtype):
    with jax.enable_x64(dtype == "float64"):
        rng, s, pool = np.random.default_rng(0), int(case["stride"]), int(case["pool"])
        x, kernel = (whole(rng, case[name], dtype) for name in ("x", "kernel"))
        for padding in ("valid", "same", "periodic"):
            agree(
                lambda x, k, padding=padding: convolution.conv(
                    x, k, stride=s, padding=padding
                ),
                lambda x, k, padding=padding: lax_conv(x, k, s, padding),
                x,
                kernel,
            )
        agree(
            lambda x, k: convolution.conv_max_pool(x, k, pool=pool),
            lambda x, k: lax_pool(lax_conv(x, k), pool, pool),
            x,
            kernel,
        )
        agree(
            lambda x: convolution.max_pool(x, size=pool, stride=s),
            lambda x: lax_pool(x, pool, s),
            x,
        )


def test_a_window_written_out(x64):
    """The sum of the docstring, term by term, of each padding."""
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 4, 5, 3)), rng.normal(size=(3, 2, 3, 4))
    expected = np.zeros((2, 2, 4, 4))
    for i, j, a, b in itertools.product(range(2), range(4), range(3), range(2)):
        expected[:, i, j] += x[:, i + a, j + b] @ kernel[a, b]
    np.testing.assert_allclose(convolution.conv(x, kernel), expected, rtol=1e-12)
    around = convolution.conv(x, kernel, padding="periodic")
    for shift in (1, 3):  # moving the image round moves the answer
        moved = convolution.conv(np.roll(x, shift, 1), kernel, padding="periodic")
        np.testing.assert_allclose(moved, np.roll(around, shift, 1), rtol=1e-10)


def test_means_of_pools(x64):
    x = np.random.default_rng(0).normal(size=(2, 5, 7, 3))
    expected = x[:, :4, :6].reshape(2, 2, 2, 3, 2, 3).mean((2, 4))
    np.testing.assert_allclose(convolution.mean_pool(x), expected, rtol=1e-12)
    stepped = convolution.mean_pool(x, size=3, stride=1)
    np.testing.assert_allclose(stepped[:, 1, 2], x[:, 1:4, 2:5].mean((1, 2)))


def test_the_first_of_equal_values_has_the_derivative(x64):
    x = np.zeros((1, 4, 4, 1))
    slope = jax.grad(lambda x: convolution.max_pool(x).sum())(x)[0, :, :, 0]
    np.testing.assert_array_equal(slope, np.tile([[1, 0], [0, 0]], (2, 2)))
    one = jax.grad(lambda x: convolution.max_pool(x, size=3, stride=1).sum())(x)
    np.testing.assert_array_equal(one[0, :2, :2, 0], 1)
    assert one.sum() == 4


def test_derivatives_of_derivatives(x64):
    """jvp of grad, and of all directions at once, are the Hessian by differences."""
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(3, 6, 6, 2)), rng.normal(size=(3, 3, 2, 4))

    def cost(kernel):
        a = convolution.conv_max_pool(jnp.tanh(x), kernel)
        return jnp.sum(jnp.tanh(convolution.mean_pool(a)) ** 2)

    moved = rng.normal(size=kernel.shape)
    gradient = jax.jit(jax.grad(cost))
    ours = jax.jit(lambda k: jax.jvp(gradient, (k,), (moved,))[1])(kernel)
    step = 1e-6
    ends = (gradient(kernel + step * moved), gradient(kernel - step * moved))
    np.testing.assert_allclose(ours, (ends[0] - ends[1]) / (2 * step), atol=1e-7)
    columns = jax.jit(jax.jacfwd(gradient))(kernel)
    np.testing.assert_allclose(jnp.vdot(columns[0, 0, 0, 0], moved), ours[0, 0, 0, 0])


def test_bad_input():
    x, kernel = np.zeros((2, 5, 5, 3)), np.zeros((3, 3, 3, 4))
    for call, message in [
        (lambda: convolution.conv(x, np.zeros((3, 3, 2, 4))), "kernel has shape"),
        (lambda: convolution.conv(x, np.zeros((6, 3, 3, 4))), "x has h = 5 pixels"),
        (lambda: convolution.conv(x, kernel, padding="full"), "padding must be"),
        (lambda: convolution.conv(x, kernel, stride=0), "stride must be"),
        (lambda: convolution.conv_max_pool(x, kernel, pool=4), "x has h = 5 pixels"),
        (lambda: convolution.max_pool(x, size=6), "x has 5 × 5 pixels"),
        (lambda: convolution.conv(x[0], kernel), "x has shape"),
    ]:
        with pytest.raises(ValueError, match=f"^{message}"):
            call()

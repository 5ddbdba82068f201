"""Bad input is refused by name; good input of any kind is taken."""

import functools
import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jax.experimental import checkify

import jaxml
from jaxml import (
    Fit,
    Status,
    _check,
    bootstrap,
    calibration,
    ising,
    kmeans,
    linear,
    metrics,
    mixture,
    pca,
    ridge,
    xy,
)
from jaxml._check import (
    Array,
    Binary,
    Count,
    Key,
    Labels,
    NonNegative,
    Positive,
    Rows,
    Static,
    Targets,
    Weights,
    ranges,
    trees,
)
from jaxml._check.annotations import Role
from jaxml.networks import feedforward, neuron
from jaxml.optimize import minimize

M, N = 30, 4
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(M, N)).astype(np.float32)
Y = (X @ np.arange(1, N + 1)).astype(np.float32)
LABELS = (Y > 0).astype(np.int32)
TARGETS = np.eye(2, dtype=np.float32)[LABELS]


@_check.pure
def plain(
    x: Rows, y: Targets, *, l2: NonNegative = 0.0, weights: Weights | None = None
):
    w = jnp.ones_like(y) if weights is None else weights
    return jnp.vdot(w, x.sum(axis=1) * y) + l2


@_check.fit
def fitted(
    x: Rows,
    y: Targets,
    *,
    l2: NonNegative = 0.0,
    learning_rate: Positive = 1.0,
    tol: NonNegative = 1e-3,
    weights: Weights | None = None,
    max_iter: Count = 3,
):
    cost = learning_rate * plain(x, y, l2=l2, weights=weights) + tol
    status = jnp.where(jnp.isfinite(cost), Status.CONVERGED, Status.NONFINITE)
    return Fit(x.mean(axis=0), cost, cost, jnp.int32(0), status, jnp.zeros(max_iter))


@_check.fit
def classified(
    x: Rows,
    y: Annotated[Array, "m:labels k"],
    *,
    k: Count = 2,
    weights: Weights | None = None,
):
    return fitted(x, jnp.zeros_like(x[:, 0]), weights=weights)


@_check.pure
def same(x: Array):
    return x


@_check.pure
def noise(key: Key, *, shape: Static[tuple[int, ...]] = (2,)):
    return jax.random.normal(key, shape)


@_check.pure
def moded(x: Rows, *, mode: Static[Any] = None):
    return x


NET = feedforward.init(jax.random.key(0), sizes=(N, 3, 2))
PERCEPTRON = neuron.Params(jnp.zeros(N + 1), jnp.int32(0))


# --- the matrix of bad data ---------------------------------------------------------


def put(array, value, place=5):
    array = np.array(array, float)
    array.flat[place] = value
    return array


BAD = {  # what is done to the good arrays, by the argument to be named
    "x nan": lambda x, y: {"x": put(x, np.nan)},
    "x too large for float32": lambda x, y: {"x": put(x, 1e39)},
    "x +inf": lambda x, y: {"x": put(x, np.inf)},
    "x -inf": lambda x, y: {"x": put(x, -np.inf)},
    "x nan of jax": lambda x, y: {"x": jnp.asarray(put(x, np.nan), jnp.float32)},
    "x 0-D": lambda x, y: {"x": np.float64(3)},
    "x number": lambda x, y: {"x": 3.0},
    "x 1-D": lambda x, y: {"x": x[:, 0]},
    "x 3-D": lambda x, y: {"x": x[:, :, None]},
    "x zero rows": lambda x, y: {"x": x[:0], "y": y[:0]},
    "x zero columns": lambda x, y: {"x": x[:, :0]},
    "x None": lambda x, y: {"x": None},
    "x strings": lambda x, y: {"x": x.astype(str)},
    "x string": lambda x, y: {"x": "data.csv"},
    "x bytes": lambda x, y: {"x": x.astype("S")},
    "x complex": lambda x, y: {"x": x + 1j},
    "x complex of jax": lambda x, y: {"x": jnp.asarray(x + 1j)},
    "x object": lambda x, y: {"x": np.array([[object()] * N] * M)},
    "x numbers as objects": lambda x, y: {"x": x.astype(object)},
    "x ragged": lambda x, y: {"x": [[1, 2], [3]] * (M // 2)},
    "x dict": lambda x, y: {"x": {"a": 1}},
    "x set": lambda x, y: {"x": {1, 2}},
    "x generator": lambda x, y: {"x": (row for row in x)},
    "x function": lambda x, y: {"x": np.sin},
    "x sparse": lambda x, y: {"x": scipy.sparse.csr_matrix(x)},
    "x masked": lambda x, y: {"x": np.ma.masked_greater(x, 1)},
    "x dates": lambda x, y: {"x": x.astype(int).astype("M8[D]")},
    "x keys": lambda x, y: {"x": jax.random.split(jax.random.key(0), (M, N))},
    "y a row short": lambda x, y: {"y": y[:-1]},
    "y an axis more": lambda x, y: {"y": np.stack([y, y], axis=1)},
    "y scalar": lambda x, y: {"y": y.ravel()[0]},
    "y None": lambda x, y: {"y": None},
    "y strings": lambda x, y: {"y": np.full(y.shape, "a")},
    "y sparse": lambda x, y: {"y": scipy.sparse.csr_matrix(np.atleast_2d(y))},
    "y nan": lambda x, y: {"y": put(y, np.nan)},
    "y inf": lambda x, y: {"y": put(y, np.inf)},
    "weights a row short": lambda x, y: {"weights": np.ones(M - 1)},
    "weights nan": lambda x, y: {"weights": put(np.ones(M), np.nan)},
    "weights negative": lambda x, y: {"weights": put(np.ones(M), -1)},
    "weights all zero": lambda x, y: {"weights": np.zeros(M)},
    "weights strings": lambda x, y: {"weights": ["a"] * M},
}
FUNCTIONS = {
    "plain": (lambda x, y, **w: plain(x, y, **w), Y),
    "fitted": (lambda x, y, **w: fitted(x, y, **w), Y),
    "classified": (lambda x, y, **w: classified(x, y, **w), LABELS),
    "feedforward.cost": (lambda x, y, **w: feedforward.cost(NET, x, y, **w), TARGETS),
    "feedforward.fit": (lambda x, y, **w: feedforward.fit(NET, x, y, **w), TARGETS),
    "neuron.fit": (lambda x, y, **w: neuron.fit(PERCEPTRON, x, y, **w), LABELS),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_bad_data_are_refused_by_name(function, bad):
    call, y = FUNCTIONS[function]
    arguments = {"x": X, "y": y} | BAD[bad](X, y)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        call(**arguments)
    name = bad.split()[0]
    assert str(caught.value).split()[0] == name, str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"x": put(X, np.nan, 17)},
            "x holds 1 non-finite value at row 4, column 1",
        ),
        (
            {"x": np.where(X > 0, np.inf, X)},
            f"x holds {(X > 0).sum()} non-finite values, the first at row 0, column 0",
        ),
        ({"y": put(Y, np.nan, 9)}, "y holds 1 non-finite value at row 9"),
        ({"y": Y[:, None]}, "y has shape (30, 1), not (m,) where m = 30, n = 4"),
        ({"y": Y[:3]}, "y has shape (3,), not (m,) where m = 30, n = 4"),
        ({"x": X[0]}, "x has shape (4,), not (m, n)"),
        ({"x": X[:0], "y": Y[:0]}, "x is empty: it has shape (0, 4)"),
        ({"x": None}, "x must be an array, not None"),
        ({"x": X + 1j}, "x must hold real numbers, not complex64"),
        ({"x": scipy.sparse.csr_matrix(X)}, "x is sparse: pass x.toarray()"),
        ({"x": np.ma.masked_less(X, 0)}, "x is masked: give missing rows weight 0"),
        ({"weights": np.zeros(M)}, "weights are all zero"),
        (
            {"weights": put(np.ones(M), -1)},
            "weights must lie in [0, inf); the entry 5 is -1.0",
        ),
    ],
)
def test_the_message(change, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        plain(**{"x": X, "y": Y} | change)
    assert str(caught.value) == message


X[0, 0] = abs(X[0, 0])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (LABELS - 1, "y holds the label -1; labels count from 0"),
        (LABELS + 1, "y holds the label 2, not one of 0 … 1"),
        (0.5 * LABELS, "y must hold integer labels, not 0.5"),
        (put(LABELS, np.nan), "y must hold integer labels, not nan"),
        (jnp.asarray(LABELS, float) + 1, "y holds the label 2, not one of 0 … 1"),
        (LABELS + np.int64(2**32), "y holds the label 4294967297, not one of 0 … 1"),
        (LABELS.astype("u4") - 2, "y holds the label 4294967295, not one of 0 … 1"),
    ],
)
def test_labels(y, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        classified(X, y)
    assert str(caught.value) == message
    assert classified(X, LABELS > 0).status == Status.CONVERGED


# --- hyper-parameters, static arguments, keys ---------------------------------------


VALUES = {
    "negative": -1.0,
    "nan": float("nan"),
    "inf": float("inf"),
    "minus inf": -float("inf"),
    "string": "a",
    "None": None,
    "list": [1.0],
    "complex": 1j,
    "array": np.ones(1),
    "array of jax": jnp.ones(2),
    "complex of NumPy": np.complex64(1),
    "date": np.datetime64("2024-01-01"),
    "too large an int": 10**400,
    "complex of jax": jnp.asarray(1j),
    "nan of jax": jnp.asarray(jnp.nan),
    "object": object(),
    "dict": {},
    "ragged": [[1], [1, 2]],
    "masked": np.ma.masked,
    "key": jax.random.key(0),
}


def quadratic(w, l2=0.0):
    return jnp.vdot(w, w) * (1 + l2)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("name", ["l2", "learning_rate", "tol"])
def test_bad_hyper_parameters_are_refused_by_name(name, value):
    calls = [lambda **h: fitted(X, Y, **h)]
    if name == "l2":
        calls += [lambda **h: plain(X, Y, **h)]
        calls += [lambda **h: feedforward.cost(NET, X, TARGETS, **h)]
    if (name, value) != ("learning_rate", "None"):  # the default of these
        calls += [lambda **h: feedforward.fit(NET, X, TARGETS, **h)]
    own = value in ("None", "list", "array", "array of jax", "negative")
    if (name == "tol" and value != "None") or (
        name == "l2" and not own
    ):  # what l2 is, the cost says
        calls += [lambda **h: minimize(quadratic, jnp.zeros(2), **h)]
    for call in calls:
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            call(**{name: VALUES[value]})
        assert str(caught.value).split()[0] == name, str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (2**31, "max_iter must be at most 2147483647, not 2147483648"),
        (0, "max_iter must be at least 1, not 0"),
        (-2, "max_iter must be at least 1, not -2"),
        (1.5, "max_iter must be a Python int, not 1.5"),
        (2.0, "max_iter must be a Python int, not 2.0"),
        ("3", "max_iter must be a Python int, not '3'"),
        (True, "max_iter must be a Python int, not True"),
        (None, "max_iter must be a Python int, not None"),
        (jnp.int32(3), "max_iter must be static (a Python value), not an array"),
        (np.array([3]), "max_iter must be static (a Python value), not an array"),
        ([3], "max_iter must be a Python int, not (3,)"),
    ],
)
def test_counts(value, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        fitted(X, Y, max_iter=value)
    assert str(caught.value) == message


def test_a_traced_count_is_told_to_be_static():
    with pytest.raises(ValueError, match=r"^max_iter must be static"):
        jax.jit(lambda k: fitted(X, Y, max_iter=k))(3)


@pytest.mark.parametrize("wrong", ["mean", 3, None])
def test_functions(wrong):
    """A function is told to be one, by name, and not when it is called inside."""
    with pytest.raises(ValueError, match=r"^statistic must be a function, not "):
        bootstrap.jackknife(wrong, X)


@pytest.mark.parametrize("wrong", ["a", 3, (2, -1), (2, 1.5), (2, 2**31), None])
def test_shapes_of_lattices(wrong):
    for lattice in (ising, xy):
        with pytest.raises(ValueError, match=r"^shape must be "):
            lattice.init(jax.random.key(0), shape=wrong)
    assert ising.init(jax.random.key(0), shape=[2, 2]).shape == (2, 2)


def test_static_arguments():
    key = jax.random.key(0)
    assert fitted(X, Y, max_iter=np.int64(3)).history.shape == (3,)
    np.testing.assert_array_equal(noise(key, shape=[2]), noise(key, shape=(2,)))
    with pytest.raises(ValueError, match=r"^shape must be a tuple of sizes, not {}"):
        noise(key, shape={})
    with pytest.raises(ValueError, match=r"^mode must be hashable, not {}"):
        moded(X, mode={})


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (0, "key must be made by jax.random.key(seed), not 0"),
        (None, "key must be made by jax.random.key(seed), not None"),
        (
            jax.random.PRNGKey(0),
            "key must be made by jax.random.key(seed), not an array of uint32",
        ),
        (
            np.zeros(2, np.uint32),
            "key must be made by jax.random.key(seed), not an array of uint32",
        ),
        (
            jax.random.split(jax.random.key(0)),
            "key has shape (2,), not (): use jax.vmap for many",
        ),
    ],
)
def test_keys(bad, message):
    for call in (noise, jax.jit(noise)):
        if not isinstance(bad, (jax.Array, np.ndarray)) and call is not noise:
            continue
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            call(bad)
        assert str(caught.value) == message


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plain(X), "plain() missing a required argument: 'y'"),
        (lambda: plain(X, Y, 0.1), "plain() too many positional arguments"),
        (lambda: plain(X, Y, l3=1), "plain() got an unexpected keyword argument 'l3'"),
        (lambda: noise(), "noise() missing a required argument: 'key'"),
    ],
)
def test_calls_that_do_not_fit_are_type_errors(call, message):
    with pytest.raises(TypeError) as caught:
        call()
    assert str(caught.value) == message


# --- the same under every transformation --------------------------------------------


SHAPES = {
    "eager": lambda f: f,
    "jit": jax.jit,
    "vmap": lambda f: lambda *a: jax.vmap(f)(*(jnp.stack([v, v]) for v in a)),
    "jit(vmap)": lambda f: lambda *a: jax.jit(jax.vmap(f))(*(v[None] for v in a)),
    "grad": jax.grad,
    "jacfwd": jax.jacfwd,
    "eval_shape": lambda f: lambda *a: jax.eval_shape(f, *a),
}


@pytest.mark.parametrize("transform", SHAPES)
def test_a_wrong_shape_reads_the_same(transform):
    call = SHAPES[transform](lambda x, y: fitted(x, y).cost)
    for bad in ((jnp.asarray(X), jnp.asarray(Y[:, None])), (jnp.asarray(X), Y[:4])):
        shape = bad[1].shape
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            call(*bad)
        wanted = f"y has shape {shape}, not (m,) where m = 30, n = 4"
        assert str(caught.value) == wanted


def test_bad_values_become_a_status():
    """Under vmap, member by member; the good one is not touched."""
    bad = put(X, np.nan), put(X, np.inf)
    status = jax.jit(jax.vmap(lambda x: fitted(x, Y).status))(
        jnp.asarray(np.stack([X, *bad]), jnp.float32)
    )
    assert status.tolist() == [Status.CONVERGED, Status.NONFINITE, Status.NONFINITE]

    ones = np.ones(M)
    weights = np.stack([ones, put(ones, -1), 0 * ones, put(ones, np.nan)])
    status = jax.vmap(lambda w: fitted(X, Y, weights=w).status)(jnp.asarray(weights))
    good, invalid = Status.CONVERGED, Status.INVALID
    assert status.tolist() == [good, invalid, invalid, Status.NONFINITE]

    labels = jnp.stack([LABELS, LABELS - 1, LABELS + 1])
    status = jax.vmap(lambda y: classified(X, y).status)(labels)
    assert status.tolist() == [good, invalid, invalid]

    for name, values in {
        "l2": [0.0, -1.0, -1e-30],
        "learning_rate": [1.0, 0.0, -1.0],
        "tol": [0.0, -1.0, -jnp.inf],
    }.items():
        run = jax.vmap(lambda v, name=name: fitted(X, Y, **{name: v}).status)
        assert run(jnp.array(values))[0] == good
        assert (run(jnp.array(values))[1:] >= invalid).all()


def test_an_array_of_an_outer_jit_is_left_to_the_status():
    """What an outer jit closes over is concrete, but cannot be asked there."""
    outside = jnp.asarray(X)
    assert jax.jit(lambda y: fitted(outside, y).status)(Y) == Status.CONVERGED
    assert jax.jit(lambda: fitted(X, Y).status)() == Status.CONVERGED


# --- what is taken ------------------------------------------------------------------


TAKEN = {
    "list": X.tolist(),
    "tuple": tuple(map(tuple, X.tolist())),
    "float64": X.astype(float),
    "big-endian": X.astype(">f4"),
    "big-endian float64": X.astype(">f8"),
    "longdouble": X.astype(np.longdouble),
    "Fortran": np.asfortranarray(X),
    "strided": np.repeat(X, 2, axis=1)[:, ::2],
    "reversed": X[::-1][::-1],
    "jax": jnp.asarray(X),
    "memoryview": memoryview(X),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_arrays_of_any_kind_are_one(kind):
    taken = same(TAKEN[kind])
    assert isinstance(taken, jax.Array)
    assert (taken.dtype, taken.weak_type) == ("float32", False)
    np.testing.assert_array_equal(taken, X)
    assert fitted(TAKEN[kind], Y).cost == fitted(X, Y).cost


def test_read_only_memory():
    x = X.copy()
    x.flags.writeable = False
    np.testing.assert_array_equal(same(x), X)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int64, ">i4", np.uint64])
def test_integers_become_floats(dtype):
    taken = same(np.arange(6).reshape(2, 3).astype(dtype))
    assert taken.dtype == "float32"
    np.testing.assert_array_equal(taken, np.arange(6).reshape(2, 3).astype(dtype))


def test_float64_where_it_is_enabled(x64):
    assert same(X.astype(float)).dtype == "float64"
    assert same(X).dtype == "float32"
    assert same([1, 2]).dtype == same([1.0, 2.0]).dtype == "float64"
    assert same(X.astype(np.longdouble)).dtype == "float64"
    assert plain(X, Y, l2=np.float64(1)).dtype == "float32"
    assert plain(X, Y.astype(float)).dtype == "float64"
    fit = fitted(X, Y, l2=np.float64(1), tol=1, learning_rate=jnp.float64(2))
    assert fit.cost.dtype == "float32"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_single(dtype):
    x, y = jnp.asarray([[300.0, 400.0]], dtype), jnp.asarray([300.0], dtype)
    exact = plain(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32))
    assert exact > 65504  # more than float16 holds
    assert plain(x, y, l2=-0.0).dtype == dtype

    @_check.pure
    def mean_square(x: Rows):
        assert x.dtype == "float32"
        return jnp.mean(x**2) / 1000

    found = mean_square(x)
    assert found.dtype == dtype
    np.testing.assert_allclose(float(found), 125, rtol=1e-2)
    # NumPy's own float16, and bfloat16 in a NumPy array, too.
    assert mean_square(np.asarray(x)).dtype == dtype
    fit = fitted(x, y)
    assert fit.params.dtype == dtype
    assert fit.status.dtype == "int32"


def test_sums_over_rows_are_not_handed_back_in_half_precision():
    """70,000 rows are more than float16 holds; what is no sum stays narrow."""
    m = 70_000
    y, sure = np.ones(m, int), np.full(m, 0.75, np.float16)
    diagram = calibration.reliability(y, sure, bins=1)
    assert (float(diagram.weight[0]), diagram.accuracy.dtype) == (m, "float16")
    assert metrics.confusion(y, y, k=2, weights=np.ones(m, np.float16))[1, 1] == m
    moments = pca.moments(np.stack([sure, 0.5 * sure], axis=1))
    assert (float(moments.weight), moments.mean.dtype) == (m, "float16")
    assert pca.from_moments(moments, k=1).mean.dtype == "float16"


def aligned(array):
    """A copy at an address that JAX on CPU would use in place."""
    memory = np.empty(array.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def test_numpy_memory_is_copied():
    """Whoever changes an array later does not change ours."""

    @_check.pure
    def kept(tree, y: Labels):
        return tree, y

    x, z, y = aligned(X), aligned(X), aligned(LABELS)
    views = jax.device_put(x).unsafe_buffer_pointer() == x.ctypes.data
    mine, (tree, labels) = same(x), kept({"z": z}, y)
    jax.block_until_ready((mine, tree, labels))
    x[:], z[:], y[:] = 7, 7, 1 - y
    np.testing.assert_array_equal(mine, X)
    np.testing.assert_array_equal(tree["z"], X)
    np.testing.assert_array_equal(labels, LABELS)
    if jax.default_backend() == "cpu":
        assert views  # else this test shows nothing


def test_one_trace_for_arrays_and_numbers_of_any_kind():
    fitted(X, Y)
    before = fitted.traces
    for x in TAKEN.values():
        for l2 in (0, 0.5, np.float64(1), jnp.float32(2), np.int32(1), True):
            fitted(x, Y.tolist(), l2=l2, tol=l2)
    assert fitted.traces == before
    fitted(X[:5], Y[:5])
    assert fitted.traces == before + 1


# --- trees --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"w": "a"}, "params must be a pytree of arrays; it holds 'a'"),
        ({"w": np.array(["a"])}, "params must hold real numbers, not <U1"),
        ({"w": np.ones(2) + 1j}, "params must hold real numbers, not complex128"),
        ({"w": jnp.ones(2) + 1j}, "params must hold real numbers, not complex64"),
        ({"w": np.ma.ones(2)}, "params is masked: give missing rows weight 0"),
        (
            {"w": scipy.sparse.csr_matrix(X)},
            "params must be a pytree of arrays; it hol",
        ),
        (np.zeros(2, int), "params must hold floats, not int32"),
    ],
)
def test_bad_params(params, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        minimize(quadratic, params)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (put(X, np.nan), "data[0] holds 1 non-finite value at row 1, column 1"),
        (
            {"x": [X, put(X, np.inf)]},
            "data[0]['x'][1] holds 1 non-finite value at row 1, column 1",
        ),
        ("a", "data must be a pytree of arrays; it holds 'a'"),
        (X.astype(str), "data must hold real numbers, not <U"),
        (X.astype(object), "data must hold real numbers, not object"),
        (X + 1j, "data must hold real numbers, not complex64"),
        (scipy.sparse.csr_matrix(X), "data must be a pytree of arrays"),
        (np.ma.masked_less(X, 0), "data is masked"),
    ],
)
def test_bad_data_of_minimize(data, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        minimize(lambda w, data: jnp.vdot(w, w), jnp.zeros(2), data)
    assert str(caught.value).startswith(message)


LINE = linear.Params(jnp.ones(N), jnp.float32(0))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (None, "not None"),
        ((LINE.w, LINE.b), "not a tuple"),
        ({"w": LINE.w, "b": LINE.b}, "not a dict"),
        (fitted(X, Y), "not a Fit"),
        (linear.fit(X, Y), "not a Fit: pass params.params"),
    ],
)
def test_params_of_another_kind(params, message):
    for call in (linear.predict, jax.jit(linear.predict)):
        with pytest.raises(ValueError, match=r"^params must be a ") as caught:
            call(params, X)
        wanted = "params must be a jaxml.regression.linear.Params(w, b), "
        assert str(caught.value) == wanted + message


@pytest.mark.parametrize(
    ("call", "params", "message"),
    [
        (
            linear.predict,
            LINE._replace(w=LINE.w[None]),
            "params.w has shape (1, 4), not",
        ),
        (linear.predict, LINE._replace(w=np.ones(3)), "params.w has shape (3,), not "),
        (
            kmeans.fit,
            kmeans.Params(np.ones((1, 2, N))),
            f"params.centres has shape (1, 2, 4), not (k, n) where m = {M}, n = 4",
        ),
        (
            mixture.fit,
            mixture.Params(np.ones(2) / 2, np.ones((2, N)), np.ones((2, N, 3))),
            "params.covariances has shape (2, 4, 3), not (k, n, n) or (n, n) or ",
        ),
    ],
)
def test_shapes_of_params(call, params, message):
    """The fields of Params say their shapes, and share the letters of the arrays."""
    for run in (call, jax.jit(call)):
        with pytest.raises(ValueError, match=r"^params\.") as caught:
            run(params, X)
        assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (LINE._replace(b=None), "params.b must be an array, not None"),
        (LINE._replace(w={"a": 1.0}), "params.w must be an array, not a dict"),
        (LINE._replace(w=(LINE.w,)), "params.w must be an array, not a tuple"),
        (LINE._replace(w=np.array(["a"] * N)), "params.w must hold real numbers, not "),
        (LINE._replace(b=1j), "params.b must be an array, not a complex"),
    ],
)
def test_fields_of_params_are_arrays(params, message):
    with pytest.raises(ValueError, match=r"^params\.") as caught:
        linear.predict(params, X)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("params", "y", "message"),
    [
        (LINE, Y[:, None], "params.w has shape (4,), not (n, t) where m = 30, n = 4"),
        (LINE._replace(b=np.zeros(1)), Y, "params.b has shape (1,), not ()"),
        (LINE._replace(w=LINE.w[:, None]), Y, "params.w has shape (4, 1), not (n,) "),
    ],
)
def test_all_or_none_have_many_targets(params, y, message):
    """A column beside a vector would be broadcast to all pairs of rows."""
    with pytest.raises(ValueError, match=r"^params\.") as caught:
        linear.cost(params, X, y)
    assert str(caught.value).startswith(message)


class Halves(NamedTuple):
    left: Annotated[jax.Array, "_rows"]
    right: Annotated[jax.Array, "_rows+1"]
    maybe: Annotated[jax.Array | None, "n"] = None


class Whole(NamedTuple):
    one: Halves
    other: Halves


@_check.pure
def of_halves(whole: Whole, x: Rows):
    return x


def _halves(rows):
    return Halves(np.ones(rows), np.ones(rows + 1))


@pytest.mark.parametrize(
    ("whole", "message"),
    [
        (
            Whole(_halves(2), _halves(3)._replace(left=np.ones(4))),
            "whole.other.right has shape (4,), not (rows + 1,) where m = 30, n = 4, r",
        ),
        (
            Whole(_halves(2), _halves(3)._replace(maybe=np.ones(3))),
            "whole.other.maybe has shape (3,), not (n,)",
        ),
        (Whole(_halves(2), None), "whole.other must be a tests.test_check.Halves("),
        (
            Whole(_halves(2), _halves(3)._replace(left=None)),
            "whole.other.left must be an array, not None",
        ),
    ],
)
def test_nested_params(whole, message):
    """Letters of its own, sizes that are one more, fields that may be None."""
    of_halves(Whole(_halves(2), _halves(3)), X)
    with pytest.raises(ValueError, match=r"^whole\.") as caught:
        of_halves(whole, X)
    assert str(caught.value).startswith(message)


@_check.pure
def of_pair(
    x: Rows, pair: tuple[jax.Array, jax.Array], options: Mapping[str, Any] | None = None
):
    return pair


@pytest.mark.parametrize(
    ("pair", "options", "message"),
    [
        ((X,), {}, "pair must be a tuple of 2 arrays, not of 1"),
        (X, {}, "pair must be a tuple of 2 arrays, not a ndarray"),
        (LINE, {}, "pair must be a tuple of 2 arrays, not a Params"),
        ((X, None), {}, "pair[1] must be an array, not None"),
        ((X, X), [("a", 1)], "options must be a dict of arrays, not a list"),
    ],
)
def test_tuples_and_mappings(pair, options, message):
    assert len(of_pair(X, (X, Y), None)) == 2
    with pytest.raises(ValueError, match=r"^(pair|options)") as caught:
        of_pair(X, pair, options)
    assert str(caught.value).startswith(message)


def test_the_shape_that_agrees_is_chosen():
    """(2, 4) is a diagonal of each of two clusters where tied would be (4, 4)."""
    ones = np.ones((2, N))
    params = mixture.Params(np.ones(2) / 2, ones, ones, covariance="diagonal")
    assert mixture.predict(params, X).shape == (M,)


def test_lists_in_params_are_arrays():
    """Lists of numbers, also of lists; a list of arrays stays the pytree it is."""
    lists = linear.Params(LINE.w.tolist(), 0.5)
    np.testing.assert_allclose(linear.predict(lists, X), X.sum(axis=1) + 0.5, rtol=1e-5)
    nested = replace(NET, theta=tuple(theta.tolist() for theta in NET.theta))
    np.testing.assert_array_equal(
        feedforward.predict(nested, X), feedforward.predict(NET, X)
    )
    tree = [jnp.ones(2), [1, 2.0]]
    taken = trees.tree("params", tree, None)
    assert taken[0] is tree[0]
    np.testing.assert_array_equal(taken[1], [1, 2])


@pytest.mark.parametrize("wrong", ["no", "a", None, 1, 0.0, float("nan"), jnp.bool_(1)])
def test_booleans(wrong):
    with pytest.raises(ValueError, match=r"^intercept must be (True or False|static)"):
        ridge.fit(X, Y, l2=0.1, intercept=wrong)
    assert int(ridge.fit(X, Y, l2=0.1, intercept=np.bool_(True)).status) == 0


def test_whole_floats_are_labels():
    """0.0 and 1.0 are labels; under jit floats cannot be looked at."""
    expected = classified(X, LABELS, k=2).params
    for y in (LABELS.astype(float), jnp.asarray(LABELS, float), LABELS.tolist()):
        np.testing.assert_array_equal(classified(X, y, k=2).params, expected)
    with pytest.raises(ValueError, match=r"^y must hold integer labels, not float32"):
        jax.jit(lambda y: classified(X, y, k=2))(LABELS.astype(np.float32))


@pytest.mark.parametrize("scale", [1e-30, 2.5e37])
def test_weights_of_any_size_are_weights(scale):
    """Only their ratios count, although their sum overflows or squares underflow."""
    weights = np.linspace(1, 2, M).astype(np.float32)
    large = (weights * np.float32(scale)).astype(np.float32)
    for fit in (linear.fit, functools.partial(ridge.fit, l2=0.1)):
        wanted, found = (fit(X, Y, weights=w).params for w in (weights, large))
        np.testing.assert_allclose(found.w, wanted.w, rtol=1e-5)
    traced = jax.jit(lambda w: ridge.fit(X, Y, l2=0.1, weights=w))(large)
    overflows = large.sum(dtype=float) > np.finfo(np.float32).max
    assert overflows == (int(traced.status) == Status.INVALID)


@pytest.mark.parametrize("power", [-100, 126])
def test_a_fit_sees_weights_of_moderate_size(power):
    """By a power of two, also where a model does not scale them itself."""
    weights = np.linspace(0.5, 0.9, M).astype(np.float32)
    found = fitted(X, Y, weights=weights * np.float32(2.0**power))
    np.testing.assert_array_equal(found.cost, fitted(X, Y, weights=weights).cost)
    assert int(found.status) == Status.CONVERGED


def test_numbers_of_python_have_no_width(x64):
    """float32 data stay float32 beside lists and numbers where float64 is allowed."""
    x, y = X.astype(np.float32), Y.astype(np.float32)
    for l2 in (0.1, [0.1] * N, 1):
        fit = ridge.fit(x, y, l2=l2)
        assert {a.dtype for a in (fit.params.w, fit.cost)} == {jnp.dtype("float32")}
        assert ridge.cost(fit.params, x, y, l2=l2).dtype == "float32"
    assert plain(x.tolist(), y.tolist()).dtype == "float64"


def test_calls_under_the_settings_people_debug_with():
    """Strict promotion and transfer guards are about their code, not about calls."""
    moved, start = [jax.device_put(a) for a in (X, Y)], jnp.zeros(2)
    settings = [
        jax.transfer_guard("disallow"),
        jax.numpy_dtype_promotion("strict"),
        jax.debug_nans(True),
    ]
    for setting in settings:
        with setting:
            jax.block_until_ready(fitted(*moved, l2=0.5, weights=np.arange(M)))
            jax.block_until_ready(linear.predict(LINE, moved[0]))
            jax.block_until_ready(ridge.fit(*moved, l2=0.5))
            jax.block_until_ready(feedforward.fit(NET, X, TARGETS, max_iter=2))
            jax.block_until_ready(minimize(quadratic, start, l2=0.5))


# --- helpers ------------------------------------------------------------------------


def test_shapes():
    x, w = jnp.asarray(X), jnp.ones(N)
    assert _check.shapes(x=(x, "m n"), w=(w, "n")) == {"m": M, "n": N}
    assert _check.shapes(x=(x, "m|m t")) == {"m": M, "t": N}
    assert _check.shapes(x=(x, "m 4")) == {"m": M, "4": 4}
    message = r"^w has shape \(4,\), not \(m,\) where m = 30, n = 4$"
    with pytest.raises(ValueError, match=message):
        _check.shapes(x=(x, "m n"), w=(w, "m"))
    with pytest.raises(ValueError, match=r"^x has shape \(30, 4\), not \(m, 2\)"):
        _check.shapes(x=(x, "m 2"))
    message = r"^x has shape \(30, 4\), not \(m,\) or \(\)$"
    with pytest.raises(ValueError, match=message):
        _check.shapes(x=(x, "m|"))


def test_checked_raises_where_arithmetic_goes_wrong():
    checked = jaxml.checkify(lambda x: jnp.log(x).sum())
    assert checked(jnp.ones(3)) == 0
    with pytest.raises(checkify.JaxRuntimeError, match="nan generated by primitive"):
        checked(jnp.array([1.0, -1.0]))
    with pytest.raises(checkify.JaxRuntimeError, match="division by zero"):
        jaxml.checkify(lambda x: 1 / x)(jnp.zeros(()))
    with pytest.raises(checkify.JaxRuntimeError, match="out-of-bounds"):
        jaxml.checkify(lambda x, i: x[i])(jnp.arange(3.0), 10)


def test_checked_keeps_the_name_and_options():
    checked = jaxml.checkify(plain)
    assert checked.__name__ == "plain"
    np.testing.assert_allclose(checked(X, Y, l2=1.0), plain(X, Y, l2=1.0), rtol=1e-6)


def test_a_declared_function_keeps_its_face():
    assert plain.__name__ == "plain"
    assert (plain.kind, fitted.kind) == ("pure", "fit")
    assert str(inspect.signature(fitted)) == (
        "(x: (m, n), y: (m,), *, l2: number in [0, inf) = 0.0, "
        "learning_rate: number in (0, inf) = 1.0, tol: number in [0, inf) = 0.001, "
        "weights: (m,) in [0, inf) | None = None, max_iter: int in [1, inf) = 3)"
    )
    assert fitted.arguments["max_iter"].role is Role.STATIC
    assert fitted.arguments["weights"].limits == "[0, inf)"


# --- properties ---------------------------------------------------------------------


shapes = st.sampled_from([(4, 3), (1, 2), (5, 1)])
fields = st.floats(-(2.0**99), 2.0**99, width=32)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_the_first_fault_is_found_wherever_it_is(data):
    x = data.draw(hnp.arrays(np.float32, shapes, elements=fields))
    wrong = data.draw(
        hnp.arrays(bool, x.shape, elements=st.sampled_from([False, False, True]))
    )
    fault = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    bad = np.where(wrong, np.float32(fault), x)
    y = np.ones(len(x), np.float32)
    if not wrong.any():
        assert np.isfinite(same(bad)).all()
        plain(bad, y)
        return
    with pytest.raises(ValueError, match=r"^x holds") as caught:
        plain(bad, y)
    row, column = np.argwhere(wrong)[0]
    place = f"at row {row}, column {column}"
    assert str(caught.value).endswith(place)
    assert str(caught.value).startswith(f"x holds {wrong.sum()} non-finite value")


@settings(max_examples=150, deadline=None, derandomize=True)
@given(hnp.arrays(np.float32, (3, 2), elements=st.floats(width=32, allow_nan=False)))
def test_large_but_finite_values_are_taken(x):
    """Their sum may overflow, which is no reason to refuse them."""
    if np.isfinite(x).all():
        np.testing.assert_array_equal(admitted(x), x)
    else:
        with pytest.raises(ValueError, match=r"^x holds"):
            admitted(x)


@_check.pure
def admitted(x: Rows):
    return x


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(0, 3), min_size=0, max_size=3).map(tuple),
    st.lists(st.integers(0, 3), min_size=0, max_size=3).map(tuple),
)
def test_any_two_shapes_agree_or_are_refused(first, second):
    """Against the definition: x is (m, n), y is (m,), none is empty."""
    good = len(first) == 2 and 0 not in first and second == first[:1]
    run = lambda: plain_shapes(np.ones(first), np.ones(second))
    if good:
        assert run().shape == second
    else:
        with pytest.raises(ValueError, match=r"^[xy] (has shape|is empty)"):
            run()


@_check.pure
def plain_shapes(x: Rows, y: Targets):
    return y


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.floats() | st.integers(-(10**6), 10**6) | st.booleans())
def test_any_number_is_taken_or_refused(value):
    fitted(X, Y)
    before = fitted.traces
    with np.errstate(over="ignore"):
        single = np.float32(value)
    if np.isfinite(single) and single >= 0:
        assert fitted(X, Y, l2=value).status in (Status.CONVERGED, Status.NONFINITE)
    else:
        with pytest.raises(ValueError, match=r"^l2 must lie in \[0, inf\), not"):
            fitted(X, Y, l2=value)
    assert fitted.traces == before


@_check.fit
def of_classes(
    x: Rows,
    y: Annotated[Array, "m|m k:classes k"],
    *,
    k: Count = 3,
    weights: Weights | None = None,
):
    zero = jnp.zeros(())
    return Fit(jnp.asarray(y), zero, zero, jnp.int32(0), jnp.int32(0), jnp.zeros(1))


@_check.pure
def of_two(x: Rows, y: Binary):
    return y


def test_classes_are_labels_or_probabilities():
    """Integers stay integers, floats take x's dtype; a one-hot may be of either."""
    labels = np.arange(len(X)) % 3
    assert of_classes(X, labels).params.dtype == jnp.int32
    assert of_classes(X, np.eye(3)[labels]).params.dtype == X.dtype
    assert of_classes(X, np.eye(3, dtype=int)[labels]).params.dtype == X.dtype
    assert of_two(X, labels % 2 == 1).dtype == jnp.int32
    np.testing.assert_array_equal(of_two(X, labels / 4), (labels / 4).astype(X.dtype))


@pytest.mark.parametrize(
    ("function", "y", "message"),
    [
        (of_two, np.arange(len(X)), "y holds the label"),
        (of_two, np.full(len(X), 1.5), r"y must lie in \[0, 1\]; the entry 0 is 1.5"),
        (of_two, np.full(len(X), np.nan), "y holds .* non-finite"),
        (of_two, np.ones((len(X), 2)), "y has shape"),
        (of_classes, np.full(len(X), 0.5), r"y must hold integer labels.*\(m, k\)"),
        (of_classes, np.full((len(X), 3), -1.0), r"y must lie in \[0, 1\]"),
        (of_classes, np.full(len(X), 3), "y holds the label 3, not one of 0 … 2"),
    ],
)
def test_classes_out_of_range_are_refused(function, y, message):
    with pytest.raises(ValueError, match=message):
        function(X, y)


def test_traced_classes_out_of_range_are_invalid():
    status = jax.jit(lambda y: of_classes(X, y).status)
    labels = np.arange(len(X)) % 3
    assert status(labels) == Status.CONVERGED
    assert status(np.eye(3)[labels]) == Status.CONVERGED
    assert status(labels + 1) == status(2 * np.eye(3)[labels]) == Status.INVALID


def test_values_are_looked_at_once(monkeypatch):
    """By the call from outside, not again by what it calls."""
    seen = []
    look = ranges.values
    monkeypatch.setattr(
        ranges, "values", lambda name, *rest: (seen.append(name), look(name, *rest))
    )

    @_check.pure
    def outer(x: Rows, y: Targets):
        return plain(x, y) + plain(x, y, l2=1.0)

    outer(X, Y)
    assert (seen.count("x"), seen.count("y")) == (1, 1)

"""One protocol over every public function; a new module passes it as it stands.

Two depths: the quick one, here for each function at one tiny shape, and the full one
(marked long), which adds widths, other shapes and each argument by itself.
"""

import contextlib
import functools
import gc
import re
import time

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from jaxml._check import trees
from tests.common import samples, walk

PUBLIC = walk.public()
DECLARED = [p for p in PUBLIC if p.kind in ("pure", "fit")]


def each(functions):
    """Parametrise over functions."""
    return pytest.mark.parametrize("public", functions, ids=[p.id for p in functions])


def floats(tree):
    """The float leaves of a tree; typed keys and integers are left out."""
    return [a for a in jax.tree.leaves(tree) if _is_float(a)]


def _is_float(a):
    return hasattr(a, "dtype") and jnp.issubdtype(a.dtype, jnp.floating)


def of_a_width(public, tree):
    """The float leaves, but sums over rows: 16 bits might not hold them."""
    return floats(trees.of_a_width(tree, public.function.__annotations__["return"]))


def same(public, a, b):
    """Equal to rounding; what a search found, to what its tolerance leaves open."""
    chex.assert_trees_all_equal_shapes_and_dtypes(a, b)
    rtol, atol = (1e-3, 1e-4) if public.kind == "fit" else (3e-5, 1e-5)
    for u, v in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(u.dtype, jax.dtypes.prng_key):
            u, v = jax.random.key_data(u), jax.random.key_data(v)
        np.testing.assert_allclose(
            np.asarray(u, float), np.asarray(v, float), rtol=rtol, atol=atol
        )


# --- what a function looks like ----------------------------------------------------


def test_the_walk_finds_the_package():
    """An empty protocol would pass everything."""
    names = [p.id for p in PUBLIC]
    assert {"feedforward.fit", "metrics.auc", "plot.history", "check"} <= {*names}
    assert len(names) == len({id(p.function) for p in PUBLIC}), "two public paths"


@each(PUBLIC)
def test_is_declared(public):
    """Pure, fit or host; a `fit` is a fit, unless it drives others."""
    assert public.kind in ("pure", "fit", "host")
    if public.name == "fit":
        assert public.kind == "fit"


@each(DECLARED)
def test_argument_order(public):
    """(params, key, data…, *, hyperparameters); keys and seeds have no defaults."""
    parameters = public.parameters
    shapes, static = public.shapes, public.static
    place = {"params": 0, "key": 1}
    positional = [n for n, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    order = [place.get(n, 2) for n in positional if n in place or n in shapes]
    assert order == sorted(order)
    for name, parameter in parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            assert name not in ("params", "key", "x", "y")
        elif parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            assert parameter.default is parameter.empty, f"{name} has a default"
            assert name not in samples.HYPER
    assert "seed" not in parameters
    assert set(static) | set(shapes) <= set(parameters)
    assert "weights" in parameters or public.kind != "fit" or "x" not in parameters


@each(PUBLIC)
def test_docstring(public):
    """It names each argument, or where it is described, and gives shapes of arrays."""
    text = public.function.__doc__ or ""
    assert text.strip(), "no docstring"
    first = text.strip().splitlines()[0]
    assert len(first) > 10
    refers = re.search(r"\bas in\b|\bas [`\w]+ (does|takes)\b", text, re.IGNORECASE)
    missing = [
        name for name in public.parameters if not re.search(rf"\b{name}\b", text)
    ]
    assert not missing or refers, f"does not speak of {missing}"
    shapes = getattr(public.function, "shapes", {})
    if any(text != "..." for text in shapes.values()):
        assert re.search(r"\([\w, /+*-]*,?\)", text), "no shape in the docstring"


# --- transforms --------------------------------------------------------------------


@each(DECLARED)
def test_transforms(public):
    """eager = jit(vmap(scan)); no leak; nothing is mutated.

    Under strict promotion and a guard of transfers too, which people debug with.
    """
    start = time.perf_counter()
    both = [samples.arguments(public, seed=seed) for seed in (0, 1)]
    kept = {n: np.array(a) for n, a in samples.arrays(public, both[0]).items()}
    with jax.transfer_guard("disallow"):
        eager = [samples.call(public, found) for found in both]
    for name, value in kept.items():
        np.testing.assert_array_equal(both[0][name], value, f"{name} was mutated")
    stacked = jax.tree.map(_stack, *(samples.traced(public, found) for found in both))
    same(public, problems(public)(stacked), jax.tree.map(_stack, *eager))
    print(f"{public.id}: {time.perf_counter() - start:.1f} s")


@functools.cache
def problems(public):
    """The function of several problems, stacked; one program, which tests share."""
    function = samples.of_traced(public, samples.arguments(public))[0]

    def scanned(varied):
        one = jax.tree.map(lambda a: a[None], varied)
        result = jax.lax.scan(lambda _, v: (None, function(v)), None, one)[1]
        return jax.tree.map(lambda a: a[0], result)

    program = jax.jit(jax.vmap(scanned))

    def call(stacked):
        with strict():
            return program(stacked)

    return call


@contextlib.contextmanager
def strict():
    """What leaks, or promotes a dtype unasked, is an error."""
    gc.freeze()  # looking for leaks collects garbage: not that of the tests before
    try:
        with jax.checking_leaks(), jax.numpy_dtype_promotion("strict"):
            yield
    finally:
        gc.unfreeze()


def _stack(*leaves):
    return jnp.stack([jnp.asarray(leaf) for leaf in leaves])


@each([p for p in DECLARED if hasattr(p.function, "traces")])
def test_one_trace_per_shape(public):
    """No value of a hyper-parameter, as a number of any kind, traces again."""
    found = samples.arguments(public)
    hyper = [
        name
        for name, value in samples.traced(public, found).items()
        if isinstance(value, float) and name in public.parameters
    ]
    if public.kind != "fit" or not hyper:
        return  # nothing of this function is compiled by itself, or by a value
    kinds = (float, np.float64, np.float32, jnp.float32, int)
    samples.call(public, found)
    before = public.function.traces
    for name in hyper:
        for i, kind in enumerate(kinds):
            value = kind(1) if kind is int else kind(found[name] * (1 + i / 10))
            samples.call(public, {**found, name: value})
    assert public.function.traces == before


@each([p for p in DECLARED if p.kind == "fit"])
def test_fit_returns_fit(public):
    """A Fit whose fields are what they say."""
    fit = samples.call(public, samples.arguments(public))
    assert type(fit).__name__ == "Fit"
    assert fit.cost.shape == fit.residual.shape == fit.steps.shape == ()
    assert fit.status.dtype == fit.steps.dtype == jnp.int32
    assert int(fit.status) >= 0
    assert not fit.residual < 0
    for history in jax.tree.leaves(fit.history):
        assert history.ndim == 1
        recorded = np.isfinite(np.asarray(history, float))
        # What was recorded stands first.
        assert not np.any(np.diff(recorded.astype(int)) > 0)


# --- derivatives -------------------------------------------------------------------


@each(DECLARED)
def test_derivatives(public, x64):
    """Finite; equal to differences where smooth; zero behind a start; one adjoint."""
    found = samples.arguments(public, dtype=np.float64)
    function, varied = samples.of_traced(public, found)
    if public.kind == "fit" and "tol" in varied:
        varied["tol"] = 1e-11
    # How a solution is searched for does not move it.
    manner = ("tol", "learning_rate") if public.kind == "fit" else ()
    moving = {n: v for n, v in varied.items() if n not in manner and floats(_arrays(v))}
    if not moving:
        return  # nothing to differentiate with respect to
    leaves, rebuild = _float_part(moving)
    unique = public.name in samples.given(public.module, "UNIQUE", {})
    starts = public.kind == "fit" and "params" in public.parameters and not unique
    starts |= public.kind == "fit" and "state" in public.parameters

    def of(leaves):
        result = function({**varied, **rebuild(leaves)})
        if public.kind == "fit":
            result = (result.params, result.cost)
        return floats(result)

    rng = np.random.default_rng(2)
    direction = [rng.normal(size=a.shape) for a in leaves]

    @jax.jit
    def everything(leaves):
        """One program: compiling is what a test costs."""
        result, tangent = jax.jvp(of, (leaves,), (direction,))
        back = [rng.normal(size=t.shape) for t in tangent]
        return result, tangent, back, jax.vjp(of, leaves)[1](back)[0]

    traced = everything.trace(leaves)
    if not traced.out_info[1]:
        return  # labels and counts have no derivatives
    if public.function.full_precision:
        assert precisions(traced.jaxpr.jaxpr) <= {FULL}, "a product that rounds"
    tangent, back, adjoint = jax.tree.map(np.asarray, everything(leaves)[1:])
    assert all(np.isfinite(t).all() for t in tangent), "a derivative is not finite"
    one = sum(np.vdot(b, t) for b, t in zip(back, tangent, strict=True))
    two = sum(np.vdot(a, d) for a, d in zip(adjoint, direction, strict=True))
    np.testing.assert_allclose(one, two, rtol=1e-8, atol=1e-10)

    if starts:
        assert all((t == 0).all() for t in tangent), "a start has no derivatives"
        return
    if public.name in samples.given(public.module, "ROUGH", {}):
        return
    step = 1e-5
    moved = zip(leaves, direction, strict=True)
    ahead, behind = zip(*((a + step * d, a - step * d) for a, d in moved), strict=True)
    ends = [everything([*each])[0] for each in (ahead, behind)]
    for t, up, down in zip(tangent, *ends, strict=True):
        numeric = np.asarray(up - down) / (2 * step)
        scale = 1 + np.abs(numeric).max()
        np.testing.assert_allclose(t, numeric, rtol=1e-5, atol=1e-6 * scale)


FULL = (jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST)


def precisions(jaxpr):
    """The precisions of all matrix products, those of inner programs too."""
    found, ahead, seen = set(), [jaxpr], set()
    while ahead:
        jaxpr = ahead.pop()
        if id(jaxpr) in seen:  # inner programs are shared
            continue
        seen.add(id(jaxpr))
        for equation in jaxpr.eqns:
            if equation.primitive is jax.lax.dot_general_p:
                found.add(equation.params["precision"])
            ahead += jaxprs_in_params(equation.params)
    return found


def _arrays(value):
    return jax.tree.map(lambda a: np.float64(a) if isinstance(a, float) else a, value)


def _float_part(tree):
    """The float leaves of a tree, and how to put others in their place."""
    leaves, structure = jax.tree.flatten(_arrays(tree))
    where = [i for i, a in enumerate(leaves) if _is_float(a)]

    def rebuild(new):
        full = list(leaves)
        for i, a in zip(where, new, strict=True):
            full[i] = a
        return jax.tree.unflatten(structure, full)

    return [jnp.asarray(leaves[i]) for i in where], rebuild


# --- what comes in -----------------------------------------------------------------


@each(DECLARED)
def test_takes_numpy_jax_and_lists(public):
    """The same answer for arrays of NumPy, read-only ones, of JAX, and for lists."""
    found = samples.arguments(public)
    expected = samples.call(public, found)
    arrays = samples.arrays(public, found)
    for make in [jnp.asarray, _read_only, lambda a: a.tolist()]:
        taken = {**found, **{name: make(a) for name, a in arrays.items()}}
        same(public, samples.call(public, taken), expected)


def _read_only(array):
    array = np.array(array, order="F")
    array.setflags(write=False)
    return array


@each(DECLARED)
def test_takes_integers(public):
    """Integers are floats of JAX's default width."""
    found = samples.arguments(public)
    arrays = samples.arrays(public, found)
    whole = {n: np.rint(v).astype(int) for n, v in arrays.items() if n != "weights"}
    whole = {**found, **whole}
    kinds = {a.dtype for a in floats(samples.call(public, whole))}
    assert kinds <= {jnp.dtype(jnp.float32)}


@each(DECLARED)
def test_hands_back_the_width(public):
    """bfloat16 in, bfloat16 out; float32 stays float32 when float64 is allowed."""
    found = samples.arguments(public, dtype=jnp.bfloat16)
    if not floats(found):
        return  # nothing says a width
    narrow = jax.eval_shape(*samples.of_traced(public, found))
    assert {a.dtype for a in of_a_width(public, narrow)} <= {jnp.dtype(jnp.bfloat16)}
    with jax.enable_x64(True):
        found = samples.arguments(public, dtype=np.float32)
        kept = jax.eval_shape(*samples.of_traced(public, found))
        assert {a.dtype for a in floats(kept)} <= {jnp.dtype(jnp.float32)}


# --- what must not come in ---------------------------------------------------------


def refused(public, found, names):
    """The message of the ValueError, which begins with one of the names."""
    begins = rf"^({'|'.join(map(re.escape, names))})\b"
    with pytest.raises(ValueError, match=begins) as info:
        samples.call(public, found)
    return str(info.value)


def specified(public, found):
    """The arrays whose shape was declared, other than "any"."""
    shapes, arrays = public.shapes, samples.arrays(public, found)
    return {name: a for name, a in arrays.items() if shapes[name].forms != (None,)}


@each(DECLARED)
def test_wrong_shapes(public):
    """An axis too many, a row too few, nothing at all: told by name, also under jit."""
    found = samples.arguments(public)
    arrays = specified(public, found)
    names = [n for n in public.parameters]
    for name, value in arrays.items():
        wrong = {"deep": value[..., None, None, None], "empty": value[:0]}
        free = samples.given(public.module, "FREE", ())  # of any length
        if len(arrays) > 1 and value.ndim and name not in free:
            wrong["short"] = value[:-1]
        for array in wrong.values():
            eager = refused(public, {**found, name: array}, names)
            function, varied = samples.of_traced(public, {**found, name: array})
            with pytest.raises(ValueError, match=re.escape(eager)):
                jax.eval_shape(function, varied)


@each(DECLARED)
def test_wrong_kinds(public):
    """None, strings, complex numbers and ragged lists are refused by name."""
    found = samples.arguments(public)
    for name, value in specified(public, found).items():
        required = public.parameters[name].default is not None
        for wrong in (None, "a", value + 1j, [[1.0], [2.0, 3.0]], np.array([None])):
            if wrong is not None or required:
                refused(public, {**found, name: wrong}, [name])


@each(DECLARED)
def test_nan(public):
    """Eager: ValueError naming the argument. Traced: a grave status, or NaN."""
    found = samples.arguments(public)
    for name, value in specified(public, found).items():
        if not _is_float(value):
            continue
        bad = value.copy()
        bad.flat[0] = np.nan
        refused(public, {**found, name: bad}, [name])
        two = [samples.traced(public, {**found, name: value}) for value in (bad, value)]
        result = problems(public)(jax.tree.map(_stack, *two))
        result = jax.tree.map(lambda a: a[0], result)
        if public.kind == "fit":
            assert int(result.status) >= 8, f"NaN in {name} went unnoticed"
        elif leaves := floats(result):
            told = any(bool(jnp.isnan(a).any()) for a in leaves)
            assert told, f"NaN in {name} became a plausible number"


@each(DECLARED)
def test_bad_hyperparameters(public):
    """A hyper-parameter that is no number, or NaN, is refused by name."""
    found = samples.arguments(public)
    for name, value in found.items():
        if isinstance(value, float) and name not in public.static:
            for wrong in ("a", [1.0, 2.0], float("nan"), 1j, {}):
                refused(public, {**found, name: wrong}, [name])


# --- chance ------------------------------------------------------------------------


@each([p for p in DECLARED if p.random])
def test_key(public):
    """The same key gives the same draw, another another; no key is used twice."""
    found = samples.arguments(public)
    other = {**found, "key": jax.random.key(99)}
    one, two, three = (samples.call(public, f) for f in (found, found, other))
    chex.assert_trees_all_equal(one, two)
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(three), strict=True)
    assert any(bool((a != b).any()) for a, b in pairs)
    with jax.debug_key_reuse(True):
        function, varied = samples.of_traced(public, found)
        jax.jit(function)(varied)
    with jax.legacy_prng_key("allow"):
        old = jax.random.PRNGKey(0)
    refused(public, {**found, "key": old}, ["key"])


# --- the long form -----------------------------------------------------------------


@pytest.mark.long
@each(DECLARED)
@pytest.mark.parametrize("cut", ["one row", "one feature"])
def test_small_data(public, cut):
    """One row or one feature gives an answer, or an error that names an argument."""
    found = samples.arguments(public)
    letter = {"one row": "m", "one feature": "n"}[cut]
    small = dict(found)
    for name in specified(public, found):
        form = public.shapes[name].forms[0]
        for axis, size in enumerate(form):
            if size == letter:
                small[name] = np.take(small[name], [0], axis=axis)
    message = ""
    try:
        jax.block_until_ready(samples.call(public, small))
    except ValueError as error:
        message = str(error)
    assert not message or re.match(rf"({'|'.join(public.parameters)})\b", message)


@pytest.mark.long
@each(DECLARED)
@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float64])
def test_widths(public, dtype):
    """Each width in is the width out, for fits as well."""
    with jax.enable_x64(dtype == np.float64):
        found = samples.arguments(public, dtype=dtype)
        if floats(found):
            result = samples.call(public, found)
            assert {a.dtype for a in of_a_width(public, result)} <= {jnp.dtype(dtype)}


@pytest.mark.long
@each(DECLARED)
def test_vmap_op_by_op(public):
    """Without a jit around it."""
    function, varied = samples.of_traced(public, samples.arguments(public))
    stacked = jax.tree.map(_stack, varied, varied)
    expected = samples.call(public, samples.arguments(public))
    same(public, jax.vmap(function)(stacked), jax.tree.map(_stack, expected, expected))


@pytest.mark.long
@each(DECLARED)
def test_vmap_over_each_argument(public):
    """Each traced argument can be the only one with a batch axis."""
    found = samples.arguments(public)
    function, varied = samples.of_traced(public, found)
    expected = samples.call(public, found)
    for name, value in varied.items():
        double = jax.tree.map(lambda a: _stack(a, a), value)

        def alone(one, name=name):
            return function({**varied, name: one})

        both = jax.jit(jax.vmap(alone))(double)
        same(public, jax.tree.map(lambda a: a[1], both), expected)


@pytest.mark.long
@each([p for p in DECLARED if p.random])
def test_keys_under_vmap(public):
    """A batch of keys draws what each key draws alone."""
    found = samples.arguments(public)
    function, varied = samples.of_traced(public, found)
    keys = jax.random.split(jax.random.key(5), 3)
    many = jax.vmap(lambda key: function({**varied, "key": key}))(keys)
    for i, key in enumerate(keys):
        alone = samples.call(public, {**found, "key": key})
        same(public, jax.tree.map(lambda a, i=i: a[i], many), alone)

"""Optimisers and partials: equal ones are one, and what is wrong is said by name."""

import copy
import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxml import neuron, optimize
from jaxml._check import by_value
from jaxml.optimize._solver import accepted, build, check, names_taken

partial = functools.partial


def solver(rate, *, a=1, b=2):
    return optax.sgd(rate, momentum=a / b)


def made(function, *args, **options):
    return by_value("solver", partial(function, *args, **options))


def test_equality_and_hash():
    one, two = made(solver, a=3, b=4), made(solver, b=4, a=3)
    assert one == two
    assert hash(one) == hash(two)
    assert one != made(solver, a=3)
    assert one != made(solver, 0.1, a=3, b=4)
    assert one != made(optax.sgd)
    assert one != solver
    assert one != partial(solver, a=3, b=4)
    assert len({one, two, made(solver, a=3)}) == 2


def test_it_is_taken_as_it_is_the_second_time():
    one = made(solver, a=3)
    assert by_value("solver", one) is one
    assert by_value("solver", solver) is solver
    assert by_value("solver", None) is None


def test_it_can_be_copied():
    one = made(optax.sgd, momentum=0.9)
    assert copy.copy(one) == copy.deepcopy(one) == one
    assert pickle.loads(pickle.dumps(one)) == one


def test_it_calls_the_function_with_its_options():
    one = made(lambda *args, **options: (args, options), 4, a=1)
    assert one(5, c=2) == ((4, 5), {"a": 1, "c": 2})


def test_partials_are_taken_apart():
    one = made(solver, a=3, b=4)
    assert made(partial(solver, a=3), b=4) == one
    assert made(partial(solver, a=9), a=3, b=4) == one
    assert made(made(solver, a=3), b=4) == one
    assert check("solver", partial(solver, a=3, b=4)) == one
    assert check("solver", partial(made(solver, a=3), b=4)) == one


def test_partials_inside_are_compared_by_value_too():
    def outer():
        return made(solver, a=partial(solver, b=4), b=(1, 2))

    def pair():
        pair = neuron.Activation(jnp.tanh, partial(jnp.power, x2=2))
        return by_value("activation", pair)

    assert outer() == outer()
    assert hash(outer()) == hash(outer())
    assert pair() == pair()
    assert isinstance(pair(), neuron.Activation)
    assert by_value("sizes", [[3, 2], 1]) == ((3, 2), 1)
    adam = optax.adam(0.1)
    assert by_value("solver", adam) == adam


def test_equal_partials_share_a_program():
    traces = []

    @partial(jax.jit, static_argnums=0)
    def run(function, x):
        traces.append(function)
        return function(x)

    for a in (2, 2.0, 2):
        run(made(scaled, a=a), 1.0)
    assert len(traces) == 1
    run(made(scaled, a=3), 1.0)
    assert len(traces) == 2


def scaled(x, a):
    return x * a


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (
            solver,
            {"a": np.ones(2)},
            "a is compiled in: it must not be an array",
        ),
        (solver, {"b": jnp.ones(())}, "b is compiled in"),
        (solver, {"a": [1, 2]}, r"a must be hashable, not \[1, 2\]"),
        (solver, {"a": {}}, "a must be hashable"),
        (partial(solver, np.ones(2)), {}, "an argument is compiled in"),
        (partial(solver, {}), {}, "an argument must be hashable"),
        (solver, {"a": partial(solver, b=np.ones(2))}, "b is compiled in"),
    ],
)
def test_what_is_wrong_is_said(function, options, message):
    with pytest.raises(ValueError, match=f"^solver: {message}"):
        check("solver", partial(function, **options))


def test_a_traced_option_is_refused():
    with pytest.raises(ValueError, match=r"^solver: a is compiled in"):
        jax.jit(lambda a: made(solver, a=a)(0.1))(1.0)


def test_an_option_that_there_is_not():
    with pytest.raises(TypeError, match=r"solver\(\) got .* keyword argument 'c'"):
        build(check("solver", partial(solver, c=1)), 0.1)


@pytest.mark.parametrize("given", ["adam", None, 3])
def test_what_is_no_optimiser_is_refused(given):
    with pytest.raises(
        ValueError, match=r"^solver must be an optimiser such as optax.adam"
    ):
        check("solver", given)


def test_what_makes_no_transformation():
    with pytest.raises(ValueError, match=r"^solver must make an optax transformation"):
        build(lambda rate: None, 0.1)


def test_a_learning_rate_that_is_missing():
    missing = "^learning_rate must be given: {} has no default"
    with pytest.raises(ValueError, match=missing.format("adam")):
        build(optax.adam, None)
    with pytest.raises(ValueError, match=missing.format("sgd")):
        build(check("solver", partial(optax.sgd, momentum=0.9)), None)
    build(optax.lbfgs, None)


def test_an_instance_is_taken_with_its_own_rate():
    instance = optax.sgd(0.5)
    built = build(check("solver", instance), None)
    updates, _ = built.update(jnp.ones(2), built.init(jnp.ones(2)), jnp.ones(2))
    np.testing.assert_allclose(updates, -0.5)
    with pytest.raises(ValueError, match="^learning_rate must be None: solver is made"):
        build(instance, 0.1)


def test_other_type_errors_are_not_hidden():
    def broken(rate=None):
        raise TypeError("unsupported operand")

    with pytest.raises(TypeError, match="unsupported operand"):
        build(broken, None)


def _cosine(learning_rate, *, decay_steps):
    return optax.sgd(optax.cosine_decay_schedule(learning_rate, decay_steps))


@pytest.mark.parametrize(
    ("given", "learning_rate"),
    [
        (partial(_cosine, decay_steps=10), 0.5),
        (optax.sgd(optax.cosine_decay_schedule(0.5, 10)), None),
    ],
)
def test_a_schedule_is_built_inside(given, learning_rate):
    transform = build(check("solver", given), learning_rate)
    params = jnp.zeros(2)
    state, rates = transform.init(params), []
    for _ in range(4):
        updates, state = transform.update(jnp.ones(2), state, params)
        rates.append(-updates[0])
    np.testing.assert_allclose(rates, 0.25 * (1 + np.cos(np.pi * np.arange(4) / 10)))


def test_only_extra_arguments_that_are_named_are_passed():
    given = {"residual_fn": 1, "hessian_fn": 2}
    assert accepted(build(optimize.newton, None), given) == given
    assert accepted(build(optimize.gauss_newton, None), given) == {"residual_fn": 1}
    assert accepted(build(optax.sgd, 0.1), given) == {}


def test_only_hyper_parameters_that_are_named_are_passed():
    hyper = ("rate", "a", "c")
    assert names_taken(solver, hyper) == ["rate", "a"]
    assert names_taken(partial(solver, a=1), hyper) == ["rate"]
    assert names_taken(made(solver, a=1), hyper) == ["rate"]
    assert names_taken(lambda **options: None, hyper) == list(hyper)
    assert names_taken(None, hyper) == []

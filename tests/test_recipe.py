"""Recipes: equal ones are one, and what is wrong with one is said by name."""

import copy
import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxml import optimize
from jaxml.optimize import recipe
from jaxml.optimize.recipe import accepted, build, canonical


def solver(rate, *, a=1, b=2):
    return optax.sgd(rate, momentum=a / b)


def test_equality_and_hash():
    one, two = recipe(solver, a=3, b=4), recipe(solver, b=4, a=3)
    assert one == two
    assert hash(one) == hash(two)
    assert one != recipe(solver, a=3)
    assert one != recipe(optax.sgd)
    assert one != solver
    assert len({one, two, recipe(solver, a=3)}) == 2


def test_it_is_frozen_and_shows_itself():
    made = recipe(solver, a=3)
    with pytest.raises(AttributeError, match="cannot assign"):
        made.function = optax.adam
    assert repr(made) == "recipe(solver, a=3)"
    assert repr(recipe(solver)) == "recipe(solver)"


def test_it_can_be_copied():
    made = recipe(optax.sgd, momentum=0.9)
    assert copy.copy(made) == copy.deepcopy(made) == made
    assert pickle.loads(pickle.dumps(made)) == made


def test_it_calls_the_function_with_its_options():
    made = recipe(lambda *args, **options: (args, options), a=1)
    assert made(5, c=2) == ((5,), {"a": 1, "c": 2})


def test_recipes_and_partials_are_taken_apart():
    made = recipe(solver, a=3, b=4)
    assert recipe(recipe(solver, a=3), b=4) == made
    assert recipe(recipe(solver, a=9), a=3, b=4) == made
    assert recipe(functools.partial(solver, a=3), b=4) == made
    assert recipe(functools.partial(functools.partial(solver, a=3), b=4)) == made
    assert canonical("solver", functools.partial(solver, a=3, b=4)) == made
    assert recipe(functools.partial(recipe(solver, a=3), b=4)) == made


def test_equal_recipes_share_a_program():
    traces = []

    @functools.partial(jax.jit, static_argnums=0)
    def run(made, x):
        traces.append(made)
        return made(x)

    for a in (2, 2.0, 2):
        run(recipe(scaled, a=a), 1.0)
    assert len(traces) == 1
    run(recipe(scaled, a=3), 1.0)
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
        (solver, {"c": 1}, "option must be one of 'rate', 'a', 'b', not 'c'"),
        (3, {}, "function must be callable, not 3"),
        (functools.partial(solver, 0.1), {}, "function is a partial with positional"),
    ],
)
def test_what_is_wrong_is_said(function, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        recipe(function, **options)


def test_a_traced_option_is_refused():
    with pytest.raises(ValueError, match=r"^a is compiled in"):
        jax.jit(lambda a: recipe(solver, a=a)(0.1))(1.0)


@pytest.mark.parametrize("given", [optax.adam(0.1), "adam", None, 3])
def test_an_instance_is_refused(given):
    with pytest.raises(
        ValueError, match=r"^solver must be a recipe such as optax.adam"
    ):
        canonical("solver", given)


def test_what_makes_no_transformation():
    with pytest.raises(ValueError, match=r"^solver must make an optax transformation"):
        build(lambda rate: None, 0.1)
    with pytest.raises(ValueError, match=r"^schedule must be a recipe, not 0.5"):
        build(optax.sgd, 0.1, 0.5)


def test_a_rate_that_is_missing():
    with pytest.raises(ValueError, match=r"^rate must be given: adam has no default"):
        build(optax.adam, None)
    with pytest.raises(ValueError, match=r"^rate must be given"):
        build(recipe(optax.sgd, momentum=0.9), None)
    with pytest.raises(
        ValueError, match=r"^rate must be given where there is a schedule"
    ):
        build(optax.sgd, None, optax.constant_schedule)
    build(optax.lbfgs, None)


def test_other_type_errors_are_not_hidden():
    def broken(rate=None):
        raise TypeError("unsupported operand")

    with pytest.raises(TypeError, match="unsupported operand"):
        build(broken, None)


def test_a_schedule_is_built_inside():
    schedule = recipe(optax.cosine_decay_schedule, decay_steps=10)
    transform = build(optax.sgd, 0.5, schedule)
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

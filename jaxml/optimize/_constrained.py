"""Minimise under constraints; the Lagrange multipliers come with the solution.

At a minimum of J under h = 0 and g <= 0 the gradients balance, ∇J + λ·∇h + ν·∇g = 0
with ν >= 0 and ν g = 0: a constraint that is not active has no multiplier. A multiplier
is a price: if the constraint is relaxed to h = t, dJ*/dt = -λ.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from jaxml import _check
from jaxml._check import Count, NonNegative, Static
from jaxml.optimize._fit import Fit, Progress, Status, iterate
from jaxml.optimize._implicit import derived, root
from jaxml.optimize._minimize import minimize
from jaxml.optimize._newton import newton
from jaxml.optimize._solver import Solver, check, check_floats, names_of_each
from jaxml.optimize.proximal import accelerate

FIRST_PENALTY = 10.0  # the first ρ, in units of the problem
GROWTH = 10.0  # of ρ, where the constraints are not met a quarter as badly as before
DENSE = 300  # up to so many params and multipliers their conditions are solved too
LONGEST = 1e-2  # how far this may move params; farther it might find a maximum
PATIENCE = 10  # rounds without any improvement after which the search has stalled


class Solution(NamedTuple):
    """A stationary point, and the multipliers of the constraints."""

    params: Any
    equality: Any  # λ, like what the equality returns; None where there is none
    inequality: Any  # ν >= 0, like what the inequality returns; None likewise


class Units(NamedTuple):
    """What cost, constraints and params are measured in; multipliers are J over c.

    That of J is |p| max(|∇J|, |p| |∇∇J|), that of a constraint c is max(|p| |∇c|, |c|):
    near a solution J and c in these units have gradients of about 1, or curvatures.
    """

    cost: jax.Array  # ()
    equality: Any  # like h
    inequality: Any  # like g
    length: jax.Array  # () |p|, or a hundredth of what it was at the start


class Search(NamedTuple):
    """Where the method of multipliers stands."""

    solution: Solution
    units: Units
    penalty: jax.Array  # () ρ
    violation: jax.Array  # () how badly the constraints were met in the last round
    residual: jax.Array  # () of the conditions of Karush, Kuhn and Tucker


class Problem(NamedTuple):
    """The functions of a problem, each of (params, data, hyper)."""

    cost: Callable
    equality: Callable
    inequality: Callable
    projection: Callable | None


@_check.fit
def constrained(
    cost: Static[Callable[..., jax.Array]],
    params: Any,
    *data: Any,
    equality: Static[Callable[..., Any] | None] = None,
    inequality: Static[Callable[..., Any] | None] = None,
    projection: Static[Callable[..., Any] | None] = None,
    solver: Static[Solver] = newton,
    tol: NonNegative = 1e-5,
    max_iter: Count = 50,
    max_inner: Count = 200,
    **hyper: Any,
) -> Fit:
    """Minimise cost(params) with equality(params) = 0 and inequality(params) <= 0.

    The method of multipliers: J + λ·h + ρ/2 |h|² + |max(ν + ρg, 0)|² / 2ρ is minimised
    over params, then λ := λ + ρh and ν := max(ν + ρg, 0), and ρ grows where the
    constraints are not met much better than before. A step of Newton's method for all
    conditions ends each round, if there are few params. Cost, constraints and params
    are measured in units of their own, taken anew in each round.

    Args:
        cost: J(params, *data, **hyper), a scalar; static, as in optimize.minimize.
        params: where to start, a pytree of floats, feasible or not; the start itself
            gets no derivative.
        data: pytrees of arrays of any shape.
        equality: h(params, *data, **hyper), an array or a pytree of them; static.
        inequality: g(params, *data, **hyper), likewise.
        projection: projection(params, **hyper), the nearest point of a convex set in
            which params shall lie, such as optax.projections.projection_simplex;
            static.
        solver: an optax optimiser that minimises over params, such as
            newton, or optax.lbfgs for very many; where there is a projection, projected
            gradients are used instead.
        tol: () stop when the residual is at most tol, which has no units.
        max_iter: the most rounds, with new multipliers each.
        max_inner: the most steps of one round.
        hyper: scalars, or arrays; traced. Each function gets those that it takes by
            name.

    Returns:
        A Fit with Solution(params, equality, inequality), that is p, λ and ν. residual
        is the Euclidean norm of ∇J + λ·∇h + ν·∇g (for projections p less the projection
        of p - that), h and min(ν, -g), each in its unit: J in that of |p| |∇J| or of
        |p|² |∇∇J| if this is more, a constraint c in that of |p| |∇c| or of |c|, and a
        multiplier in that of J over that of c, with the largest entries for |·|; |p|
        counts as a hundredth of its start at least. The solution has derivatives with
        respect to data and hyper; they need a matrix of all params and multipliers, and
        are NaN where the multipliers are not unique. Of a cost or a constraint that is
        not convex the minimum may be a local one. Status UNBOUNDED where the
        multipliers grow without bound: the constraints contradict each other, or their
        gradients do not allow for multipliers.

    Raises:
        ValueError: an argument of the wrong kind, or values that are not finite.
        TypeError: a hyper-parameter that none of the functions takes.

    Source: Hestenes (1969), Powell (1969), Rockafellar (1973); Nocedal and Wright
    (2006), framework 17.3.

    """
    problem = _problem(cost, equality, inequality, projection, hyper)
    inner = _descent(problem, check("solver", solver), max_inner)
    fixed, constants = jax.lax.stop_gradient((data, hyper))
    start = _start(problem, jax.lax.stop_gradient(params), fixed, constants)

    def measure(result: Solution, units: Units):
        violations = _conditions(problem, result, fixed, constants, units)
        return jnp.linalg.norm(ravel_pytree(violations)[0])

    def polish(result: Solution, units: Units):
        if ravel_pytree(result)[0].size > DENSE:
            return result, measure(result, units)
        of = partial(_conditions, problem, data=fixed, hyper=constants, units=units)
        return _newton_step(of, result, units)

    def progress(state: Search, status=Status.RUNNING):
        value = problem.cost(state.solution.params, fixed, constants)
        return Progress(value, state.residual, status)

    def step(state: Search):
        penalty, units = state.penalty, state.units
        inner_tol = jnp.maximum(0.1 * jnp.minimum(state.residual, 1), 0.1 * tol)
        result = inner(state.solution, penalty, units, fixed, constants, inner_tol)
        result, violation = _updated(problem, result, penalty, units, fixed, constants)
        slow = violation > 0.25 * state.violation
        eps = jnp.finfo(violation.dtype).eps
        largest = 1 / eps**0.5 * FIRST_PENALTY
        new_penalty = jnp.where(slow, GROWTH * penalty, penalty)
        diverges = slow & (new_penalty >= largest) & (violation > eps**0.5)
        status = jnp.where(diverges, Status.UNBOUNDED, Status.RUNNING)
        units = _units(problem, result.params, first, fixed, constants)
        result, residual = polish(result, units)
        new_penalty = jnp.minimum(new_penalty, largest)
        new = Search(result, units, new_penalty, violation, residual)
        return new, progress(new, status)

    first = _first_length(problem, start.params, fixed, constants)
    units = _units(problem, start.params, first, fixed, constants)
    infinite = jnp.full_like(units.cost, jnp.inf)
    penalty = jnp.full_like(units.cost, FIRST_PENALTY)
    state = Search(start, units, penalty, infinite, measure(start, units))
    fit = iterate(
        step, state, progress(state), tol=tol, max_iter=max_iter, patience=PATIENCE
    )
    result, valid = fit.params.solution, fit.status == Status.CONVERGED
    # The envelope theorem: a move of the solution itself changes nothing.
    lagrangian = partial(_lagrangian, problem)
    value = derived(lagrangian, fit.cost, valid, result, data, hyper)

    def conditions(result, arguments):
        return _conditions(problem, result, *arguments)

    result = root(conditions, _solve, result, valid, (data, hyper))
    return fit._replace(params=result, cost=value)


def _problem(cost, equality, inequality, projection, hyper) -> Problem:
    functions = cost, equality, inequality, projection
    names = names_of_each("constrained", functions, hyper)

    def bound(function, which):
        if function is None:
            return lambda params, data, hyper: None
        return lambda params, data, hyper: function(
            params, *data, **{name: hyper[name] for name in which}
        )

    def nearest(params, data, hyper):
        return projection(params, **{name: hyper[name] for name in names[3]})

    return Problem(
        bound(cost, names[0]),
        bound(equality, names[1]),
        bound(inequality, names[2]),
        None if projection is None else nearest,
    )


def _start(problem: Problem, params, data, hyper):
    """The start with multipliers of 0."""
    check_floats(params)
    _check.scalar("cost", problem.cost(params, data, hyper))
    if problem.projection is not None:
        _check.like("projection", problem.projection(params, data, hyper), params)
    h, g = (f(params, data, hyper) for f in problem[1:3])
    return Solution(params, *jax.tree.map(jnp.zeros_like, (h, g)))


def _largest(tree) -> jax.Array:
    return jnp.max(jnp.abs(ravel_pytree(tree)[0]))


def _derivative_sizes(cost, params):
    """|∇J| and |∇∇J| in its direction, (), by their largest entries."""
    gradient = jax.grad(cost)
    g = gradient(params)
    steepness = _largest(g)
    scale = jnp.where(steepness > 0, steepness, 1)
    along = jax.tree.map(lambda a: jnp.where(steepness > 0, a / scale, 1), g)
    return steepness, _largest(jax.jvp(gradient, (params,), (along,))[1])


def _first_length(problem: Problem, params, data, hyper) -> jax.Array:
    """|p| at the start, or else that of a step down the cost, or 1."""
    size = _largest(params)
    steepness, curvature = _derivative_sizes(
        lambda p: problem.cost(p, data, hyper), params
    )
    step = steepness / jnp.where(curvature > 0, curvature, 1)
    known = (curvature > 0) & (step > 0) & jnp.isfinite(step)
    return jnp.where(size > 0, size, jnp.where(known, step, 1))


def _units(problem: Problem, params, first, data, hyper) -> Units:
    length = jnp.maximum(_largest(params), 0.01 * first)
    steepness, curvature = _derivative_sizes(
        lambda p: problem.cost(p, data, hyper), params
    )
    cost = length * jnp.maximum(steepness, length * curvature)

    def of(constraint):
        c, back = jax.vjp(lambda p: constraint(p, data, hyper), params)
        flat, unravel = ravel_pytree(c)
        if flat.size == 0:
            return c

        def size(v):
            return _largest(back(unravel(v)))

        if max(flat.size, ravel_pytree(params)[0].size) <= DENSE:
            steepness = jax.lax.map(size, jnp.eye(flat.size, dtype=flat.dtype))
        else:  # one for all of them
            steepness = size(jnp.ones_like(flat))
        unit = jnp.maximum(length.astype(flat.dtype) * steepness, jnp.abs(flat))
        return unravel(jnp.where(unit > 0, unit, 1))

    cost = jnp.where(cost > 0, cost, 1)
    return Units(cost, of(problem.equality), of(problem.inequality), length)


def _in_units(result: Solution, units: Units, times) -> Solution:
    """p / |p|, and multipliers times the unit of a constraint over that of the cost.

    times is optax.tree.div for this, or optax.tree.mul for the way back.
    """

    def multiplier(m, unit):
        return times(m, jax.tree.map(lambda u: units.cost.astype(u.dtype) / u, unit))

    def length(p):
        return times(p, units.length.astype(p.dtype))

    return Solution(
        jax.tree.map(length, result.params),
        multiplier(result.equality, units.equality),
        multiplier(result.inequality, units.inequality),
    )


def _descent(problem: Problem, solver, max_inner: int):
    """Minimise over params for given multipliers and ρ."""

    def augmented(params, result, penalty, units, data, hyper):
        h, g = (f(params, data, hyper) for f in problem[1:3])
        value = problem.cost(params, data, hyper) / units.cost
        h, g = optax.tree.div(h, units.equality), optax.tree.div(g, units.inequality)
        scaled = _in_units(result, units, optax.tree.div)
        value += _dot(scaled.equality, h) + 0.5 * penalty * _dot(h, h)
        multipliers = _multipliers(scaled.inequality, g, penalty)
        return value + 0.5 / penalty * _dot(multipliers, multipliers)

    project = problem.projection

    def run(result: Solution, penalty, units, data, hyper, tol):
        rest = result, penalty, units, data, hyper
        tol = tol / units.length
        if project is None:
            fit = minimize(
                augmented,
                result.params,
                *rest,
                solver=solver,
                tol=tol,
                max_iter=max_inner,
            )
            return result._replace(params=fit.params)
        fit = accelerate(
            lambda p: augmented(p, *rest),
            lambda p, step: project(p, data, hyper),
            lambda p: 0.0,
            result.params,
            tol=tol,
            max_iter=max_inner,
        )
        return result._replace(params=fit.params.params)

    return run


def _multipliers(nu, g, penalty):
    """max(ν + ρ g, 0)."""
    return jax.tree.map(lambda nu, g: jax.nn.relu(nu + penalty * g), nu, g)


def _dot(a, b):
    return 0.0 if a is None else optax.tree.vdot(a, b)


def _updated(problem: Problem, result: Solution, penalty, units: Units, data, hyper):
    """New multipliers, and how badly the constraints are met."""
    h, g = (f(result.params, data, hyper) for f in problem[1:3])
    h, g = optax.tree.div(h, units.equality), optax.tree.div(g, units.inequality)
    scaled = _in_units(result, units, optax.tree.div)
    equality = jax.tree.map(lambda m, h: m + penalty * h, scaled.equality, h)
    inequality = _multipliers(scaled.inequality, g, penalty)
    violations = h, jax.tree.map(lambda nu, g: jnp.minimum(nu, -g), inequality, g)
    violation = jnp.max(jnp.abs(ravel_pytree(violations)[0]), initial=0)
    violation = violation.astype(penalty.dtype)  # of no constraints it has none
    scaled = Solution(scaled.params, equality, inequality)
    result = _in_units(scaled, units, optax.tree.mul)._replace(params=result.params)
    return result, violation


def _newton_step(conditions, result: Solution, units: Units):
    """One step of Newton's method for all conditions, taken if it is short and good.

    Near a solution it squares the error, and multipliers have all the digits that the
    precision allows, where λ + ρh has those of h.
    """
    flat, unravel = ravel_pytree(_in_units(result, units, optax.tree.div))
    size = ravel_pytree(result.params)[0].size

    def back(v):
        return _in_units(unravel(v), units, optax.tree.mul)

    def of(v):
        return ravel_pytree(conditions(back(v)))[0]

    residual, matrix = of(flat), jax.jacfwd(of)(flat)
    move = jnp.linalg.solve(matrix, residual)
    trial = unravel(flat - move)
    trial = trial._replace(inequality=jax.tree.map(jax.nn.relu, trial.inequality))
    trial = ravel_pytree(trial)[0]
    before, after = jnp.linalg.norm(residual), jnp.linalg.norm(of(trial))
    accepted = (after < before) & (jnp.max(jnp.abs(move[:size])) <= LONGEST)
    chosen = optax.tree.where(accepted, back(trial), result)
    return chosen, jnp.where(accepted, after, before)


def _lagrangian(problem: Problem, result: Solution, data, hyper):
    """J + λ·h + ν·g."""
    h, g = (f(result.params, data, hyper) for f in problem[1:3])
    value = problem.cost(result.params, data, hyper)
    return value + _dot(result.equality, h) + _dot(result.inequality, g)


def _conditions(
    problem: Problem, result: Solution, data, hyper, units=None
) -> Solution:
    """What is 0 at a solution, and nowhere else if the problem is convex."""

    def of(params):
        return _lagrangian(problem, result._replace(params=params), data, hyper)

    gradient = jax.grad(of)(result.params)
    h, g = (f(result.params, data, hyper) for f in problem[1:3])
    nu = result.inequality
    if units is not None:
        h, g = optax.tree.div(h, units.equality), optax.tree.div(g, units.inequality)
        nu = _in_units(result, units, optax.tree.div).inequality
        gradient = jax.tree.map(
            lambda a: a * (units.length / units.cost).astype(a.dtype), gradient
        )
    if problem.projection is not None:
        length = 1 if units is None else units.length
        moved = jax.tree.map(lambda p, a: p - length * a, result.params, gradient)
        nearest = problem.projection(moved, data, hyper)
        gradient = jax.tree.map(lambda p, q: (p - q) / length, result.params, nearest)
    return Solution(gradient, h, jax.tree.map(lambda nu, g: jnp.minimum(nu, -g), nu, g))


def _solve(product, right, result: Solution, arguments):
    """By the matrix of all params and multipliers, of those that are idle too."""
    flat, unravel = ravel_pytree(right)

    def flat_product(v):
        return ravel_pytree(product(unravel(v)))[0]

    units = jnp.eye(flat.size, dtype=flat.dtype)
    matrix = jax.vmap(flat_product, out_axes=1)(units)
    # Of the matrix alone: what reverse mode solves for is not known yet. Rows and
    # columns are scaled, for units make no matrix singular.
    scaled = matrix / jnp.max(jnp.abs(matrix), axis=1, keepdims=True)
    scaled = scaled / jnp.max(jnp.abs(scaled), axis=0, keepdims=True)
    accurate = jnp.linalg.cond(scaled) < jnp.finfo(flat.dtype).eps ** -0.75
    # A product, because the transpose of a where would be 0 and not NaN.
    return unravel(jnp.linalg.solve(matrix, flat) * jnp.where(accurate, 1, jnp.nan))

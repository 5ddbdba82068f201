"""Minimise under constraints; the Lagrange multipliers come with the solution.

At a minimum of J under h = 0 and g <= 0 the forces balance: ∇J + λ·∇h + ν·∇g = 0 with
ν >= 0, and ν g = 0: a constraint that does not press has no force. A multiplier is a
price: if the constraint is relaxed to h = t, dJ*/dt = -λ.
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
from jaxml.optimize._solver import Solver, check, names_taken
from jaxml.optimize.proximal import accelerate

FIRST = 10.0  # the first ρ, in units of the problem
GROWTH = 10.0  # of ρ, where the constraints are not met a quarter as badly as before
DENSE = 300  # up to so many params and multipliers their conditions are solved too
NEAR = 1e-2  # how far this may move params; farther it might find a maximum
PATIENCE = 10  # rounds without any improvement after which the search has stalled


class Solution(NamedTuple):
    """A point where no force is left, and the forces of the constraints."""

    params: Any
    equality: Any  # λ, like what the equality returns; None where there is none
    inequality: Any  # ν >= 0, like what the inequality returns; None likewise


class Units(NamedTuple):
    """What cost, constraints and params are measured in; forces are cost over those.

    That of J is |p| max(|∇J|, |p| |∇∇J|), that of a constraint c is max(|p| |∇c|, |c|):
    near a solution J and c in these units have gradients of about 1, or curvatures.
    """

    cost: jax.Array  # ()
    equality: Any  # like h
    inequality: Any  # like g
    length: jax.Array  # () |p|, or a hundredth of what it was at the start


class Search(NamedTuple):
    """Where the method of multipliers stands."""

    found: Solution
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
        force in that of J over that of c, with the largest entries for |·|; |p| counts
        as a hundredth of its start at least. The solution has derivatives with respect
        to data and hyper; they need a matrix of all params and multipliers, and they
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
    begun = _start(problem, jax.lax.stop_gradient(params), fixed, constants)

    def measure(result: Solution, units: Units):
        missed = _conditions(problem, result, fixed, constants, units)
        return jnp.linalg.norm(ravel_pytree(missed)[0])

    def polish(result: Solution, units: Units):
        if ravel_pytree(result)[0].size > DENSE:
            return result, measure(result, units)
        of = partial(_conditions, problem, data=fixed, hyper=constants, units=units)
        return _newton_step(of, result, units)

    def progress(state: Search, status=Status.RUNNING):
        value = problem.cost(state.found.params, fixed, constants)
        return Progress(value, state.residual, status)

    def step(state: Search):
        penalty, units = state.penalty, state.units
        tight = jnp.maximum(0.1 * jnp.minimum(state.residual, 1), 0.1 * tol)
        result = inner(state.found, penalty, units, fixed, constants, tight)
        result, violation = _forces(problem, result, penalty, units, fixed, constants)
        slow = violation > 0.25 * state.violation
        eps = jnp.finfo(violation.dtype).eps
        most = 1 / eps**0.5 * FIRST
        grown = jnp.where(slow, GROWTH * penalty, penalty)
        hopeless = slow & (grown >= most) & (violation > eps**0.5)
        status = jnp.where(hopeless, Status.UNBOUNDED, Status.RUNNING)
        units = _units(problem, result.params, first, fixed, constants)
        result, residual = polish(result, units)
        grown = jnp.minimum(grown, most)
        new = Search(result, units, grown, violation, residual)
        return new, progress(new, status)

    first = _first_length(problem, begun.params, fixed, constants)
    units = _units(problem, begun.params, first, fixed, constants)
    far = jnp.full_like(units.cost, jnp.inf)
    penalty = jnp.full_like(units.cost, FIRST)
    state = Search(begun, units, penalty, far, measure(begun, units))
    fit = iterate(
        step, state, progress(state), tol=tol, max_iter=max_iter, patience=PATIENCE
    )
    result, valid = fit.params.found, fit.status == Status.CONVERGED
    # At a solution its own move changes the value by nothing: forces do no work.
    lagrangian = partial(_lagrangian, problem)
    value = derived(lagrangian, fit.cost, valid, result, data, hyper)

    def conditions(result, arguments):
        return _conditions(problem, result, *arguments)

    result = root(conditions, _solve, result, valid, (data, hyper))
    return fit._replace(params=result, cost=value)


def _problem(cost, equality, inequality, projection, hyper) -> Problem:
    taken = [names_taken(f, hyper) for f in (cost, equality, inequality, projection)]
    for name in hyper:
        if not any(name in names for names in taken):
            message = f"constrained() got an unexpected keyword argument {name!r}"
            raise TypeError(message)

    def bound(function, names):
        if function is None:
            return lambda params, data, hyper: None
        return lambda params, data, hyper: function(
            params, *data, **{name: hyper[name] for name in names}
        )

    def nearest(params, data, hyper):
        return projection(params, **{name: hyper[name] for name in taken[3]})

    return Problem(
        bound(cost, taken[0]),
        bound(equality, taken[1]),
        bound(inequality, taken[2]),
        None if projection is None else nearest,
    )


def _start(problem: Problem, params, data, hyper):
    """The start with multipliers of 0."""
    for leaf in jax.tree.leaves(params):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(f"params must hold floats, not {leaf.dtype}")
    _check.scalar("cost", problem.cost(params, data, hyper))
    if problem.projection is not None:
        _check.like("projection", problem.projection(params, data, hyper), params)
    h, g = (f(params, data, hyper) for f in problem[1:3])
    return Solution(params, *jax.tree.map(jnp.zeros_like, (h, g)))


def _largest(tree) -> jax.Array:
    return jnp.max(jnp.abs(ravel_pytree(tree)[0]))


def _bend(cost, params):
    """|∇J| and |∇∇J| in its direction, (), by their largest entries."""
    slope = jax.grad(cost)
    g = slope(params)
    steep = _largest(g)
    scale = jnp.where(steep > 0, steep, 1)
    along = jax.tree.map(lambda a: jnp.where(steep > 0, a / scale, 1), g)
    return steep, _largest(jax.jvp(slope, (params,), (along,))[1])


def _first_length(problem: Problem, params, data, hyper) -> jax.Array:
    """|p| at the start, or else that of a step down the cost, or 1."""
    size = _largest(params)
    steep, bend = _bend(lambda p: problem.cost(p, data, hyper), params)
    step = steep / jnp.where(bend > 0, bend, 1)
    known = (bend > 0) & (step > 0) & jnp.isfinite(step)
    return jnp.where(size > 0, size, jnp.where(known, step, 1))


def _units(problem: Problem, params, first, data, hyper) -> Units:
    length = jnp.maximum(_largest(params), 0.01 * first)
    steep, bend = _bend(lambda p: problem.cost(p, data, hyper), params)
    cost = length * jnp.maximum(steep, length * bend)

    def of(constraint):
        c, back = jax.vjp(lambda p: constraint(p, data, hyper), params)
        flat, unravel = ravel_pytree(c)
        if flat.size == 0:
            return c

        def slope(v):
            return _largest(back(unravel(v)))

        if max(flat.size, ravel_pytree(params)[0].size) <= DENSE:
            steep = jax.lax.map(slope, jnp.eye(flat.size, dtype=flat.dtype))
        else:  # one for all of them
            steep = slope(jnp.ones_like(flat))
        unit = jnp.maximum(length.astype(flat.dtype) * steep, jnp.abs(flat))
        return unravel(jnp.where(unit > 0, unit, 1))

    cost = jnp.where(cost > 0, cost, 1)
    return Units(cost, of(problem.equality), of(problem.inequality), length)


def _scaled(tree, by):
    return jax.tree.map(jnp.multiply, tree, by)


def _over(tree, by):
    return jax.tree.map(jnp.divide, tree, by)


def _in_units(result: Solution, units: Units, times) -> Solution:
    """p / |p|, and forces times the unit of a constraint over that of the cost.

    times is `_over` for this, or `_scaled` for the way back.
    """

    def force(m, unit):
        return times(m, jax.tree.map(lambda u: units.cost.astype(u.dtype) / u, unit))

    def length(p):
        return times(p, units.length.astype(p.dtype))

    return Solution(
        jax.tree.map(length, result.params),
        force(result.equality, units.equality),
        force(result.inequality, units.inequality),
    )


def _descent(problem: Problem, solver, max_inner: int):
    """Minimise over params for given multipliers and ρ."""

    def augmented(params, result, penalty, units, data, hyper):
        h, g = (f(params, data, hyper) for f in problem[1:3])
        value = problem.cost(params, data, hyper) / units.cost
        h, g = _over(h, units.equality), _over(g, units.inequality)
        forces = _in_units(result, units, _over)
        value += _dot(forces.equality, h) + 0.5 * penalty * _dot(h, h)
        pushed = _pushed(forces.inequality, g, penalty)
        return value + 0.5 / penalty * _dot(pushed, pushed)

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


def _pushed(forces, g, penalty):
    """max(ν + ρ g, 0)."""
    return jax.tree.map(lambda nu, g: jax.nn.relu(nu + penalty * g), forces, g)


def _dot(a, b):
    return 0.0 if a is None else optax.tree.vdot(a, b)


def _forces(problem: Problem, result: Solution, penalty, units: Units, data, hyper):
    """New multipliers, and how badly the constraints are met."""
    h, g = (f(result.params, data, hyper) for f in problem[1:3])
    h, g = _over(h, units.equality), _over(g, units.inequality)
    forces = _in_units(result, units, _over)
    equality = jax.tree.map(lambda m, h: m + penalty * h, forces.equality, h)
    inequality = _pushed(forces.inequality, g, penalty)
    missed = h, jax.tree.map(lambda nu, g: jnp.minimum(nu, -g), inequality, g)
    violation = jnp.max(jnp.abs(ravel_pytree(missed)[0]), initial=0)
    violation = violation.astype(penalty.dtype)  # of no constraints it has none
    forces = Solution(forces.params, equality, inequality)
    result = _in_units(forces, units, _scaled)._replace(params=result.params)
    return result, violation


def _newton_step(conditions, result: Solution, units: Units):
    """One step of Newton's method for all conditions, taken if it is short and good.

    Near a solution it squares the error, and multipliers have all the digits that the
    precision allows, where λ + ρh has those of h.
    """
    flat, unravel = ravel_pytree(_in_units(result, units, _over))
    size = ravel_pytree(result.params)[0].size

    def back(v):
        return _in_units(unravel(v), units, _scaled)

    def of(v):
        return ravel_pytree(conditions(back(v)))[0]

    left, matrix = of(flat), jax.jacfwd(of)(flat)
    move = jnp.linalg.solve(matrix, left)
    trial = unravel(flat - move)
    trial = trial._replace(inequality=jax.tree.map(jax.nn.relu, trial.inequality))
    trial = ravel_pytree(trial)[0]
    before, after = jnp.linalg.norm(left), jnp.linalg.norm(of(trial))
    taken = (after < before) & (jnp.max(jnp.abs(move[:size])) <= NEAR)
    chosen = jax.tree.map(
        lambda new, old: jnp.where(taken, new, old), back(trial), result
    )
    return chosen, jnp.where(taken, after, before)


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

    push = jax.grad(of)(result.params)
    h, g = (f(result.params, data, hyper) for f in problem[1:3])
    nu = result.inequality
    if units is not None:
        h, g = _over(h, units.equality), _over(g, units.inequality)
        nu = _in_units(result, units, _over).inequality
        push = jax.tree.map(
            lambda a: a * (units.length / units.cost).astype(a.dtype), push
        )
    if problem.projection is not None:
        length = 1 if units is None else units.length
        moved = jax.tree.map(lambda p, a: p - length * a, result.params, push)
        nearest = problem.projection(moved, data, hyper)
        push = jax.tree.map(lambda p, q: (p - q) / length, result.params, nearest)
    return Solution(push, h, jax.tree.map(lambda nu, g: jnp.minimum(nu, -g), nu, g))


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

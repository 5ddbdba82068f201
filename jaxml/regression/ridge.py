"""Least squares with an l2 penalty, and as a constraint with its multiplier (1.2)."""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxml import _check
from jaxml._check import (
    Array,
    Count,
    NonNegative,
    Positive,
    Rows,
    Static,
    Targets,
    Weights,
)
from jaxml._rows import normal, svd, with_b
from jaxml._units import relative, shares_of, unit_of, weights_or_ones
from jaxml.optimize._fit import Fit, Progress, Status, iterate
from jaxml.optimize._implicit import solution, where_valid
from jaxml.regression import linear
from jaxml.regression._least_squares import (
    Solved,
    centred,
    definite,
    far_off,
    refined,
    value_and_gradient,
)
from jaxml.regression.linear import Params

__all__ = [
    "Constrained",
    "Scored",
    "constrained",
    "cost",
    "degrees_of_freedom",
    "fit",
    "gradient",
    "path",
    "predict",
    "scored",
]

SOLVERS = ("auto", "primal", "dual")
LOST = 1e-3  # the relative error of w from which equations count as singular
SQUARE = 1e8  # m n² up to which a path is made of the factors of the rows
REFINEMENTS = 3  # steps from the factors' solution of a constrained fit
ROUNDING = 16  # ε below which residuals of a constrained fit are rounding


@_check.pure
def predict(params: Params, x: Rows) -> jax.Array:
    """h(x) = x·w + b, (m,) or (m, t): as linear.predict, for params and x, (m, n)."""
    return linear.predict(params, x)


@_check.pure
def cost(
    params: Params,
    x: Rows,
    y: Annotated[Array, "m|m t"],
    *,
    l2: Annotated[Array, "|n|n t", "[0, inf)"],
    weights: Weights | None = None,
) -> jax.Array:
    """J = ½ Σ wᵢ |h(xᵢ) - yᵢ|² / Σ wᵢ + ½ Σⱼ l2ⱼ wⱼ², (); b is not penalised.

    Args:
        params: w, (n,) or (n, t), and b.
        x: (m, n) rows.
        y: (m,) or (m, t) targets.
        l2: () the course's λ/m, alpha of scikit-learn over Σ wᵢ; or one for each
            feature, (n,), and target, (n, t).
        weights: (m,) weights w of the rows; 1 if None.

    Raises:
        ValueError: shapes that do not agree, values not finite or out of range.

    """
    value = linear.cost(params, x, y, weights=weights)
    return value + 0.5 * jnp.sum(_spread(l2, params.w) * params.w**2)


@_check.pure
def gradient(
    params: Params,
    x: Rows,
    y: Annotated[Array, "m|m t"],
    *,
    l2: Annotated[Array, "|n|n t", "[0, inf)"],
    weights: Weights | None = None,
) -> Params:
    """∂J/∂w = Σ wᵢ xᵢ (h(xᵢ) - yᵢ) / Σ wᵢ + l2 w, and ∂J/∂b without the penalty.

    Arguments as in `cost`: params, x, (m, n), y, (m,) or (m, t), l2 and weights, (m,).
    """
    result = linear.gradient(params, x, y, weights=weights)
    return result._replace(w=result.w + _spread(l2, params.w) * params.w)


def _spread(l2, w):
    """The penalty of each entry of w."""
    return jnp.broadcast_to(
        l2[:, None] if l2.ndim == 1 and w.ndim == 2 else l2, w.shape
    )


@_check.fit
def fit(
    x: Rows,
    y: Annotated[Array, "m|m t"],
    *,
    l2: Annotated[Array, "|n|n t", "[0, inf)"],
    weights: Weights | None = None,
    solver: Static[str] = "auto",
    intercept: Static[bool] = True,
) -> Fit:
    """Minimise J of `cost`: (XᵀWX/Σw + diag l2) w = XᵀWy/Σw, rows centred.

    Args:
        x: (m, n) rows.
        y: (m,) targets, or (m, t) for t of them at once.
        l2: () the course's λ/m, alpha of scikit-learn over Σ wᵢ; or one for each
            feature, (n,), and target, (n, t). b is not penalised.
        weights: (m,) weights w of the rows; 1 if None. Integer weights are repeated
            rows, a weight of 0 leaves a row out.
        solver: "primal": Cholesky of an (n, n) matrix; "dual": of an (m, m) matrix, for
            more columns than rows, every l2 above 0; "auto": the smaller one.
        intercept: whether there is a b; else it stays 0.

    Returns:
        Fit with Params; for y of shape (m, 1) w is (n, 1) and `predict` gives (m, 1).
        residual is |∂J|. Status SINGULAR where l2 is so small that
        columns depend on each other, and w has lost all but three digits.

    Raises:
        ValueError: an unknown solver, shapes that do not agree, values out of range.

    Source: Hoerl and Kennard (1970).

    """
    _check.option("solver", solver, SOLVERS)
    wide = solver == "dual" or (solver == "auto" and x.shape[1] > len(x))
    targets = y if y.ndim > 1 else y[:, None]
    weights = relative(weights)
    fixed = jax.lax.stop_gradient((x, targets, weights, l2))
    w, b, value, residual, lost = (_dual if wide else _primal)(*fixed, intercept)
    status = jnp.where(lost <= LOST, Status.CONVERGED, Status.SINGULAR)
    clean = jnp.isfinite(jnp.sum(x) + jnp.sum(y))
    status = jnp.where(clean, status, Status.NONFINITE).astype(jnp.int32)
    params = Params(w, b if intercept else None)
    if y.ndim == 1:
        params = jax.tree.map(lambda a: a[..., 0], params)
    data, hyper = (x, y, weights), {"l2": l2}
    free, value = solution(_cost, params, value, status, data, hyper)
    params = with_b(free)
    return Fit.closed(params, value, residual, status)


def _cost(params, x, y, weights, *, l2):
    return cost(with_b(params), x, y, l2=l2, weights=weights)


def _primal(x, y, weights, l2, intercept: bool) -> Solved:
    equations = normal(x, y, weights, intercept)
    gram, n = equations.gram, x.shape[1]
    solve, factors = _factorised(lambda l2: gram + jnp.diag(l2), l2, n)
    penalty = _spread(l2, equations.cross)
    result = refined(equations, solve, penalty, x, y, weights, intercept)
    return Solved(*result, jnp.max(factors.lost(far_off(equations, len(x)))))


def _dual(x, y, weights, l2, intercept: bool) -> Solved:
    """w = L⁻¹ XᵀS (S X L⁻¹ Xᵀ S + 1)⁻¹ S y, S² = W/Σw and L = diag l2."""
    m, n = x.shape
    share = shares_of(x, weights)
    root = jnp.sqrt(share)[:, None]
    rows, mean_x = centred(x, share, intercept)
    targets, mean_y = centred(y, share, intercept)
    rows, targets = rows * root, targets * root
    one = jnp.eye(m, dtype=x.dtype)
    matrix = lambda l2: (rows / l2[None]) @ rows.T + one
    solve, factors = _factorised(matrix, l2, n)
    w = rows.T @ solve(targets)
    penalty = _spread(l2, w)
    w /= penalty
    b = mean_y - mean_x @ w
    value, dw, db = value_and_gradient(w, b, x, y, weights)
    square = jnp.sum((dw + penalty * w) ** 2) + intercept * jnp.sum(db**2)
    value += 0.5 * jnp.sum(penalty * w**2)
    lost = jnp.finfo(x.dtype).eps * jnp.max(factors.condition)
    return Solved(w, b, value, jnp.sqrt(square), lost)


def _factorised(matrix, l2, n: int):
    """A solver of matrix(l2) · v = right, (k, t), and the factors it uses.

    One matrix for all targets, or one for each where each has its own penalties.
    """
    if l2.ndim < 2:
        equations = definite(matrix(jnp.broadcast_to(l2, (n,))))
        return equations.solve, equations
    equations = jax.vmap(lambda l2: definite(matrix(l2)), 1)(l2)

    def solve(right):
        each = jax.vmap(lambda e, r: e.solve(r[:, None])[:, 0], (0, 1), 1)
        return each(equations, right)

    return solve, equations


# --- a path of penalties, from one decomposition -------------------------------------


class Scored(NamedTuple):
    """A fit, and what it would be worth on rows that it has not seen."""

    w: jax.Array  # (n,)
    b: jax.Array  # ()
    cost: jax.Array  # () J
    dof: jax.Array  # () effective degrees of freedom, the intercept counted
    leave_one_out: jax.Array  # () mean squared error of rows left out one by one
    gcv: jax.Array  # () the same with leverages replaced by their mean
    evidence: jax.Array  # () log P(y | x, l2), the noise at its best


@_check.host
def path(x: Array, y: Array, *, l2s: Array, **options: Any) -> Scored:
    """`scored` for each of l2s, (p,), from one decomposition: Scored with (p,) of each.

    x, (m, n), y, (m,), and options are those of `scored`. For use inside jit or not.
    """
    l2s = jnp.asarray(_check.array("l2s", l2s, labels=False))
    _check.shapes(l2s=(l2s, "p"))
    _check.values("l2s", l2s, "[0, inf)")
    return jax.vmap(lambda l2: scored(x, y, l2=l2, **options))(l2s)


@_check.pure(jit=True)
def scored(
    x: Rows,
    y: Targets,
    *,
    l2: NonNegative,
    weights: Weights | None = None,
    kind: Static[str] = "precision",
    intercept: Static[bool] = True,
) -> Scored:
    """w(λ) = V s/(s² + λ) Uᵀy with X = U s Vᵀ, and its scores in closed form.

    Under vmap over l2 the decomposition is made once.

    Args:
        x: (m, n) rows.
        y: (m,) targets.
        l2: () λ, as in `fit`.
        weights: (m,) weights w of the rows; 1 if None.
        kind: how weights are read: "precision", wᵢ = 1/variance of row i, or
            "frequency", wᵢ such rows were seen, of which one is left out.
        intercept: whether there is a b.

    Returns:
        Scored. A row is left out at the same l2 Σw. The evidence has
        w ~ N(0, σ²/(l2 Σw)), any b, and the σ² at which it is largest.

    Raises:
        ValueError: an unknown kind, shapes that do not agree, values out of range.

    Source: Allen (1974) for leave_one_out; Golub, Heath and Wahba (1979) for gcv;
    MacKay (1992) for evidence.

    """
    _check.option("kind", kind, ("precision", "frequency"))
    l2 = jnp.where(l2 >= 0, l2, jnp.nan)
    weights = weights_or_ones(weights, y)
    # As precisions their unit is that of 1 / σ², of which nothing here tells.
    weights = relative(weights) if kind == "precision" else weights
    weight = jnp.sum(weights)
    share = shares_of(x, weights)
    copies = weights if kind == "frequency" else jnp.ones_like(weights)
    seen = jnp.sum(jnp.where(weights > 0, copies, 0))
    x, mean_x = centred(x, share, intercept)
    y, mean_y = centred(y, share, intercept)
    unit = unit_of(y, weights, axis=0)  # in which no square under- or overflows
    y /= unit
    axes, square, cross, kept = _principal(x, y, share)
    square, cross = kept * square, kept * cross
    filters = jnp.where(square + l2 == 0, 0, 1 / (square + l2))
    along = filters * cross  # w along the principal axes
    w = axes @ along
    r = y - x @ w
    leverage = (((x @ axes) ** 2) @ filters + intercept) * share
    dof = jnp.vdot(square, filters)
    error = jnp.vdot(share * r, r)
    free = 1 - leverage / jnp.where(copies > 0, copies, 1)
    leave_one_out = jnp.vdot(share * r, r / free**2)
    gcv = error / (1 - (dof + intercept) / seen) ** 2
    value = 0.5 * (error + l2 * jnp.vdot(along, along))
    of_noise = seen - intercept
    noise = 2 * weight * value / of_noise
    volume = jnp.sum(jnp.log1p(square / l2)) + intercept * jnp.log(weight)
    evidence = -0.5 * (of_noise * (jnp.log(2 * jnp.pi * noise) + 1) + volume)
    evidence -= of_noise * jnp.log(unit)
    if kind == "precision":
        evidence += 0.5 * jnp.sum(jnp.log(jnp.where(weights > 0, weights, 1)))
    w *= unit
    b = mean_y - jnp.vdot(w, mean_x)
    value, leave_one_out, gcv = (a * unit * unit for a in (value, leave_one_out, gcv))
    return Scored(w, b, value, dof + intercept, leave_one_out, gcv, evidence)


def _principal(x, y, share):
    """V, (n, k), s²/Σw, (k,), and V's products with XᵀWy/Σw, (k,), for centred rows.

    The last, (k,), says which of them rounding cannot explain.
    """
    m, n = x.shape
    eps = jnp.finfo(x.dtype).eps
    if m * n * min(m, n) <= SQUARE:
        root = jnp.sqrt(share)[:, None]
        u, s, vt = svd(x * root)
        cross = s * (u.T @ (y * root[:, 0]))
        return vt.T, s**2, cross, s > 4 * eps * max(m, n) ** 0.5 * s[0]
    gram, along, _, _ = normal(x, y[:, None], share, False)
    square, axes = jnp.linalg.eigh(gram)
    return axes, square, axes.T @ along[:, 0], square > 8 * eps * square[-1]


@_check.pure
def degrees_of_freedom(
    x: Rows,
    *,
    l2: Annotated[Array, "|n", "[0, inf)"],
    weights: Weights | None = None,
    intercept: Static[bool] = True,
) -> jax.Array:
    """tr (G + diag l2)⁻¹ G with G = XᵀWX/Σw of centred rows, plus 1 for b, ().

    Args:
        x: (m, n) rows.
        l2: () or (n,) penalties, as in `fit`.
        weights: (m,) weights w of the rows; 1 if None.
        intercept: whether there is a b.

    Raises:
        ValueError: shapes that do not agree, values not finite or out of range.

    Source: Hastie and Tibshirani (1990).

    """
    gram = normal(x, x[:, :1], relative(weights), intercept).gram
    factors = definite(gram + jnp.diag(jnp.broadcast_to(l2, x.shape[1:])))
    return jnp.trace(factors.solve(gram)) + intercept


# --- the constraint and its multiplier ------------------------------------------------


class Constrained(NamedTuple):
    """The best linear map with |w| <= radius, and the price of that."""

    w: jax.Array  # (n,)
    b: jax.Array  # ()
    multiplier: jax.Array  # () λ: ridge with l2 = λ has the same w and b


@_check.fit
def constrained(
    x: Rows,
    y: Targets,
    *,
    radius: Positive,
    weights: Weights | None = None,
    intercept: Static[bool] = True,
    tol: NonNegative = 1e-6,
    max_iter: Count = 50,
) -> Fit:
    """Minimise J₀ = ½ Σ wᵢ (h(xᵢ) - yᵢ)² / Σ wᵢ subject to |w| <= radius.

    With Lagrange's L = J₀ + λ/2 (|w|² - radius²), w(λ) is that of ridge and
    |w(λ)| = radius fixes λ, or λ = 0 where the constraint is idle. λ is a price:
    dJ*/d(radius²/2) = -λ.

    Args:
        x: (m, n) rows.
        y: (m,) targets.
        radius: () the largest |w|.
        weights: (m,) weights w of the rows; 1 if None.
        intercept: whether there is a b; it is free.
        tol: () largest residual; one below 16 ε is taken for rounding.
        max_iter: most steps.

    Returns:
        Fit with params = Constrained. cost is J₀. residual is the larger of
        | |w|/radius - 1 | and of a bound of how far J₀ is above its least in a ball of
        radius |w|, relative to J₀ plus 100 ε times J₀ at w = 0.
        Where columns depend on each other and the constraint is idle, w is the one of
        least norm, and its derivative is NaN. Columns whose share of the rows is
        below rounding are left alone: scale columns of very different units first.

    Raises:
        ValueError: shapes that do not agree, values not finite, a radius not above 0.

    Source: Newton's method on 1/|w(λ)| - 1/radius, which is concave, so that from
    λ = 0 it climbs to the root and never passes it (Reinsch 1971; Hebden 1973).

    """
    share = shares_of(x, weights)
    rows, mean_x = centred(x, share, intercept)
    targets, mean_y = centred(y, share, intercept)
    # In units in which no square under- or overflows.
    of_x = unit_of(rows, weights)
    of_y = unit_of(targets, weights, axis=0)
    of_w = of_y / of_x
    ball = _Ball(rows / of_x, targets / of_y, share, radius / of_w)
    result, params, value = _in_ball(ball, tol, max_iter)
    w, multiplier = params[0] * of_w, params[1] * of_x * of_x
    b = mean_y - jnp.vdot(mean_x, w)
    return result._replace(
        params=Constrained(w, b, multiplier),
        cost=value * of_y * of_y,
        history=result.history * of_y * of_y,
    )


class _Ball(NamedTuple):
    """Least squares on centred rows within a ball."""

    x: jax.Array  # (m, n)
    y: jax.Array  # (m,)
    share: jax.Array  # (m,) wᵢ / Σ w
    radius: jax.Array  # ()

    def cost_and_descent(self, w):
        """J₀, (), and -∂J₀/∂w, (n,)."""
        r = self.y - self.x @ w
        scaled = self.share * r
        return 0.5 * jnp.vdot(scaled, r), self.x.T @ scaled


def _in_ball(ball: _Ball, tol, max_iter: int):
    """A Fit of λ, with w and λ and J₀ at their best, which have derivatives."""
    fixed = jax.lax.stop_gradient(ball)
    axes, square, cross, kept = _principal(*fixed[:3])
    dropped = _dropped(fixed, square, cross, kept)
    square, cross = kept * square, kept * cross
    limit = jnp.maximum(tol, ROUNDING * jnp.finfo(square.dtype).eps)
    result = _secular(fixed, square, cross, limit, max_iter)
    binding = result.params > 0

    def newton(ball, w, multiplier):
        """A step for (G + λ) w = c and |w| = radius.

        Only the derivative of a step leaves the span of the rows.
        """
        inverse = jnp.where(kept, 1 / jnp.where(kept, square + multiplier, 1), 0)
        inverse = jax.lax.stop_gradient(inverse)

        def solve(v):
            along = axes.T @ v
            outside = v - axes @ (kept * along)
            outside /= jnp.where(binding, jax.lax.stop_gradient(multiplier), jnp.inf)
            outside -= jax.lax.stop_gradient(outside)
            return axes @ (inverse * along) + outside

        value, descent = ball.cost_and_descent(w)
        f = descent - multiplier * w
        step, direction = solve(f), solve(w)
        change = 0.5 * (jnp.vdot(w, w) - ball.radius**2) + jnp.vdot(w, step)
        change /= jnp.where(binding, jnp.vdot(w, direction), jnp.inf)
        return w + step - change * direction, jnp.maximum(multiplier + change, 0)

    w = axes @ jnp.where(kept, cross / jnp.where(kept, square + result.params, 1), 0)
    # What rounding of the factors leaves, steps with the rows themselves mend.
    start = jax.lax.fori_loop(
        0, REFINEMENTS, lambda _, at: newton(fixed, *at), (w, result.params)
    )
    # One more from the root leaves it there, and has its derivative.
    w, multiplier = newton(ball, *jax.lax.stop_gradient(start))
    value, _ = ball.cost_and_descent(w)

    excess = _excess(fixed, axes, square, *jax.lax.stop_gradient((w, multiplier)))
    few = 100 * jnp.finfo(w.dtype).eps
    scale = fixed.cost_and_descent(jax.lax.stop_gradient(w))[0]
    scale += few * fixed.cost_and_descent(jnp.zeros_like(w))[0]
    excess = (excess + dropped * (multiplier <= 0)) / jnp.where(scale > 0, scale, 1)
    off = jnp.linalg.norm(w) / fixed.radius - 1
    off = jnp.where(binding, jnp.abs(off), jax.nn.relu(off))
    residual = jax.lax.stop_gradient(jnp.maximum(excess, off))
    failed = jnp.where(
        result.status == Status.CONVERGED, jnp.int32(Status.STALLED), result.status
    )
    good = residual <= jnp.where(tol > 0, limit, 0)
    status = jnp.where(good, jnp.int32(Status.CONVERGED), failed)
    status = jnp.where(jnp.isnan(residual), jnp.int32(Status.NONFINITE), status)
    unique = binding | (kept.all() & (len(square) == len(w)))
    valid = (status == Status.CONVERGED) & unique
    params, value = where_valid(valid, ((w, multiplier), value))
    return result._replace(residual=residual, status=status), params, value


def _dropped(ball: _Ball, square, cross, kept):
    """What directions might explain that were dropped, but may not be rounding.

    Those of columns that depend on each other exactly have s below 4 ε s₁ or so.
    """
    real = square > (4 * jnp.finfo(square.dtype).eps) ** 2 * jnp.max(square)
    gain = jnp.minimum(
        cross**2 / jnp.where(real, 2 * square, 1), ball.radius * abs(cross)
    )
    return jnp.sum(jnp.where(real & ~kept, gain, 0))


def _excess(ball: _Ball, axes, square, w, multiplier):
    """How far J₀ is above its least for |w| at most, by what λ makes a lower bound.

    min L(·, λ) is one, and ½ fᵀ (G + λ)⁻¹ f below L, for f = -∂L/∂w.
    """
    f = ball.cost_and_descent(w)[1] - multiplier * w
    kept = square > 0
    along = axes.T @ f
    below = jnp.where(kept, square + multiplier, 1)
    inside = 0.5 * jnp.sum(jnp.where(kept, along**2 / below, 0))
    # A column so small that it was taken for rounding may explain something yet.
    outside = f - axes @ (kept * along)
    own = ball.share @ (ball.x**2) + multiplier
    alone = jnp.where(own > 0, outside**2 / jnp.where(own > 0, own, 1), 0)
    most = ball.radius * jnp.linalg.norm(outside)
    return inside + jnp.minimum(most, 0.5 * jnp.max(alone))


def _secular(ball: _Ball, square, cross, tol, max_iter: int) -> Fit:
    """The λ, (), with |(G + λ)⁻¹ c| = radius, or 0: a Fit with params = λ."""
    some = square > 0
    energy = jnp.vdot(ball.share * ball.y, ball.y)

    def at(multiplier):
        part = jnp.where(some, cross / jnp.where(some, square + multiplier, 1), 0)
        length = jnp.linalg.norm(part)
        curvature = jnp.sum(jnp.where(some, part**2 / (square + multiplier), 0))
        cost = 0.5 * energy - jnp.vdot(part, cross) + 0.5 * jnp.vdot(part**2, square)
        return length, curvature, cost

    def progress(multiplier, length, cost):
        excess = length / ball.radius - 1
        idle = (multiplier == 0) & (excess <= 0)
        return Progress(cost, jnp.where(idle, 0, jnp.abs(excess)))

    def step(state):
        multiplier, length, curvature = state
        new = multiplier + (length / ball.radius - 1) * length**2 / curvature
        new = jnp.maximum(new, 0)
        length, curvature, cost = at(new)
        return (new, length, curvature), progress(new, length, cost)

    zero = jnp.zeros_like(ball.radius)
    length, curvature, cost = at(zero)
    start = progress(zero, length, cost)
    result = iterate(
        step, (zero, length, curvature), start, tol=tol, max_iter=max_iter, patience=5
    )
    return result._replace(params=result.params[0])

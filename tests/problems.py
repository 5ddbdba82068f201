"""Standard minimisation problems, the solvers for them, and what SciPy makes of both.

The NIST data (nonlinear regression sets of the Statistical Reference Datasets, public
domain) are written out here. The network learns 1,000 digits of MNIST where JAXML_DATA
names a folder that holds mnist/ (the README of the data says how to get it); else the
smaller digits that come with jaxml.
"""

import functools
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from scipy import optimize as scipy
from sklearn import datasets as sklearn

from jaxml import Status, optimize
from jaxml.data import datasets
from jaxml.networks import feedforward

# --- solvers -------------------------------------------------------------------------

CONJUGATE = {
    beta: functools.partial(optimize.conjugate, beta=beta)
    for beta in ("fletcher-reeves", "polak-ribiere+", "hestenes-stiefel", "hager-zhang")
}
FIRST = {"lbfgs": optax.lbfgs} | CONJUGATE
SECOND = {"newton": optimize.newton, "newton_cg": optimize.newton_cg}
SQUARES = {
    "levenberg_marquardt": optimize.levenberg_marquardt,
    "gauss_newton": optimize.gauss_newton,
}
SOLVERS = FIRST | SECOND | SQUARES


class Problem(NamedTuple):
    """A cost, a start, and how near to a minimum one may come."""

    cost: Callable  # cost(params, *data)
    start: Any  # pytree of float64 arrays
    data: tuple  # of float64 arrays
    residual: Callable | None  # residual(params, *data), where cost = ½ Σ residual²
    tol: dict[str, float]  # dtype -> norm of the gradient
    without: tuple[str, ...] = ()  # solvers that need not converge
    without32: tuple[str, ...] = ()  # and in float32


# --- sums of squares -----------------------------------------------------------------


@functools.cache  # so that equal costs share a program
def half(residual):
    """½ Σ r² of a residual."""

    def cost(params, *data):
        r = residual(params, *data)
        return 0.5 * jnp.vdot(r, r)

    return cost


def rosenbrock(x):  # Rosenbrock (1960), chained as in scipy.optimize.rosen
    return jnp.concatenate([10 * (x[1:] - x[:-1] ** 2), 1 - x[:-1]])


def beale(x):  # Moré, Garbow and Hillstrom (1981), number 5; the others by theirs
    return jnp.stack(
        [y - x[0] * (1 - x[1] ** i) for i, y in ((1, 1.5), (2, 2.25), (3, 2.625))]
    )


def powell_singular(x):  # 13: the Hessian has rank 2 at the minimum
    a, b, c, d = x
    return jnp.stack(
        [a + 10 * b, 5**0.5 * (c - d), (b - 2 * c) ** 2, 10**0.5 * (a - d) ** 2]
    )


def wood(x):  # 14
    a, b, c, d = x
    last = [10**0.5 * (b + d - 2), 10**-0.5 * (b - d)]
    return jnp.stack(
        [10 * (b - a**2), 1 - a, 90**0.5 * (d - c**2), 1 - c, *last],
    )


def trigonometric(x):  # 26
    n = x.size
    i = jnp.arange(1, n + 1, dtype=x.dtype)
    return n - jnp.sum(jnp.cos(x)) + i * (1 - jnp.cos(x)) - jnp.sin(x)


def helical_valley(x):  # 7
    turn = jnp.arctan2(x[1], x[0]) / (2 * jnp.pi)
    radius = jnp.sqrt(x[0] ** 2 + x[1] ** 2)
    return jnp.stack([10 * (x[2] - 10 * turn), 10 * (radius - 1), x[2]])


def freudenstein_roth(x):  # 2: ends in the local minimum, ½ 48.98
    a, b = x
    one = -13 + a + ((5 - b) * b - 2) * b
    two = -29 + a + ((b + 1) * b - 14) * b
    return jnp.stack([one, two])


def brown_dennis(x, t):  # 16: a large residual at the minimum, ½ 85822
    a, b, c, d = x
    return (a + t * b - jnp.exp(t)) ** 2 + (c + d * jnp.sin(t) - jnp.cos(t)) ** 2


def jennrich_sampson(x):  # 6: e^10x is soon infinite, or has no slope; ½ 124.362
    i = jnp.arange(1, 11, dtype=x.dtype)
    return 2 + 2 * i - (jnp.exp(i * x[0]) + jnp.exp(i * x[1]))


def chebyquad(x):  # 35, of 8 unknowns: ½ 3.51687e-3
    """Means of Chebyshev's polynomials on [0, 1] less their integrals."""
    polynomials = [jnp.ones_like(x), 2 * x - 1]
    while len(polynomials) <= x.size:
        polynomials.append(2 * (2 * x - 1) * polynomials[-1] - polynomials[-2])
    integrals = [-1 / (i**2 - 1) if i % 2 == 0 else 0 for i in range(1, x.size + 1)]
    return jnp.stack([jnp.mean(p) for p in polynomials[1:]]) - jnp.array(
        integrals, x.dtype
    )


def saturation(b, x, y, unit):
    return (b[0] * -jnp.expm1(-b[1] * x) - y) / unit


def rational(b, x, y, unit):
    return (b[0] * (x**2 + b[1] * x) / (x**2 + b[2] * x + b[3]) - y) / unit


# --- others --------------------------------------------------------------------------


def quadratic(x, a, b):
    return 0.5 * jnp.vdot(x, a @ x) - jnp.vdot(b, x)


def spectrum(n, condition):
    """A matrix with eigenvalues 1/condition … 1 in a random basis, and a right side."""
    random = np.random.default_rng(0)
    q, _ = np.linalg.qr(random.normal(size=(n, n)))
    eigenvalues = np.geomspace(1 / condition, 1, n)
    return (q * eigenvalues) @ q.T, q @ (eigenvalues * random.normal(size=n))


def logistic(params, x, y):
    w, b = params
    z = x @ w + b
    return jnp.mean(jax.nn.softplus(z) - y * z) + 5e-3 * jnp.vdot(w, w)


def breast_cancer():
    x, y = sklearn.load_breast_cancer(return_X_y=True)
    return (x - x.mean(0)) / x.std(0), y.astype(float)


def network(params, x, y):
    return feedforward.cost(params, x, y, l2=1e-2)


def some_digits():
    """1,000 digits and the sizes of a network for them: MNIST, if it is here."""
    if (Path(os.environ.get("JAXML_DATA", "?")) / "mnist").is_dir():
        x, y = datasets.mnist(scale=1 / 255)[0]
    else:
        x, y = datasets.digits(scale=1 / 16)
    x, y = x[:1000].astype(float), np.eye(10)[y[:1000]]
    sizes = x.shape[1], 25, 10
    random = np.random.default_rng(1)
    start = tuple(
        random.normal(size=(o, i + 1)) / np.sqrt(i) for i, o in pairwise(sizes)
    )
    return feedforward.Params(start), (x, y)


# --- NIST ----------------------------------------------------------------------------


class Regression(NamedTuple):
    """A set of NIST's Statistical Reference Datasets, https://www.itl.nist.gov/div898/strd."""

    residual: Callable
    x: np.ndarray
    y: np.ndarray
    starts: tuple[tuple[float, ...], tuple[float, ...]]
    certified: tuple[float, ...]
    squares: float  # residual sum of squares


def _floats(text):
    return np.array([float(word) for word in text.split()])


MISRA1A = Regression(
    saturation,
    _floats(
        "77.6 114.9 141.1 190.8 239.9 289.0 332.8 378.4 434.8 477.3 536.8 593.1 689.1"
        " 760.0"
    ),
    _floats(
        "10.07 14.73 17.94 23.93 29.61 35.18 40.02 44.82 50.76 55.05 61.01 66.4 75.47"
        " 81.78"
    ),
    ((500, 1e-4), (250, 5e-4)),
    (2.3894212918e2, 5.5015643181e-4),
    1.2455138894e-1,
)
BOXBOD = Regression(
    saturation,
    _floats("1 2 3 5 7 10"),
    _floats("109 149 149 191 213 224"),
    ((1, 1), (100, 0.75)),
    (2.1380940889e2, 5.4723748542e-1),
    1.1680088766e3,
)
MGH09 = Regression(
    rational,
    _floats("4 2 1 0.5 0.25 0.167 0.125 0.1 0.0833 0.0714 0.0625"),
    _floats(
        "0.1957 0.1947 0.1735 0.16 0.0844 0.0627 0.0456 0.0342 0.0323 0.0235 0.0246"
    ),
    ((25, 39, 41.5, 39), (0.25, 0.39, 0.415, 0.39)),
    (1.9280693458e-1, 1.9128232873e-1, 1.2305650693e-1, 1.3606233068e-1),
    3.0750560385e-4,
)


def nist(regression, start, **more):
    """Residuals over their certified standard deviation: a least cost of (m - n)/2."""
    unit = np.sqrt(regression.squares / (regression.y.size - len(regression.certified)))
    data = regression.x, regression.y, unit
    return squares(regression.residual, regression.starts[start], *data, **more)


# --- the suite -----------------------------------------------------------------------


def squares(residual, start, *data, **more):
    return Problem(half(residual), np.array(start, float), data, residual, **more)


def other(cost, start, *data, **more):
    return Problem(cost, start, data, None, **more)


def tol(single, double=1e-8):
    """What each precision can reach.

    In float32 some ten times the norm of the gradient that is found when the minimum of
    float64 is moved by an ulp (twice for wood: beside a saddle where it is 1e-3). In
    float64 1e-8, and 1e-10 of the gradient at the start where that is above 1e6.
    """
    return {"float32": single, "float64": double}


CANCER = breast_cancer()
START, DIGITS = some_digits()

PROBLEMS = {
    "rosenbrock-2": squares(rosenbrock, [-1.2, 1], tol=tol(3e-4)),
    "rosenbrock-100": squares(rosenbrock, np.tile([-1.2, 1], 50), tol=tol(3e-3)),
    "beale": squares(beale, [1, 1], tol=tol(2e-5)),
    "powell-singular": squares(powell_singular, [3, -1, 0, 1], tol=tol(1e-5)),
    "wood": squares(wood, [-3, -1, -3, -1], tol=tol(2e-4)),
    "trigonometric": squares(trigonometric, np.full(10, 0.1), tol=tol(1e-5)),
    "helical-valley": squares(helical_valley, [-1, 0, 0], tol=tol(1e-4)),
    # At a local minimum of two residuals in two unknowns the Jacobian is singular.
    "freudenstein-roth": squares(freudenstein_roth, [0.5, -2], tol=tol(1e-3)),
    "brown-dennis": squares(
        brown_dennis, [25, 5, -5, -1], np.arange(1, 21) / 5, tol=tol(1, 1e-4)
    ),
    "quadratic-1e3": other(quadratic, np.zeros(50), *spectrum(50, 1e3), tol=tol(3e-6)),
    "quadratic-1e5": other(quadratic, np.zeros(20), *spectrum(20, 1e5), tol=tol(2e-6)),
    "logistic": other(logistic, (np.zeros(30), np.zeros(())), *CANCER, tol=tol(4e-7)),
    "network": other(network, START, *DIGITS, tol=tol(2e-6)),
    # Parameters of 2e2 and 5e-4: the norm of a gradient in such units says little.
    "misra1a": nist(
        MISRA1A, 1, tol=tol(2e4, 2e-2), without=(*FIRST, "newton", "newton_cg")
    ),
    # The gradient at the start points to b2 = inf, where the cost is flat.
    "boxbod": nist(BOXBOD, 1, tol=tol(3e-4), without=tuple(FIRST)),
    # Curvatures of 33 to 1e5: their searches end in the noise of the cost.
    "mgh09": nist(MGH09, 1, tol=tol(2e-2), without32=tuple(CONJUGATE)),
}


def solvers(name) -> list[str]:
    """The solvers that can be tried: no Hessian of 20,000 parameters is formed."""
    problem = PROBLEMS[name]
    large = ravel_pytree(problem.start)[0].size > 1000
    tried = FIRST | SECOND | (SQUARES if problem.residual is not None else {})
    return [solver for solver in tried if not (large and solver == "newton")]


def cast(tree, dtype):
    return jax.tree.map(lambda leaf: np.asarray(leaf, dtype), tree)


def solve(name, solver, dtype, max_iter=10_000):
    """minimize's answer; for float64 inside jax.enable_x64."""
    problem = PROBLEMS[name]
    extra = {"residual": problem.residual} if solver in SQUARES else {}
    return optimize.minimize(
        problem.cost,
        cast(problem.start, dtype),
        *cast(problem.data, dtype),
        solver=SOLVERS[solver],
        tol=problem.tol[dtype],
        max_iter=max_iter,
        **extra,
    )


# --- what is asked of an answer ------------------------------------------------------


class Judged(NamedTuple):
    """An answer, looked at in float64."""

    cost: float
    gradient: float  # norm
    excess: float  # cost above SciPy's, in units of max(1, |cost|)


def expected(name, solver, dtype) -> bool:
    """Whether that solver is to converge there."""
    problem = PROBLEMS[name]
    single = problem.without32 if dtype == "float32" else ()
    return solver not in (*problem.without, *single)


ABOVE = {"float32": 1e-5, "float64": 1e-8}  # the largest excess


def faults(name, solver, dtype, fit) -> list[str]:
    """What is wrong with an answer, if anything.

    Always: it has ended, with a finite cost, and CONVERGED is true of the gradient. Of
    solvers that are to converge: the excess is below ABOVE, and they are CONVERGED, or
    STALLED because precision is used up, that is, with a cost which is above SciPy's by
    no more than ten times its own noise.
    """
    problem = PROBLEMS[name]
    status, residual = Status(int(fit.status)), float(fit.residual)
    judged = judge(name, fit.params)
    left = judged.excess * max(1, abs(judged.cost))
    found = {
        "has not ended": status == Status.RUNNING,
        "cost is not finite": not np.isfinite(fit.cost),
        "gradient is not within tol": status == Status.CONVERGED
        and not (
            residual <= problem.tol[dtype] and judged.gradient <= 3 * problem.tol[dtype]
        ),
    }
    if expected(name, solver, dtype):
        found["excess"] = not judged.excess <= ABOVE[dtype]
        found["status"] = status not in (Status.CONVERGED, Status.STALLED)
        found["stalled before precision was used up"] = (
            status == Status.STALLED and left > 10 * noise(name, fit.params, dtype)
        )
    return [fault for fault, wrong in found.items() if wrong]


def judge(name, params) -> Judged:
    """Start SciPy where we ended: MINPACK for sums of squares, else L-BFGS-B."""
    with jax.enable_x64(True):
        cost, residual, jacobian = _functions(name)
        flat = np.asarray(ravel_pytree(cast(params, "float64"))[0])
        ours, gradient = (np.asarray(a) for a in cost(flat))
        if residual is None:
            most = 200 if flat.size < 1000 else 40
            options = {"maxiter": most, "ftol": 0, "gtol": 1e-13}
            search = scipy.minimize(
                cost, flat, jac=True, method="L-BFGS-B", options=options
            )
            theirs = search.fun
        else:
            search = scipy.least_squares(
                residual,
                flat,
                jacobian,
                method="lm",
                ftol=1e-15,
                xtol=1e-15,
                gtol=1e-15,
            )
            theirs = search.cost
    excess = (ours - theirs) / max(1, abs(ours))
    return Judged(float(ours), float(np.linalg.norm(gradient)), float(excess))


def noise(name, params, dtype) -> float:
    """By how much the cost in dtype strays from float64 within a few ulp of params."""
    problem = PROBLEMS[name]
    flat, unravel = ravel_pytree(cast(params, dtype))
    random, eps = np.random.default_rng(0), np.finfo(dtype).eps
    shifts = 1 + eps * random.integers(-4, 5, (20, flat.size))
    near = np.asarray(np.asarray(flat) * shifts, dtype)
    data = cast(problem.data, dtype)
    cost = jax.jit(lambda v, *data: problem.cost(unravel(v), *data))
    rough = [float(cost(v, *data)) for v in near]
    with jax.enable_x64(True):
        exact = [float(_functions(name)[0](v.astype("float64"))[0]) for v in near]
    return float(np.ptp(np.subtract(rough, exact)))


@functools.cache
def _functions(name):
    """Cost with gradient, and residual with Jacobian, of raveled params in float64."""
    problem = PROBLEMS[name]
    unravel = ravel_pytree(cast(problem.start, "float64"))[1]
    data = cast(problem.data, "float64")

    def bound(transform, function):
        run = jax.jit(transform(lambda v, *data: function(unravel(v), *data)))
        return lambda v: run(v, *data)

    cost = bound(jax.value_and_grad, problem.cost)
    if problem.residual is None:
        return cost, None, None
    return (
        cost,
        bound(lambda f: f, problem.residual),
        bound(jax.jacfwd, problem.residual),
    )

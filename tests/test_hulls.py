"""Hulls against SciPy, scikit-learn, the geometry of small ones, and differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize as scipy
from sklearn.svm import SVC, NuSVC

from jaxml import Status
from jaxml.networks import neuron
from jaxml.regression import linear
from jaxml.regression.svm import hulls
from tests.common.samples import Made
from tests.depth import cases

METHODS = ("wolfe", "mdm", "gilbert")


def clouds(seed, m=40, n=3, apart=3.0):
    """Two Gaussian clouds, two rows in five of class 1."""
    rng = np.random.default_rng(seed)
    y = (np.arange(m) % 5 < 2).astype(int)
    return rng.normal(size=(m, n)) + apart * y[:, None], y


def found(seed):
    return hulls.nearest_points(*clouds(seed, m=12)).params


SAMPLES = {
    "x": Made(lambda seed: clouds(seed, m=12)[0]),
    "y": clouds(0, m=12)[1],
    "fit.nu": 0.37,
    "params": Made(found),
}
TRIANGLES = np.array([[0, 0], [1, 0], [0, 1], [2, 2], [3, 2], [2, 3.0]])
SIDES = np.array([0, 0, 0, 1, 1, 1])


def planes(x, y, **options):
    """What hulls.fit gives, in the programs that the other tests have compiled."""
    fit = hulls.nearest_points(x, y, **options)
    return fit._replace(params=hulls.hyperplane(fit.params))


def brute(x, y, cap):
    """The distance by sequential quadratic programming, proved by a linear program."""
    signs = 2.0 * y - 1
    gram = (signs[:, None] * x) @ (signs[:, None] * x).T
    member = np.stack([y == 0, y == 1]).astype(float)
    sums = {"type": "eq", "fun": lambda a: member @ a - 1, "jac": lambda a: member}
    bounds = [(0, cap)] * len(x)
    alpha = scipy.minimize(
        lambda a: a @ gram @ a / 2,
        member.T @ (1 / member.sum(axis=1)),
        jac=lambda a: gram @ a,
        bounds=bounds,
        constraints=sums,
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 1000},
    ).x
    square = alpha @ gram @ alpha
    least = scipy.linprog(gram @ alpha, A_eq=member, b_eq=np.ones(2), bounds=bounds)
    assert abs(square - least.fun) < 1e-6 * square
    return np.sqrt(square)


# --- published and computed numbers --------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_two_triangles(method, x64):
    fit = hulls.nearest_points(TRIANGLES, SIDES, method=method, tol=1e-12)
    assert fit.status == Status.CONVERGED
    alpha, p, q, levels = fit.params
    np.testing.assert_allclose(hulls.distance(fit.params), 2.121320343560, atol=1e-12)
    np.testing.assert_allclose(p, [0.5, 0.5], atol=1e-12)
    np.testing.assert_allclose(q, [2, 2], atol=1e-12)
    plane = hulls.hyperplane(fit.params)
    np.testing.assert_allclose(plane.w, [2 / 3, 2 / 3], atol=1e-12)
    np.testing.assert_allclose(plane.b, -5 / 3, atol=1e-12)
    dual = 2 * alpha / jnp.sum((q - p) ** 2)  # the multipliers of the SVM
    wanted = [0, 2 / 9, 2 / 9, 4 / 9, 0, 0]
    np.testing.assert_allclose(dual, wanted, atol=1e-12)
    signed = dual * (2 * SIDES - 1)
    value = jnp.sum(dual) - jnp.sum((signed @ TRIANGLES) ** 2) / 2
    np.testing.assert_allclose(value, 4 / 9, atol=1e-12)
    # Forces on the plate balance: their sum is zero, and that of their moments is w.
    np.testing.assert_allclose(jnp.sum(signed), 0, atol=1e-12)
    np.testing.assert_allclose(signed @ TRIANGLES, plane.w, atol=1e-12)


@pytest.mark.long
def test_gilbert_is_slow_and_the_others_finite(x64):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(50, 5)), rng.normal(size=(60, 5)) + 2.5])
    y = np.repeat([0, 1], [50, 60])
    fit = hulls.nearest_points(x, y, method="gilbert", tol=0, max_iter=10_000)
    length = np.sqrt(2 * fit.history)  # every 20th step
    wanted = [1.62644, 1.61857, 1.61773]
    np.testing.assert_allclose(length[[4, 49, 499]], wanted, atol=5e-6)
    assert fit.status == Status.FINISHED
    exact = brute(x, y, 1)
    for method, steps in (("wolfe", 30), ("mdm", 100)):
        fit = hulls.nearest_points(x, y, method=method, tol=1e-10)
        assert fit.status == Status.CONVERGED
        assert fit.steps < steps
        np.testing.assert_allclose(hulls.distance(fit.params), exact, rtol=1e-7)


# --- against other algorithms --------------------------------------------------------


@pytest.mark.parametrize("mu", [None, 0.4, 0.15])
@pytest.mark.parametrize("method", METHODS)
def test_agrees_with_quadratic_programming(method, mu, x64):
    x, y = clouds(1)
    cap = 1 if mu is None else mu
    exact = brute(x, y, cap)
    loose = method == "gilbert"
    fit = hulls.nearest_points(
        x, y, mu=mu, method=method, tol=1e-4 if loose else 1e-10, max_iter=5000
    )
    assert fit.status == Status.CONVERGED
    rtol = 1e-4 if loose else 1e-6
    np.testing.assert_allclose(hulls.distance(fit.params), exact, rtol=rtol)
    alpha = np.asarray(fit.params.alpha)
    assert (alpha >= 0).all()
    assert (alpha <= cap + 1e-12).all()
    for c, end in ((0, fit.params.p), (1, fit.params.q)):
        np.testing.assert_allclose(alpha[y == c].sum(), 1, rtol=1e-12)
        np.testing.assert_allclose(alpha[y == c] @ x[y == c], end, atol=1e-12)


@pytest.mark.parametrize("nu", [None, 0.21, 0.33, 0.62])
def test_agrees_with_sklearn(nu, x64):
    """Of two sizes of classes; the edges of the ν-SVM are where LIBSVM has them."""
    x, y = clouds(1, apart=3.0 if nu is None else 1.0)
    peer = SVC(kernel="linear", C=1e9) if nu is None else NuSVC(nu=nu, kernel="linear")
    peer.set_params(tol=1e-9).fit(x, y)
    fit = planes(x, y, nu=nu, tol=1e-10)
    assert fit.status == Status.CONVERGED
    decision = linear.predict(fit.params, x)
    wanted = peer.decision_function(x)
    np.testing.assert_allclose(decision, wanted, atol=2e-6 * np.abs(wanted).max())


def test_nu_is_a_share_of_rows(x64):
    x, y = clouds(2, m=200, apart=2.0)
    nus = jnp.array([0.2, 0.4, 0.6])

    def shares(nu):
        fit = hulls.nearest_points(x, y, nu=nu, tol=1e-9)
        z = linear.predict(hulls.hyperplane(fit.params), x) * (2 * y - 1)
        support = jnp.mean(fit.params.alpha > 1e-9)
        return fit.status, jnp.mean(z < 1 - 1e-6), support

    status, within, support = jax.jit(jax.vmap(shares))(nus)
    assert (status == Status.CONVERGED).all()
    assert (within <= nus + 1e-6).all()
    assert (support >= nus - 1e-6).all()
    assert (support - within < 0.04).all()


def test_through_the_origin_by_nnls(x64):
    x, y = clouds(3, n=4)
    x -= 1.5
    z = (2 * y - 1)[:, None] * x
    u, _ = scipy.nnls(np.vstack([z.T, np.ones(40)]), np.eye(5)[4], maxiter=1000)
    p = z.T @ (u / u.sum())
    fit = hulls.nearest_points(x, y, intercept=False, tol=1e-11)
    np.testing.assert_allclose(fit.params.alpha, u / u.sum(), atol=1e-9)
    np.testing.assert_allclose(fit.params.q - fit.params.p, p, atol=1e-10)
    plane = hulls.hyperplane(fit.params)
    np.testing.assert_allclose(plane.b, 0, atol=1e-12)
    np.testing.assert_allclose((z @ plane.w).min(), 1, atol=1e-9)
    np.testing.assert_allclose(1 / jnp.linalg.norm(plane.w), np.linalg.norm(p))


def test_nu_through_the_origin(x64):
    """As with all rows mirrored, for then b = 0; three times the weight is no more."""
    x, y = clouds(3, n=4)
    x -= 1.5
    peer = NuSVC(nu=0.33, kernel="linear", tol=1e-9)
    peer.fit(np.concatenate([x, -x]), np.concatenate([y, 1 - y]))
    options = {"nu": 0.33, "weights": np.full(40, 3.0), "tol": 1e-10}
    ours = planes(x, y, intercept=False, **options).params
    np.testing.assert_allclose(ours.w, peer.coef_[0], rtol=1e-5)
    np.testing.assert_allclose(ours.b, 0, atol=1e-12)


def test_perceptron_makes_no_more_mistakes_than_the_margin_allows(x64):
    x, y = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1.0]]), np.array([0, 0, 0, 1])
    sets = [(x, y), clouds(4), clouds(5, apart=2.5)]
    bounds = []
    for x, y in sets:
        rows = np.concatenate([np.ones((len(x), 1)), x], axis=1)
        fit = hulls.nearest_points(rows, y, intercept=False, tol=1e-9)
        bound = np.max(np.sum(rows**2, axis=1)) / hulls.distance(fit.params) ** 2
        start = neuron.Params(jnp.zeros(x.shape[1] + 1), jnp.int32(0))
        learned = neuron.fit(start, x, y)
        assert learned.status == Status.CONVERGED
        assert 0 < learned.params.mistakes <= bound
        bounds.append(bound)
    np.testing.assert_allclose(bounds[0], 9, rtol=1e-9)


# --- weights, precision, transforms --------------------------------------------------


@pytest.mark.parametrize("nu", [None, 0.33])
def test_integer_weights_are_repeated_rows(nu, x64):
    x, y = clouds(6, apart=3.0 if nu is None else 1.0)
    counts = np.random.default_rng(7).integers(0, 4, 40)
    repeated = np.repeat(x, counts, axis=0), np.repeat(y, counts)
    junk = np.where((counts == 0)[:, None], 1e6, x)
    one = planes(junk, y, nu=nu, weights=counts, tol=1e-10)
    two = planes(*repeated, nu=nu, tol=1e-10)
    assert one.status == two.status == Status.CONVERGED
    for a, b in zip(one.params, two.params, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7)
    np.testing.assert_allclose(one.cost, two.cost, rtol=1e-9)


@pytest.mark.long
@pytest.mark.parametrize("method", ["wolfe", "mdm"])
@pytest.mark.parametrize("nu", [None, 0.33])
@pytest.mark.parametrize("shift", [0, 1e3])
def test_float32(nu, method, shift, x64):
    x, y = clouds(8, apart=3.0 if nu is None else 1.5)
    x = (x + shift).astype(np.float32)
    narrow = hulls.nearest_points(x, y, nu=nu, method=method)
    exact = hulls.nearest_points(x.astype(float), y, nu=nu, tol=1e-10)
    assert narrow.params.p.dtype == jnp.float32
    assert narrow.status == Status.CONVERGED
    ours, wanted = hulls.distance(narrow.params), hulls.distance(exact.params)
    np.testing.assert_allclose(ours, wanted, rtol=1e-5 + 2e-7 * shift)


def test_the_plane_far_from_the_origin(x64):
    """In float32 the strip lies where it does in float64, to the rounding of x."""
    x, y = clouds(8)
    x = (np.round(x * 64) / 64 + 8192).astype(np.float32)
    narrow, exact = (planes(rows, y).params for rows in (x, x.astype(np.float64)))
    wanted = np.asarray(linear.predict(exact, x.astype(np.float64)))
    w, b = (np.asarray(value, np.float64) for value in narrow)
    np.testing.assert_allclose(x.astype(np.float64) @ w + b, wanted, atol=6e-3)


def test_hulls_that_meet(x64):
    x, y = clouds(9, apart=0.5)
    fit = hulls.nearest_points(x, y)
    assert fit.status == Status.UNBOUNDED
    assert fit.cost < 1e-25
    touching = np.array([[0, 0], [0, 1], [1, 0], [1, 0], [2, 1], [2, 0.0]])
    fit = hulls.nearest_points(touching, SIDES)
    assert fit.status == Status.UNBOUNDED
    assert hulls.nearest_points(x, y, nu=0.6).status == Status.CONVERGED


def test_too_small_a_bound_is_invalid(x64):
    x, y = clouds(1)
    for option in ({"nu": 0.9}, {"mu": 0.05}, {"mu": -1.0}):
        assert hulls.nearest_points(x, y, **option).status == Status.INVALID
    assert hulls.nearest_points(x, np.zeros(40, int)).status == Status.INVALID
    weights = np.where(y == 1, 0, 1.0)
    assert hulls.nearest_points(x, y, weights=weights).status == Status.INVALID


def test_fit_is_one_trace_for_many_bounds(x64):
    x, y = clouds(1)
    fit, other = hulls.fit(x, y, nu=0.4), planes(x, y, nu=0.4)
    for a, b in zip(fit.params, other.params, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    before = hulls.fit.traces
    for nu in (0.41, 0.43, 0.5):
        hulls.fit(x[::-1], y[::-1], nu=nu)
    assert hulls.fit.traces == before


# --- derivatives ---------------------------------------------------------------------


@pytest.mark.parametrize("nu", cases([None, 0.33], quick=[0.33]))
def test_derivatives(nu, x64):
    x, y = clouds(10, apart=3.0 if nu is None else 1.5)
    direction = np.random.default_rng(11).normal(size=x.shape)

    def all_of(t, s):
        """Along a line of rows, and of nu."""
        bound = None if nu is None else nu + s
        fit = hulls.nearest_points(x + t * direction, y, nu=bound, tol=1e-12)
        plane = hulls.hyperplane(fit.params)
        length = jnp.sqrt(2 * fit.cost)  # by the envelope theorem
        other = hulls.distance(fit.params)  # by the equations of the support
        return jnp.stack([length, other, *plane.w, plane.b, *fit.params.p])

    def both(t, s):
        return all_of(t, s), *jax.jacrev(all_of, (0, 1))(t, s)

    run = jax.jit(jax.vmap(both))
    h = 1e-6
    values, in_x, in_nu = run(jnp.array([0, h, -h, 0, 0]), jnp.array([0, 0, 0, h, -h]))
    np.testing.assert_allclose(in_x[0, 0], in_x[0, 1], rtol=1e-9)
    wanted = (values[1] - values[2]) / (2 * h)
    np.testing.assert_allclose(in_x[0], wanted, rtol=1e-6, atol=1e-7)
    wanted = (values[3] - values[4]) / (2 * h)
    np.testing.assert_allclose(in_nu[0], wanted, rtol=1e-6, atol=1e-7)
    assert (np.abs(in_nu[0, :2]) > 0.1).all() == (nu is not None)


def test_derivatives_where_coefficients_are_not_unique(x64):
    """Sides that are parallel: the distance has a derivative, the points have none."""
    x = np.array([[0, 0], [0, 1], [0, 2], [3, 0.5], [3, 1.5], [4, 1.0]])
    y = np.array([0, 0, 0, 1, 1, 1])
    cost = lambda x: hulls.nearest_points(x, y, method="gilbert").cost
    shifted = jax.grad(cost)(x)[:, 0]
    np.testing.assert_allclose(shifted[y == 0].sum(), -3, rtol=1e-6)
    np.testing.assert_allclose(shifted[y == 1].sum(), 3, rtol=1e-6)


@pytest.mark.long
def test_no_derivative_of_what_did_not_converge(x64):
    x, y = clouds(10)

    def one(x, options):
        fit = lambda x: hulls.nearest_points(x, y, **options)
        back = jax.vjp(lambda x: (fit(x).cost, fit(x).params.q.sum()), x)[1]
        return fit(x).status, *back((1.0, 0.0)), *back((0.0, 1.0))

    for options in ({"max_iter": 2}, {"method": "gilbert", "tol": 0.0}):
        status, of_cost, of_q = jax.jit(lambda x, o=options: one(x, o))(x)
        assert status != Status.CONVERGED
        assert np.isnan(of_cost).any()
        assert np.isnan(of_q).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "smo"}, r"^method must be one of 'gilbert', 'mdm', 'wolfe'"),
        ({"nu": 0.5, "mu": 0.5}, r"^nu and mu are two names"),
        ({"nu": 0.0}, r"^nu must lie in \(0, 1\]"),
        ({"weights": np.ones(3)}, r"^weights has shape \(3,\)"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        hulls.nearest_points(TRIANGLES, SIDES, **options)

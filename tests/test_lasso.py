"""Lasso against scikit-learn, SciPy, closed forms and the conditions of a minimum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize
from sklearn import linear_model

from jaxml import Status, check
from jaxml.regression import lasso
from jaxml.regression.lasso import _search
from tests.depth import cases

SAMPLES = {
    "params": lasso.Params(np.array([0.4, -0.3, 0.2]), np.array(0.1)),
    "penalty_factors": np.array([0.5, 1.5, 1.0]),
    "groups": None,
    "l1s": None,
}
ROUGH = {"path": "its fits are only as exact as their default tol"}

# A narrow problem, and one for which a set of columns is grown.
SIZES = {"narrow": (60, 12), "wide": (40, 520)}
LATER = ["narrow", pytest.param("wide", marks=pytest.mark.long)]


def problem(size, seed=0):
    m, n = SIZES[size]
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(m, n)) + 0.4 * rng.normal(size=(m, 1)) + 2
    w = np.zeros(n)
    w[:4] = [1.5, -2, 1, 0.7]
    return x, x @ w + 0.5 * rng.normal(size=m) - 1


def oracle(x, y, l1, l2=0.0, **more):
    alpha = l1 + l2
    model = linear_model.ElasticNet(
        alpha=alpha, l1_ratio=l1 / alpha, tol=1e-15, max_iter=1_000_000, **more
    )
    return model.fit(x, y)


def close(fit, w, b, atol=1e-8):
    check(fit)
    np.testing.assert_allclose(fit.params.w, w, atol=atol)
    np.testing.assert_allclose(fit.params.b, b, atol=10 * atol)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize("positive", cases([False, True], quick=[False]))
def test_agrees_with_sklearn(size, l2, positive, x64):
    x, y = problem(size)
    for l1 in (0.02, 0.3):
        fit = lasso.fit(x, y, l1=l1, l2=l2, positive=positive, tol=1e-11)
        theirs = oracle(x, y, l1, l2, positive=positive)
        close(fit, theirs.coef_, theirs.intercept_, atol=3e-7)
        options = {"l1": l1, "l2": l2, "positive": positive}
        kkt = lasso.kkt_residual(fit.params, x, y, **options)
        gap = lasso.duality_gap(fit.params, x, y, **options)
        assert kkt < 1e-8
        assert -1e-12 < gap < 1e-8
        value = lasso.cost(fit.params, x, y, l1=l1, l2=l2)
        np.testing.assert_allclose(fit.cost, value, rtol=1e-9)
        assert lasso.degrees_of_freedom(fit.params) == (theirs.coef_ != 0).sum()


@pytest.mark.parametrize("size", SIZES)
def test_without_an_intercept(size, x64):
    x, y = problem(size)
    fit = lasso.fit(x, y, l1=0.2, intercept=False, tol=1e-10)
    theirs = oracle(x, y, 0.2, fit_intercept=False)
    close(fit, theirs.coef_, 0)


@pytest.mark.parametrize("size", SIZES)
def test_float32(size):
    """The cost in float64 is within 1e-6 of the least."""
    x, y = problem(size)
    fit = check(lasso.fit(x.astype(np.float32), y.astype(np.float32), l1=0.05))
    theirs = oracle(x, y, 0.05)
    assert fit.params.w.dtype == np.float32
    with jax.enable_x64(True):
        params = jax.tree.map(lambda a: np.asarray(a, float), fit.params)
        least = lasso.cost(lasso.Params(theirs.coef_, theirs.intercept_), x, y, l1=0.05)
        assert abs(lasso.cost(params, x, y, l1=0.05) / least - 1) < 1e-5


def test_an_orthonormal_design_is_a_soft_threshold(x64):
    """w_j = sign(c_j) max(|c_j| - l1 f_j, 0) / (1 + l2) for xᵀx = m."""
    rng = np.random.default_rng(1)
    x = np.linalg.qr(rng.normal(size=(60, 12)))[0] * 60**0.5
    y, f = rng.normal(size=60), rng.uniform(0, 2, 12)
    c = x.T @ y / 60
    fit = lasso.fit(x, y, l1=0.1, l2=0.5, penalty_factors=f, intercept=False, tol=1e-13)
    expected = np.sign(c) * np.maximum(abs(c) - 0.1 * f, 0) / 1.5
    close(fit, expected, 0, atol=1e-13)
    assert 0 < lasso.degrees_of_freedom(fit.params) < 12


@pytest.mark.parametrize("size", SIZES)
def test_elastic_net_is_a_lasso_with_more_rows(size, x64):
    """√(m l2) I below x and 0 below y; the weights keep m as it was."""
    x, y = problem(size)
    m, n = x.shape
    x = x - x.mean(0)
    net = lasso.fit(x, y - y.mean(), l1=0.1, l2=0.3, intercept=False, tol=1e-11)
    more = np.concatenate([x, np.sqrt(0.3 * m) * np.eye(n)])
    below = np.append(y - y.mean(), np.zeros(n))
    plain = oracle(more, below, 0.1 * m / (m + n), fit_intercept=False)
    np.testing.assert_allclose(check(net).params.w, plain.coef_, atol=1e-8)


@pytest.mark.parametrize("size", SIZES)
def test_integer_weights_are_repeated_rows(size, x64):
    x, y = problem(size)
    counts = np.random.default_rng(2).integers(0, 3, len(y))
    one = lasso.fit(x, y, l1=0.1, l2=0.05, weights=counts, tol=1e-11)
    theirs = oracle(np.repeat(x, counts, 0), np.repeat(y, counts), 0.1, 0.05)
    close(one, theirs.coef_, theirs.intercept_)
    scaled = lasso.fit(x, y, l1=0.1, l2=0.05, weights=7.5 * counts, tol=1e-11)
    np.testing.assert_allclose(one.params.w, scaled.params.w, atol=1e-9)
    gap = lasso.duality_gap(one.params, x, y, l1=0.1, l2=0.05, weights=counts)
    assert -1e-12 < gap < 1e-9


@pytest.mark.long
@pytest.mark.parametrize("size", SIZES)
def test_penalty_factors_scale_columns(size, x64):
    """f_j on w_j is a plain lasso of x_j / f_j."""
    x, y = problem(size)
    f = np.random.default_rng(3).uniform(0.3, 2, x.shape[1])
    fit = lasso.fit(x, y, l1=0.2, penalty_factors=f, tol=1e-11)
    theirs = oracle(x / f, y, 0.2)
    close(fit, theirs.coef_ / f, theirs.intercept_)


@pytest.mark.long
@pytest.mark.parametrize("size", SIZES)
def test_a_column_without_penalty(size, x64):
    """At the largest l1 only w of the factor 0 is left: a line through the points."""
    x, y = problem(size)
    f = np.ones(x.shape[1])
    f[5] = 0
    largest = lasso.largest_l1(x, y, penalty_factors=f)
    fit = check(lasso.fit(x, y, l1=largest * 1.0001, penalty_factors=f, tol=1e-11))
    slope, intercept = np.polyfit(x[:, 5], y, 1)
    np.testing.assert_allclose(fit.params.w[5], slope, rtol=1e-8)
    np.testing.assert_allclose(fit.params.b, intercept, rtol=1e-8)
    assert lasso.degrees_of_freedom(fit.params) == 1
    fit = check(lasso.fit(x, y, l1=largest * 0.999, penalty_factors=f, tol=1e-11))
    assert lasso.degrees_of_freedom(fit.params) == 2


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("positive", [False, True])
def test_largest_l1(size, positive, x64):
    x, y = problem(size)
    largest = lasso.largest_l1(x, y, positive=positive)
    for factor, count in ((1.0001, 0), (0.9999, 1)):
        fit = lasso.fit(x, y, l1=factor * largest, positive=positive, tol=1e-8)
        assert lasso.degrees_of_freedom(check(fit).params) == count
    # Of all columns together and no intercept: ‖xᵀy‖∞ / m.
    plain = lasso.largest_l1(x, y, intercept=False)
    np.testing.assert_allclose(plain, np.abs(x.T @ y).max() / len(y), rtol=1e-12)


@pytest.mark.parametrize("sign", [1, -1])
def test_nonnegative_least_squares_is_that_of_scipy(sign, x64):
    x, y = problem("narrow")
    fit = lasso.fit(x, sign * y, l1=0.0, positive=True, intercept=False, tol=1e-12)
    theirs, norm = optimize.nnls(x, sign * y)
    close(fit, theirs, 0)
    np.testing.assert_allclose(fit.cost, 0.5 * norm**2 / len(y), rtol=1e-10)


def hard_problems(count, kind):
    """Columns alike and of all sizes, y in any unit, penalties tiny to too large."""
    rng = np.random.default_rng(6)
    u, _, vt = np.linalg.svd(rng.normal(size=(count, 30, 8)), full_matrices=False)
    spread = 10 ** (-rng.uniform(0, 3, (count, 1)) * rng.uniform(0, 1, (count, 8)))
    x = (u * spread[:, None]) @ vt * 10 ** rng.uniform(-3, 3, (count, 1, 1))
    y = x.sum(2)
    noise = y.std(1) * 10 ** rng.uniform(-1.5, 1, count)
    y += noise[:, None] * rng.normal(size=(count, 30))
    y *= 10 ** rng.uniform(-12, 12, (count, 1))
    x *= 10 ** (rng.uniform(0, 1.5, (count, 1, 1)) * rng.uniform(-1, 1, (count, 1, 8)))
    share = 0 * noise if kind == "none" else 10 ** rng.uniform(-5, 0.1, count)
    return [a.astype(np.float32) for a in (x, y, share)]


def cost_and_bound(x, y, params, l1, kind):
    """J, and a dual value: by the residuals drawn into what is feasible."""
    w, b = params
    groups = np.sqrt(2) * np.linalg.norm(w.reshape(4, 2), axis=1)
    size = groups.sum() if kind == "groups" else np.abs(w).sum()
    cost = 0.5 * np.mean((y - x @ w - b) ** 2) + l1 * size
    x, y = x - x.mean(0), y - y.mean()
    if kind == "none":
        w = np.linalg.lstsq(x, y)[0]
        return cost, 0.5 * np.mean((y - x @ w) ** 2)
    force = (y - x @ w) / len(y)
    pull = x.T @ force
    if kind == "groups":
        pull = np.linalg.norm(pull.reshape(4, 2), axis=1) / np.sqrt(2)
    most = np.max(pull if kind == "positive" else np.abs(pull))
    force = force * min(1, l1 / most)
    return cost, force @ y - len(y) / 2 * force @ force


@pytest.mark.parametrize(
    "kind",
    cases(["plain", "positive", "none", "groups"], quick=["positive", "none"]),
)
def test_converged_is_a_promise(kind):
    """The cost is within the residual of a dual value, relative to that at w = 0."""
    options = {"positive": True} if kind == "positive" else {}
    options |= {"groups": np.arange(8) // 2} if kind == "groups" else {}
    tol = 1e-5

    @jax.jit
    @jax.vmap
    def run(x, y, share, tol):
        l1 = share * lasso.largest_l1(x, y, **options)
        return l1, lasso.fit(x, y, l1=l1, tol=tol, **options)

    data = hard_problems(30, kind)
    each = lambda tol: np.full_like(data[2], tol)
    found = [run(*data, each(tol))]
    with jax.enable_x64(True):
        data = [a.astype(float) for a in data]
        found.append(run(*data, each(tol)))
        _, exact = found[1] if kind == "none" else run(*data, each(1e-12))
    found, exact = jax.tree.map(lambda a: np.asarray(a, float), (found, exact.params))
    checked = 0
    for l1s, fits in found:
        good = fits.status == Status.CONVERGED
        # Proximal descent on groups takes long where columns differ in size.
        assert good.sum() >= (10 if kind == "groups" else 27)
        assert (fits.residual[good] <= 10 * tol).all()
        for i in np.flatnonzero(good):
            one, other = (lasso.Params(p.w[i], p.b[i]) for p in (fits.params, exact))
            of = lambda params, i=i, l1s=l1s: (
                np.array(cost_and_bound(data[0][i], data[1][i], params, l1s[i], kind))
                / (0.5 * data[1][i].var())
            )
            least, bound = of(other)
            if kind == "none" or least - bound < 1e-6:  # a bound that is one
                excess, checked = of(one)[0] - bound, checked + 1
                assert excess <= max(tol, fits.residual[i]) + 1e-6
    assert checked >= (20 if kind == "groups" else 55)


@pytest.mark.parametrize("size", SIZES)
def test_weights_and_y_have_no_units(size):
    """Sums or squares that overflow; rows of weight 0 hold anything."""
    x, y = (np.float32(a) for a in problem(size))
    some = np.where(np.arange(len(y)) % 4 > 0, 2.0, 0.0)
    far = np.where(some[:, None] == 0, 1e6, x), np.where(some == 0, -1e6, y)
    unit = 2.0**-70
    one = check(lasso.fit(x, y, l1=0.1, weights=some))
    two = lasso.fit(far[0], far[1] * unit, l1=0.1 * unit, weights=some * 2.0**126)
    np.testing.assert_allclose(check(two).params.w / unit, one.params.w, atol=1e-4)
    np.testing.assert_allclose(two.params.b / unit, one.params.b, atol=1e-3)


# --- groups -------------------------------------------------------------------------

GROUPS = np.array([3, 0, 0, 1, 1, 3, 5, 5, 5, 0, 7, 7])


def by_scipy(x, y, l1, groups):
    """|w_g| = min over η_g > 0 of ½ (|w_g|² / η_g + η_g): ridge, L-BFGS-B over η."""
    x, y = x - x.mean(0), y - y.mean()
    names, member = np.unique(groups, return_inverse=True)
    roots = np.sqrt(np.bincount(member))

    def ridge(eta):
        pull = np.diag((l1 * roots / eta)[member])
        w = np.linalg.solve(x.T @ x / len(y) + pull, x.T @ y / len(y))
        return w, np.bincount(member, w**2)

    def value(eta):
        w, squares = ridge(eta)
        penalty = 0.5 * l1 * roots @ (squares / eta + eta)
        slope = 0.5 * l1 * roots * (1 - squares / eta**2)
        return 0.5 * np.mean((x @ w - y) ** 2) + penalty, slope

    options = {"ftol": 1e-16, "gtol": 1e-12, "maxiter": 10_000, "maxfun": 10_000}
    found = optimize.minimize(
        value, np.ones(len(names)), jac=True, method="L-BFGS-B",
        bounds=[(1e-10, None)] * len(names), options=options,
    )  # fmt: skip
    return found.fun, ridge(found.x)[0]


def test_group_lasso_is_that_of_scipy(x64):
    x, y = problem("narrow")
    for l1 in (0.05, 0.3):
        fit = lasso.fit(x, y, l1=l1, groups=GROUPS, tol=1e-10)
        value, w = by_scipy(x, y, l1, GROUPS)
        np.testing.assert_allclose(check(fit).cost, value, rtol=1e-8)
        np.testing.assert_allclose(fit.params.w, w, atol=1e-5)
        assert lasso.kkt_residual(fit.params, x, y, l1=l1, groups=GROUPS) < 1e-8
        gap = lasso.duality_gap(fit.params, x, y, l1=l1, groups=GROUPS)
        assert -1e-12 < gap < 1e-8
    whole = [np.unique(fit.params.w[g == GROUPS] != 0).size for g in set(GROUPS)]
    assert set(whole) == {1}
    assert 0 < lasso.degrees_of_freedom(fit.params) < 12


@pytest.mark.long
@pytest.mark.parametrize("size", SIZES)
def test_groups_of_one_are_a_lasso(size, x64):
    """Accelerated descent and coordinate descent find the same minimum."""
    x, y = problem(size)
    n = x.shape[1]
    f = np.random.default_rng(3).uniform(0.5, 2, n)
    options = {"l1": 0.3, "l2": 0.1, "penalty_factors": f, "tol": 1e-9}
    one = lasso.fit(x, y, groups=np.arange(n)[::-1], **options)
    two = lasso.fit(x, y, **options)
    close(one, two.params.w, two.params.b, atol=1e-6)
    np.testing.assert_allclose(
        lasso.largest_l1(x, y, penalty_factors=f, groups=np.arange(n)),
        lasso.largest_l1(x, y, penalty_factors=f),
        rtol=1e-12,
    )


def test_largest_l1_of_groups(x64):
    x, y = problem("narrow")
    largest = lasso.largest_l1(x, y, groups=GROUPS)
    for factor, some in ((1.0001, False), (0.999, True)):
        fit = check(lasso.fit(x, y, l1=factor * largest, groups=GROUPS, tol=1e-9))
        assert (lasso.degrees_of_freedom(fit.params) > 0) == some


def test_a_label_that_is_no_group():
    x, y = problem("narrow")
    fit = lasso.fit(x, y, l1=0.1, groups=GROUPS + 5)
    assert fit.status == Status.INVALID
    assert np.isnan(lasso.cost(fit.params, x, y, l1=0.1, groups=GROUPS + 5))


# --- measures of a minimum ----------------------------------------------------------


@pytest.mark.parametrize("l2", [0.0, 0.2])
@pytest.mark.parametrize("kind", ["plain", "positive", "groups"])
def test_the_gap_bounds_the_cost_from_anywhere(l2, kind, x64):
    """J(w) - gap is at most the least J; both measures are 0 at the minimum alone."""
    x, y = problem("narrow")
    options = {"l1": 0.2, "l2": l2}
    options |= {"positive": True} if kind == "positive" else {}
    options |= {"groups": GROUPS} if kind == "groups" else {}
    best = check(lasso.fit(x, y, tol=1e-10, **options))
    plain = {n: v for n, v in options.items() if n != "positive"}
    rng = np.random.default_rng(5)
    for size in (1e-3, 0.1, 3.0):
        w = best.params.w + size * rng.normal(size=12)
        w = jnp.abs(w) if kind == "positive" else w
        params = lasso.Params(w, best.params.b + size)
        cost = lasso.cost(params, x, y, **plain)
        gap = lasso.duality_gap(params, x, y, **options)
        assert cost - gap <= best.cost + 1e-12
        assert gap >= cost - best.cost > 0
        assert lasso.kkt_residual(params, x, y, **options) > 0


def test_a_negative_weight_is_infinitely_wrong_where_it_may_not_be():
    x, y = problem("narrow")
    params = lasso.Params(jnp.zeros(12).at[3].set(-1e-3), jnp.zeros(()))
    for measure in (lasso.kkt_residual, lasso.duality_gap):
        assert np.isinf(measure(params, x, y, l1=0.1, positive=True))


# --- the path -----------------------------------------------------------------------


@pytest.mark.parametrize("size", cases(SIZES, quick=["narrow"]))
def test_path_is_that_of_sklearn_and_of_vmap(size, x64):
    x, y = problem(size)
    found = check_path(lasso.path(x, y, count=30, ratio=0.01, tol=1e-9))
    np.testing.assert_allclose(found.l1s[0], lasso.largest_l1(x, y), rtol=1e-12)
    np.testing.assert_allclose(found.l1s[-1] / found.l1s[0], 0.01, rtol=1e-12)
    _, theirs, _ = linear_model.lasso_path(
        x - x.mean(0), y - y.mean(), alphas=found.l1s, tol=1e-14, max_iter=1_000_000
    )
    np.testing.assert_allclose(found.fits.params.w, theirs.T, atol=1e-6)
    each = jax.vmap(lambda l1: lasso.fit(x, y, l1=l1, tol=1e-9))(found.l1s)
    np.testing.assert_allclose(found.fits.params.w, each.params.w, atol=1e-6)
    np.testing.assert_allclose(found.fits.cost, each.cost, rtol=1e-8)
    if size == "narrow":
        given = lasso.path(x, y, l1s=found.l1s[::3], tol=1e-9).fits.params.w
        np.testing.assert_allclose(given, found.fits.params.w[::3], atol=1e-6)


def check_path(path):
    check(path.fits)
    return path


@pytest.mark.long
def test_path_of_groups_and_factors(x64):
    x, y = problem("narrow")
    options = {"groups": GROUPS, "penalty_factors": np.linspace(0, 2, 12)}
    options |= {"tol": 1e-9}
    found = check_path(lasso.path(x, y, count=5, ratio=0.05, l2=0.1, **options))
    for i in (0, 2, 4):
        one = lasso.fit(x, y, l1=found.l1s[i], l2=0.1, **options)
        np.testing.assert_allclose(found.fits.params.w[i], one.params.w, atol=1e-6)


@pytest.mark.parametrize("spare", [24, -25])
def test_more_columns_take_part_than_there_are_places(spare, monkeypatch, x64):
    """The oldest leave and come back: the minimum is the same."""
    monkeypatch.setattr(_search, "SPARE", spare)
    x, y = problem("wide", seed=7)
    # A set of 64 columns, or 15; of the elastic net many more are not 0.
    x = np.concatenate([x, x[:, ::-1] ** 2], axis=1)[:, : 600 + spare]
    fit = lasso.fit(x, y, l1=0.01, l2=1.0, tol=1e-8)
    theirs = oracle(x, y, 0.01, 1.0)
    assert (theirs.coef_ != 0).sum() > 64
    close(fit, theirs.coef_, theirs.intercept_, atol=1e-6)


# --- derivatives --------------------------------------------------------------------

CASES = {
    "narrow": ("narrow", {}),
    "wide": ("wide", {}),
    "positive": ("narrow", {"positive": True}),
    "groups": ("narrow", {"groups": GROUPS}),
    "no intercept": ("narrow", {"intercept": False}),
}


LONG = ("positive", "no intercept", "groups", "narrow")


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=pytest.mark.long if c in LONG else ()) for c in CASES],
)
def test_derivatives_on_the_active_set(case, x64):
    """In l1, l2, x, y, weights and factors at once, against central differences."""
    size, options = CASES[case]
    x, y = problem(size)
    rng = np.random.default_rng(4)
    weights, f = rng.uniform(0.5, 2, len(y)), rng.uniform(0.5, 2, x.shape[1])
    point = tuple(jnp.asarray(a) for a in (0.2, 0.1, x, y, weights, f))
    directions = tuple(jnp.asarray(rng.normal(size=a.shape)) for a in point)
    back = rng.normal(size=x.shape[1] + 2)
    step = 1e-6

    def flat(l1, l2, x, y, weights, f):
        fit = lasso.fit(
            x, y, l1=l1, l2=l2, weights=weights, penalty_factors=f, tol=1e-12, **options
        )
        return jnp.concatenate([fit.params.w, fit.params.b[None], fit.cost[None]])

    @jax.jit
    def everything(point, directions):
        tangent = jax.jvp(flat, point, directions)[1]
        adjoint = jax.vjp(flat, *point)[1](back)
        moved = [
            jnp.stack([a + step * d, a - step * d])
            for a, d in zip(point, directions, strict=True)
        ]
        ends = jax.lax.map(lambda a: flat(*a), moved)
        return flat(*point), tangent, adjoint, (ends[0] - ends[1]) / (2 * step)

    found, tangent, adjoint, central = everything(point, directions)
    assert 0 < (found == 0).sum() < len(found) - 2
    np.testing.assert_allclose(tangent, central, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(tangent[found == 0], 0)
    one = sum(np.vdot(a, d) for a, d in zip(adjoint, directions, strict=True))
    np.testing.assert_allclose(one, back @ tangent, rtol=1e-8)


def test_path_has_the_derivatives_of_its_fits(x64):
    x, y = problem("narrow")
    l1s = jnp.array([0.5, 0.2])

    def of_path(y):
        return lasso.path(x, y, l1s=l1s, tol=1e-11).fits.params.w[1]

    def of_fit(y):
        return lasso.fit(x, y, l1=0.2, tol=1e-11).params.w

    both = jax.jit(lambda y: (jax.jacfwd(of_path)(y), jax.jacfwd(of_fit)(y)))
    np.testing.assert_allclose(*both(jnp.asarray(y)), atol=1e-8)


def test_nan_where_it_has_not_converged():
    """Nothing is exact to a tol of 0."""
    x, y = (a.astype(np.float32) for a in problem("narrow"))

    def run(l1):
        return lasso.fit(x, y, l1=l1, tol=0.0)

    assert run(0.01).status == Status.STALLED
    assert np.isnan(jax.jit(jax.grad(lambda l1: run(l1).params.w.sum()))(0.01))


# --- the search ---------------------------------------------------------------------


@pytest.mark.parametrize("size", LATER)
def test_folds_and_penalties_at_once(size, x64):
    """vmap over weights and l1 gives what one fit after the other does."""
    x, y = problem(size)
    folds = (np.arange(len(y))[None] % 3 != np.arange(3)[:, None]).astype(float)
    l1s = jnp.array([0.05, 0.4])

    def run(weights, l1):
        return lasso.fit(x, y, l1=l1, weights=weights, tol=1e-9)

    inner = jax.vmap(run, (None, 0))
    many = jax.jit(jax.vmap(inner, (0, None)))(folds, l1s)
    assert many.params.w.shape == (3, 2, x.shape[1])
    for i, j in ((0, 1), (2, 0)):
        one = run(folds[i], l1s[j])
        np.testing.assert_allclose(many.params.w[i, j], one.params.w, atol=1e-7)
    assert (many.status == Status.CONVERGED).all()


@pytest.mark.parametrize("size", LATER)
def test_the_search_of_accelerators_finds_the_same(size, monkeypatch, x64):
    x, y = problem(size)
    monkeypatch.setattr(
        jax.lax, "platform_dependent", lambda *a, cpu, default: default(*a)
    )
    for positive in (False, True):
        fit = jax.jit(
            lambda x, y, positive=positive: lasso.fit(
                x, y, l1=0.2, positive=positive, tol=1e-9, max_iter=49_999
            )
        )(x, y)
        theirs = oracle(x, y, 0.2, positive=positive)
        close(fit, theirs.coef_, theirs.intercept_, atol=1e-6)


def test_statuses():
    x, y = problem("narrow")
    none = lasso.fit(x, y, l1=1e3)
    assert (none.status, none.steps) == (Status.CONVERGED, 0)
    assert (none.params.w == 0).all()
    np.testing.assert_allclose(none.params.b, y.mean(), rtol=1e-6)
    constant = lasso.fit(x, np.ones(len(y)), l1=0.1)
    assert constant.status == Status.CONVERGED
    flat = lasso.fit(np.ones_like(x), y, l1=0.1)
    assert (flat.status, flat.steps) == (Status.CONVERGED, 0)
    bad = jax.jit(lambda f: lasso.fit(x, y, l1=0.1, penalty_factors=f).status)
    assert bad(-jnp.ones(12)) == Status.INVALID
    stuck = lasso.fit(x, y, l1=0.1, tol=0.0)
    assert stuck.status == Status.STALLED
    with pytest.raises(ValueError, match="^positive cannot be asked for together"):
        lasso.fit(x, y, l1=0.1, positive=True, groups=GROUPS)
    with pytest.raises(ValueError, match=r"^penalty_factors must lie in \[0, inf\)"):
        lasso.fit(x, y, l1=0.1, penalty_factors=-np.ones(12))


def test_one_trace_for_all_values():
    x, y = problem("narrow")
    lasso.fit(x, y, l1=0.1)
    before = lasso.fit.traces
    rng = np.random.default_rng(0)
    for _ in range(20):
        l1, l2, tol = rng.uniform(0.01, 0.3, 3)
        lasso.fit(x + l1, y * l2, l1=l1, l2=l2, tol=1e-3 * tol)
    assert lasso.fit.traces == before

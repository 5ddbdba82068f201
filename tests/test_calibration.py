"""Calibration against scikit-learn, SciPy, a population integral and plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize as scipy_optimize
from scipy.special import expit, log_softmax, softmax
from sklearn.calibration import _SigmoidCalibration, calibration_curve
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss

import jaxml
from jaxml import Status
from jaxml.evaluate import calibration, metrics
from tests.common.samples import Made
from tests.depth import cases


def _logits(seed):
    return np.random.default_rng(seed).normal(size=(12, 3))


SAMPLES = {
    "y": Made(lambda seed: np.random.default_rng(seed).permutation(np.arange(12) % 3)),
    "probabilities": Made(lambda seed: softmax(_logits(seed), axis=1)),
    "bins": 4,
    "logits": Made(_logits),
    "platt.y": np.array([0, 1, 1, 0] * 3),
    "isotonic.y": np.array([0, 1, 1, 0] * 3),
    "temperature.y": np.array([0, 1, 2, 0] * 3),
    "params": calibration.Temperature(np.array(1.5)),
}
ROUGH = {
    "reliability": "a row may be at the edge of a bin, and the largest changes",
    "ece": "the same",
    "mce": "the same",
}
# y follows the first logits of these samples, so that T is neither 0 nor negative.
SAMPLES["temperature.logits"] = Made(
    lambda seed: _logits(seed) + 1.2 * np.eye(3)[SAMPLES["temperature.y"]]
)
SAMPLES["vector.y"] = SAMPLES["temperature.y"]
SAMPLES["vector.logits"] = Made(_logits)

M = 300
RANDOM = np.random.default_rng(0)
Z = RANDOM.normal(size=M) * 2
Y = (RANDOM.random(M) < expit(Z)).astype(int)
ZK = RANDOM.normal(size=(M, 4)) * 1.5
YK = np.array([RANDOM.choice(4, p=p) for p in softmax(ZK, axis=1)])
COUNTS = RANDOM.integers(0, 4, M)
REAL = RANDOM.random(M)


# --- a population ---------------------------------------------------------------------


def population(a):
    """z ~ N(0, 2²) at the nodes of a quadrature, each with both labels: z, y, w."""
    nodes, shares = np.polynomial.legendre.leggauss(200)
    z = np.append(-8.5 * (1 + nodes), 8.5 * (1 + nodes))
    density = np.tile(shares, 2) * np.exp(-(z**2) / 8)
    weights = np.concatenate([density * expit(z), density * expit(-z)])
    return np.tile(a * z, 2), np.repeat([1, 0], len(z)), weights


@pytest.mark.parametrize(
    ("a", "ece", "nll", "brier"),
    cases(
        [
            (1.0, 0.0, 0.4620088784, 0.1514263774),
            (2.0, 0.0932301753, 0.5383957276, 0.1622503595),
        ],
        quick=[(2.0, 0.0932301753, 0.5383957276, 0.1622503595)],
    ),
)
def test_a_population_that_is_too_sure_of_itself(x64, a, ece, nll, brier):
    z, y, weights = population(a)
    p = expit(z)
    # In no bin do confidence and truth differ in sign, so bins do not matter.
    for binning in ("width", "mass"):
        error = calibration.ece(y, p, bins=20, binning=binning, weights=weights)
        np.testing.assert_allclose(
            error, ece, atol=1e-9 if binning == "width" else 1e-4
        )
    np.testing.assert_allclose(metrics.log_loss(y, p, weights=weights), nll, atol=1e-10)
    np.testing.assert_allclose(
        calibration.brier(y, p, weights=weights), brier, atol=1e-10
    )
    fit = jaxml.check(calibration.temperature(z, y, weights=weights, tol=1e-12))
    np.testing.assert_allclose(fit.params.temperature, a, rtol=1e-12)
    np.testing.assert_allclose(fit.cost, 0.4620088784, atol=1e-10)
    mended = calibration.probability(fit.params, z)
    assert calibration.ece(y, mended, bins=20, weights=weights) < 1e-12


# --- measures -------------------------------------------------------------------------


def by_a_loop(confidence, hit, w, edges):
    """(W_b, Σ w hit, Σ w confidence) of each bin."""
    table = np.zeros((len(edges) - 1, 3))
    for c, h, each in zip(confidence, hit, w):
        b = 0
        while b + 2 < len(edges) and c > edges[b + 1]:
            b += 1
        table[b] += each, each * h, each * c
    return table


@pytest.mark.parametrize("binning", ["width", "mass"])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize(
    "weights", [None, REAL, COUNTS], ids=["none", "real", "counts"]
)
def test_bins_against_a_loop(x64, binning, classes, weights):
    w = np.ones(M) if weights is None else weights
    if classes == 2:
        y, p = Y, expit(1.7 * Z)
        confidence, hit = p, Y
    else:
        y, p = YK, softmax(1.7 * ZK, axis=1)
        confidence, hit = p.max(axis=1), p.argmax(axis=1) == YK
    edges = np.linspace(0, 1, 11)
    if binning == "mass":
        order = np.argsort(confidence)
        share = np.cumsum(w[order]) / np.sum(w)
        edges[1:-1] = [
            confidence[order][np.flatnonzero(share >= j / 10 - 1e-12)[0]]
            for j in range(1, 10)
        ]
    count, hits, sums = by_a_loop(confidence, hit, w, edges).T
    more = {"bins": 10, "binning": binning, "weights": weights}
    result = calibration.reliability(y, p, **more)
    np.testing.assert_allclose(result.edges, edges, rtol=1e-12)
    np.testing.assert_allclose(result.weight, count, rtol=1e-10)
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(result.accuracy, hits / count, rtol=1e-10)
        np.testing.assert_allclose(result.confidence, sums / count, rtol=1e-10)
    full = count > 0
    gaps = np.abs(hits - sums)[full]
    np.testing.assert_allclose(
        calibration.ece(y, p, **more), gaps.sum() / w.sum(), rtol=1e-10
    )
    np.testing.assert_allclose(
        calibration.mce(y, p, **more), (gaps / count[full]).max(), rtol=1e-10
    )
    if binning == "mass" and weights is None:
        assert (count == 30).all()


@pytest.mark.long
@pytest.mark.parametrize("binning", ["width", "mass"])
def test_measures_of_repeated_rows(binning):
    rows = np.repeat(np.arange(M), COUNTS)
    p = expit(Z).round(1)  # many rows of one confidence
    more = {"bins": 5, "binning": binning}
    for of in (calibration.ece, calibration.mce):
        weighted = of(Y, p, weights=COUNTS, **more)
        np.testing.assert_allclose(weighted, of(Y[rows], p[rows], **more), rtol=1e-5)
    weighted = calibration.reliability(Y, p, weights=COUNTS, **more)
    for a, b in zip(weighted, calibration.reliability(Y[rows], p[rows], **more)):
        np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize(("binning", "strategy"), [("width", "uniform")])
def test_reliability_is_sklearns_curve(binning, strategy):
    p = expit(Z).astype(np.float32)
    result = calibration.reliability(Y, p, bins=8, binning=binning)
    full = result.weight > 0
    accuracy, confidence = calibration_curve(Y, p, n_bins=8, strategy=strategy)
    np.testing.assert_allclose(result.accuracy[full], accuracy, rtol=1e-5)
    np.testing.assert_allclose(result.confidence[full], confidence, rtol=1e-5)


def test_edges_belong_to_the_bin_below():
    p = np.array([0.0, 0.25, 0.2501, 0.5, 1.0])
    result = calibration.reliability(np.array([0, 1, 0, 1, 1]), p, bins=4)
    np.testing.assert_array_equal(result.weight, [2, 2, 0, 1])
    np.testing.assert_array_equal(result.accuracy, [0.5, 0.5, np.nan, 1])
    np.testing.assert_array_equal(result.edges, [0, 0.25, 0.5, 0.75, 1])


@pytest.mark.parametrize("weights", [None, REAL], ids=["none", "real"])
def test_brier_is_sklearns(weights):
    p, q = expit(Z).astype(np.float32), softmax(ZK, axis=1).astype(np.float32)
    ours = calibration.brier(Y, p, weights=weights)
    np.testing.assert_allclose(
        ours, brier_score_loss(Y, p, sample_weight=weights), rtol=1e-5
    )
    both = calibration.brier(Y, np.stack([1 - p, p], axis=1), weights=weights)
    np.testing.assert_allclose(both, 2 * ours, rtol=1e-5)
    theirs = brier_score_loss(YK, q, sample_weight=weights, scale_by_half=False)
    np.testing.assert_allclose(
        calibration.brier(YK, q, weights=weights), theirs, rtol=1e-5
    )


def test_measures_have_derivatives(x64):
    """Within their bins: of the Brier score everywhere."""
    p = expit(2 * Z)
    slope = jax.grad(lambda p: calibration.brier(Y, p))(p)
    np.testing.assert_allclose(slope, 2 * (p - Y) / M, atol=1e-15)
    slope = jax.grad(lambda p: calibration.ece(Y, p, bins=2))(p)
    gap = [np.sum((Y - p)[half]) for half in (p <= 0.5, p > 0.5)]
    np.testing.assert_allclose(
        slope, -np.sign(np.where(p <= 0.5, *gap)) / M, atol=1e-15
    )


def test_traced_faults_are_nan():
    p, q = jnp.asarray(expit(Z)), jnp.asarray(softmax(ZK, axis=1))
    for of in (calibration.ece, calibration.mce, calibration.brier):
        run = jax.jit(of)
        for y, good in ((Y, p), (YK, q)):
            first = (0,) * good.ndim
            assert np.isfinite(run(y, good))
            assert np.isnan(run(y, good.at[first].set(1.5)))
            assert np.isnan(run(np.where(np.arange(M) == 3, 7, y), good))
            assert np.isnan(run(y, good, weights=jnp.ones(M).at[2].set(-1)))


# --- temperature ----------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, REAL], ids=["none", "real"])
@pytest.mark.parametrize("classes", [2, 4])
def test_temperature_is_the_best(x64, classes, weights):
    z, y = (3 * Z, Y) if classes == 2 else (0.4 * ZK, YK)

    def loss(t):
        logs = log_softmax(
            np.stack([0 * z, z], axis=1) / t if classes == 2 else z / t, axis=1
        )
        return -np.average(logs[np.arange(M), y], weights=weights)

    found = scipy_optimize.minimize_scalar(
        loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-10}
    )
    fit = jaxml.check(calibration.temperature(z, y, weights=weights, tol=1e-11))
    np.testing.assert_allclose(fit.params.temperature, found.x, rtol=1e-6)
    np.testing.assert_allclose(fit.cost, found.fun, rtol=1e-12)
    p = calibration.probability(fit.params, z)
    np.testing.assert_allclose(
        metrics.log_loss(y, p, weights=weights), fit.cost, rtol=1e-12
    )
    # Its condition: the mean logit of the truth is the mean logit foretold.
    if classes == 4:
        foretold = np.average(np.sum(p * z, axis=1), weights=weights)
        np.testing.assert_allclose(
            foretold, np.average(z[np.arange(M), y], weights=weights), atol=1e-11
        )


@pytest.mark.long
def test_temperature_of_any_logits():
    """Of any scale, and with a constant added to each row."""
    for scale in (1e-6, 1.0, 1e6):
        fit = jaxml.check(calibration.temperature(scale * ZK, YK))
        base = calibration.temperature(ZK, YK).params.temperature
        np.testing.assert_allclose(fit.params.temperature, scale * base, rtol=1e-4)
    moved = calibration.temperature(ZK + Z[:, None], YK)
    np.testing.assert_allclose(moved.params.temperature, base, rtol=1e-4)
    one = calibration.temperature(2 * Z, Y).params.temperature
    two = calibration.temperature(np.stack([-Z, Z], axis=1), Y).params.temperature
    np.testing.assert_allclose(one, two, rtol=1e-4)
    soft = calibration.temperature(ZK, np.eye(4, dtype=np.float32)[YK])
    np.testing.assert_allclose(soft.params.temperature, base, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_temperature(dtype):
    with jax.enable_x64(dtype == "float64"):
        z = Z.astype(dtype)
        right = calibration.temperature(z, (z > 0).astype(int))
        assert right.status == Status.UNBOUNDED
        wrong = calibration.temperature(z, (z < 0).astype(int))
        assert wrong.status == Status.UNBOUNDED
        assert calibration.temperature(-z, Y).status == Status.UNBOUNDED
        assert calibration.temperature(0 * z, Y).status == Status.SINGULAR
        many = calibration.temperature(ZK.astype(dtype), ZK.argmax(axis=1))
        assert many.status == Status.UNBOUNDED


def test_labels_without_a_class_are_told():
    y = np.where(np.arange(M) == 5, 4, YK)
    for of in (calibration.temperature, calibration.vector):
        assert of(ZK, y).status >= Status.INVALID
    assert calibration.temperature(Z, YK).status >= Status.INVALID


# --- Platt ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "weights", [None, REAL, COUNTS], ids=["none", "real", "counts"]
)
@pytest.mark.parametrize(("scale", "shift"), [(1, 0), (100, -3e3), (1e-4, 1e-3)])
def test_platt_is_sklearns(x64, weights, scale, shift):
    s = scale * Z + shift
    fit = jaxml.check(calibration.platt(s, Y, weights=weights, tol=1e-11))
    w = np.ones(M) if weights is None else weights
    plus, minus = np.sum(w * Y), np.sum(w * (1 - Y))
    targets = np.where(Y == 1, (plus + 1) / (plus + 2), 1 / (minus + 2))

    def slope(a, b):
        r = w * (expit(a * s + b) - targets)
        return np.array([np.sum(r * (s - shift) / scale), np.sum(r)]) / w.sum()

    np.testing.assert_allclose(slope(*fit.params), 0, atol=1e-10)
    p = calibration.probability(fit.params, s)
    if scale == 1:
        theirs = _SigmoidCalibration().fit(s, Y, sample_weight=1.0 * w)
        np.testing.assert_allclose(p, theirs.predict(s), atol=1e-4)
    np.testing.assert_allclose(
        fit.cost,
        -np.average(targets * np.log(p) + (1 - targets) * np.log1p(-p), weights=w),
    )


def test_platt_of_separable_scores():
    fit = jaxml.check(calibration.platt(Z, (Z > 0).astype(int)))
    assert fit.params.a > 0
    assert calibration.platt(0 * Z + 5, Y).status == Status.SINGULAR


# --- vector ---------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, REAL], ids=["none", "real"])
def test_vector_is_the_best(x64, weights):
    distorted = (ZK - np.array([1, 0, 0, 2.0])) * np.array([0.5, 1, 2, 3])
    fit = jaxml.check(calibration.vector(distorted, YK, weights=weights, tol=1e-11))

    def loss(theta):
        logs = log_softmax(distorted * theta[:4] + theta[4:], axis=1)
        return -np.average(logs[np.arange(M), YK], weights=weights)

    found = scipy_optimize.minimize(loss, np.ones(8), method="BFGS", tol=1e-9)
    np.testing.assert_allclose(fit.cost, found.fun, rtol=1e-9)
    np.testing.assert_allclose(fit.params.w, found.x[:4], atol=1e-4)
    b = found.x[4:] - found.x[4:].mean()
    np.testing.assert_allclose(fit.params.b, b, atol=1e-4)
    np.testing.assert_allclose(np.sum(fit.params.b), 0, atol=1e-12)
    p = calibration.probability(fit.params, distorted)
    np.testing.assert_allclose(
        metrics.log_loss(YK, p, weights=weights), fit.cost, rtol=1e-12
    )
    # Each class is foretold as often as it occurs.
    shares = [np.average(c == YK, weights=weights) for c in range(4)]
    np.testing.assert_allclose(
        np.average(p, axis=0, weights=weights), shares, atol=1e-10
    )


def test_vector_of_a_class_without_rows():
    fit = calibration.vector(ZK, np.where(YK == 3, 0, YK))
    assert fit.status == Status.UNBOUNDED


# --- isotonic -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "weights", [None, REAL, COUNTS], ids=["none", "real", "counts"]
)
@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("kind", ["labels", "soft", "falling"])
def test_isotonic_is_sklearns(x64, weights, ties, kind):
    s = Z.round(1) if ties else Z
    y = {"labels": Y, "soft": expit(Z + REAL), "falling": expit(-Z)}[kind]
    fit = jaxml.check(calibration.isotonic(s, y, weights=weights))
    theirs = IsotonicRegression(out_of_bounds="clip").fit(s, y, sample_weight=weights)
    at = np.concatenate([s, np.linspace(-9, 9, 500)])
    np.testing.assert_allclose(
        calibration.probability(fit.params, at), theirs.predict(at), atol=1e-12
    )
    cost = np.average((y - theirs.predict(s)) ** 2, weights=weights)
    np.testing.assert_allclose(fit.cost, cost, rtol=1e-10)
    assert fit.steps == 0
    assert (np.diff(fit.params.probability) >= 0).all()


@pytest.mark.parametrize(
    "y",
    [
        np.append(np.linspace(0, 1, 99), 0),  # the last pools one after the other
        np.insert(np.linspace(0, 1, 99), 0, 1),
        np.tile([0, 1], 50),
        np.zeros(100),
        np.linspace(1, 0, 100),
    ],
    ids=["late", "early", "saw", "flat", "fall"],
)
def test_isotonic_in_hard_cases(x64, y):
    fit = calibration.isotonic(np.arange(100.0), y)
    theirs = IsotonicRegression().fit_transform(np.arange(100.0), y)
    np.testing.assert_allclose(fit.params.probability, theirs, atol=1e-12)


def test_isotonic_of_few_rows():
    fit = calibration.isotonic([2.0], [1])
    np.testing.assert_array_equal(calibration.probability(fit.params, [0.0, 2, 9]), 1)
    fit = calibration.isotonic([2.0, 1.0, 3.0], [1, 1, 0], weights=[0, 0, 1])
    np.testing.assert_array_equal(calibration.probability(fit.params, [0.0, 2, 9]), 0)


def test_isotonic_without_rows_of_weight_0():
    fit = calibration.isotonic([0.0, 0, 1], [0, 0, 1], weights=[1, 0, 1])
    np.testing.assert_array_equal(fit.params.probability, [0, 0, 1])
    rng = np.random.default_rng(3)
    folds = rng.random((100, 30)) < rng.random((100, 1))
    folds[:, 0] = True
    s, y = Z[:30].round(1), Y[:30]
    fits = jax.vmap(lambda w: calibration.isotonic(s, y, weights=w))(
        jnp.asarray(folds, jnp.float32)
    )
    found = jax.vmap(lambda params: calibration.probability(params, s))(fits.params)
    for i, there in enumerate(folds):
        theirs = IsotonicRegression(out_of_bounds="clip").fit(s[there], y[there])
        np.testing.assert_allclose(found[i], theirs.predict(s), atol=2e-6)


@pytest.mark.parametrize("least", [1e-30, 1.0, 1e30])
def test_isotonic_with_weights_of_any_size(least):
    """All of one size, and of very different ones; so that no product is formed."""
    s, y = Z[:30], Y[:30]
    for weights in (np.full(30, least), np.where(np.arange(30) % 2, least, 1.0)):
        fit = jaxml.check(calibration.isotonic(s, y, weights=weights))
        theirs = IsotonicRegression().fit(s, y, sample_weight=weights)
        wanted = theirs.predict(s)
        np.testing.assert_allclose(fit.params.probability, np.sort(wanted), atol=2e-6)


@pytest.mark.parametrize("size", [2.0**-66, 2.0**66])
def test_isotonic_between_scores_of_any_size(size):
    s = Z[:30].astype(np.float32)
    at = np.linspace(-5, 5, 30).astype(np.float32)
    fit = calibration.isotonic(np.float32(size) * s, Y[:30])
    theirs = IsotonicRegression(out_of_bounds="clip").fit(s, Y[:30])
    found = calibration.probability(fit.params, np.float32(size) * at)
    np.testing.assert_allclose(found, theirs.predict(at), atol=2e-6)


def test_infinite_scores_are_told_under_jit():
    scores = jnp.asarray(Z[:30]).at[3].set(jnp.inf)
    fit = jax.jit(calibration.isotonic)(scores, Y[:30])
    assert fit.status == Status.NONFINITE
    good = calibration.isotonic(Z[:30], Y[:30]).params
    assert np.isnan(jax.jit(calibration.probability)(good, scores * jnp.nan)).all()


# --- what all fits share --------------------------------------------------------------

FITS = {
    "temperature": (calibration.temperature, ZK, YK),
    "temperature of two": (calibration.temperature, Z, Y),
    "platt": (calibration.platt, Z, Y),
    "vector": (calibration.vector, ZK, YK),
    "isotonic": (calibration.isotonic, Z, Y),
}


@pytest.mark.parametrize("name", FITS)
def test_integer_weights_are_repeated_rows(x64, name):
    of, scores, y = FITS[name]
    rows = np.repeat(np.arange(M), COUNTS)
    tol = {} if name == "isotonic" else {"tol": 1e-11}
    weighted = of(scores, y, weights=COUNTS, **tol)
    repeated = of(scores[rows], y[rows], **tol)
    np.testing.assert_allclose(weighted.cost, repeated.cost, rtol=1e-12)
    a, b = (calibration.probability(fit.params, scores) for fit in (weighted, repeated))
    np.testing.assert_allclose(a, b, atol=1e-10)


@pytest.mark.parametrize("name", FITS)
def test_any_unit_and_rows_that_are_not_there(name):
    """Scores, and weights that are shares, in any unit; rows of weight 0 are wild."""
    of, scores, y = FITS[name]
    scores, gone = scores.astype(np.float32), np.arange(M) % 4 == 1
    sizes = [2.0**-66, 1.0, 2.0**66]

    @jax.jit
    @jax.vmap
    def run(size, weights):
        fit = of(size * scores, y, weights=weights)
        return fit, calibration.probability(fit.params, size * scores)

    weights = np.where(gone, 0.0, REAL)
    counted = name == "platt"  # as many rows as the weights say
    many = jnp.stack([weights * (1.0 if counted else size) for size in sizes])
    fits, found = run(jnp.asarray(sizes, jnp.float32), many.astype(jnp.float32))
    np.testing.assert_array_equal(fits.status, Status.CONVERGED)
    for i in (0, 2):
        np.testing.assert_allclose(found[i], found[1], atol=2e-6)
    wild = np.where(gone.reshape(-1, *[1] * (scores.ndim - 1)), 1e30, scores)
    fit = of(wild, y, weights=weights)
    p = calibration.probability(fit.params, scores)
    # The optimum in float64, of the rows that are there.
    with jax.enable_x64(True):
        tol = {} if name == "isotonic" else {"tol": 1e-10}
        exact = of(scores[~gone].astype(float), y[~gone], weights=REAL[~gone], **tol)
        wanted = calibration.probability(exact.params, scores.astype(float))
    for each in (found[1], p):
        np.testing.assert_allclose(each, wanted, atol=2e-5)


@pytest.mark.parametrize("name", ["temperature", "platt", "vector"])
def test_an_origin_far_away(name):
    """2,000 standard deviations away, where the data are still exact."""
    of, scores, y = FITS[name]
    near = (np.round(scores * 256) / 256).astype(np.float32)
    far = near + np.float32(4096)
    if name == "temperature":  # what the logits of a row have in common says nothing
        far = near + np.float32(4096) * (np.arange(M) % 3 - 1)[:, None]
    fit, other = (jaxml.check(of(each, y)) for each in (near, far.astype("f")))
    np.testing.assert_allclose(other.cost, fit.cost, rtol=1e-6)
    np.testing.assert_allclose(other.params[0], fit.params[0], rtol=2e-4)


@pytest.mark.parametrize("size", [2.0**-100, 2.0**120])
def test_measures_with_weights_of_any_unit(size):
    p, w = expit(Z).astype(np.float32), REAL.astype(np.float32)
    scaled = np.float32(size) * w
    for of in (calibration.ece, calibration.mce, calibration.brier):
        found, wanted = (of(Y, p, weights=each) for each in (scaled, w))
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
    found, wanted = (
        calibration.reliability(Y, p, binning="mass", weights=each)
        for each in (scaled, w)
    )
    for a, b in ((found.accuracy, wanted.accuracy), (found.edges, wanted.edges)):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_a_calibrated_bin_has_no_slope():
    slope = jax.grad(lambda p: calibration.ece(np.array([0, 1]), p, bins=1))(
        jnp.array([0.25, 0.75])
    )
    np.testing.assert_array_equal(slope, 0)


@pytest.mark.parametrize("name", cases(FITS, quick=["platt"]))
def test_folds_in_one_trace(name):
    of, scores, y = FITS[name]
    folds = jnp.asarray((np.arange(M)[None] % 3 != np.arange(3)[:, None]).astype("f"))
    of(scores, y, weights=folds[0])
    before = of.traces
    many = jax.vmap(lambda w: of(scores, y, weights=w))(folds)
    assert of.traces == before
    for i in range(3):
        one = of(scores, y, weights=folds[i])
        assert many.status[i] == one.status == Status.CONVERGED
        np.testing.assert_allclose(many.cost[i], one.cost, rtol=1e-5)
    assert of.traces == before


@pytest.mark.parametrize("name", ["temperature", "platt", "vector"])
def test_derivatives_of_a_calibration(x64, name):
    """Of the calibrated probabilities in the scores they were fitted to."""
    of, scores, y = FITS[name]
    direction = np.random.default_rng(5).normal(size=scores.shape)

    def run(step):
        moved = scores + step * direction
        fit = of(moved, y, weights=REAL, tol=1e-12)
        return calibration.probability(fit.params, moved)

    slope = jax.jvp(run, (0.0,), (1.0,))[1]
    numeric = (run(1e-5) - run(-1e-5)) / 2e-5
    np.testing.assert_allclose(slope, numeric, atol=1e-8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: calibration.ece(Y, expit(ZK)[:, :1]), "^y holds the label 1"),
        (lambda: calibration.ece(Y, expit(Z), bins=0), "^bins must be at least 1"),
        (lambda: calibration.ece(Y, expit(Z), binning="x"), "^binning must be one of"),
        (lambda: calibration.brier(Y, expit(Z)[1:]), r"^probabilities has shape"),
        (
            lambda: calibration.temperature(Z, softmax(ZK, axis=1)),
            r"^y has shape \(300, 4\)",
        ),
        (lambda: calibration.platt(Z, YK), "^y holds the label"),
        (lambda: calibration.isotonic(Z, Y - 0.5), r"^y must lie in \[0, 1\]"),
        (lambda: calibration.vector(Z, Y), "^logits has shape"),
        (
            lambda: calibration.probability(calibration.Platt(1.0, 0.0), ZK),
            "^scores has shape",
        ),
        (
            lambda: calibration.probability(
                calibration.Vector(jnp.ones(3), jnp.ones(3)), ZK
            ),
            "^(params.w|scores) has shape",
        ),
        (
            lambda: calibration.probability((1.0,), Z),
            "^params must be a .*Temperature.* or a .*Platt",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()

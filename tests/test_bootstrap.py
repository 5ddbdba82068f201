"""The bootstrap against SciPy's formulas, closed forms and enumeration."""

import itertools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxml.evaluate import bootstrap

M, B = 30, 4000
RANDOM = np.random.default_rng(0)
X = RANDOM.gamma(2, 1, M)
Y = 0.5 * X + RANDOM.normal(size=M)
KEY = jax.random.key(0)


def mean(x, *, weights):
    return jnp.sum(weights * x) / jnp.sum(weights)


def deviation(x, *, weights):
    return jnp.sqrt(mean((x - mean(x, weights=weights)) ** 2, weights=weights))


def both(x, *, weights):
    first = mean(x, weights=weights)
    return {"mean": first, "pair": jnp.stack([first, deviation(x, weights=weights)])}


def slope(x, y, *, weights):
    z = x - mean(x, weights=weights)
    return mean(z * y, weights=weights) / mean(z**2, weights=weights)


SAMPLES = {
    "statistic": deviation,
    "data": (RANDOM.gamma(2, 1, 12),),
    "samples": 40,
    "estimate": np.array([0.1, -0.2]),
    "draws": RANDOM.normal(size=(40, 2)),
    "values": RANDOM.normal(size=(12, 2)),
}


@pytest.mark.parametrize("method", ["percentile", "basic", "bca"])
def test_intervals_are_those_of_scipy(x64, method):
    """Given the same draws; SciPy's statistic takes samples, not weights."""
    found = bootstrap.bootstrap(
        KEY, deviation, X, samples=B, interval=method, confidence=0.9
    )
    theirs = stats.bootstrap(
        (X,),
        np.std,
        n_resamples=0,
        confidence_level=0.9,
        method=method,
        bootstrap_result=SimpleNamespace(bootstrap_distribution=np.array(found.draws)),
    )
    np.testing.assert_allclose(found.estimate, np.std(X), rtol=1e-12)
    wanted = theirs.confidence_interval
    np.testing.assert_allclose(found.low, wanted.low, rtol=1e-9)
    np.testing.assert_allclose(found.high, wanted.high, rtol=1e-9)
    np.testing.assert_allclose(found.standard_error, theirs.standard_error, rtol=1e-9)


def test_draws_are_multinomial(x64):
    """Of three rows there are 27 samples; their sum has 10 values."""
    x = np.array([1.0, 2.0, 4.0])
    found = bootstrap.bootstrap(KEY, mean, x, samples=27_000, interval="percentile")
    sums = [sum(each) for each in itertools.product(x, repeat=3)]
    values, counts = np.unique(sums, return_counts=True)
    drawn = np.rint(3 * np.asarray(found.draws))
    seen = np.array([np.sum(drawn == value) for value in values])
    assert seen.sum() == 27_000
    assert stats.chisquare(seen, 1000 * counts).pvalue > 1e-3


def test_error_of_the_mean(x64):
    found = bootstrap.bootstrap(KEY, mean, X, samples=B)
    wanted = np.std(X) / np.sqrt(M)
    np.testing.assert_allclose(found.standard_error, wanted, rtol=4 / np.sqrt(2 * B))
    assert abs(np.mean(found.draws) - X.mean()) < 4 * wanted / np.sqrt(B)


def test_bayesian_error_of_the_mean(x64):
    """Dirichlet weights have variance (m - 1) / (m² (m + 1)): √(m/(m+1)) as much."""
    found = bootstrap.bootstrap(KEY, mean, X, samples=B, bayesian=True)
    wanted = np.std(X) / np.sqrt(M + 1)
    np.testing.assert_allclose(found.standard_error, wanted, rtol=4 / np.sqrt(2 * B))
    assert len(np.unique(found.draws)) == B


def test_rows_of_weight_0_are_never_drawn(x64):
    weights = np.ones(M)
    weights[10:] = 0
    spoiled = np.where(weights == 0, 1e6, X)
    for bayesian in (False, True):
        found = bootstrap.bootstrap(
            KEY, mean, spoiled, samples=B, weights=weights, bayesian=bayesian
        )
        short = np.std(X[:10]) / np.sqrt(11 if bayesian else 10)
        np.testing.assert_allclose(found.standard_error, short, rtol=5 / np.sqrt(2 * B))
        assert found.high < 10
    few = bootstrap.jackknife(deviation, X[:10])
    many = bootstrap.jackknife(deviation, spoiled, weights=weights)
    np.testing.assert_allclose(many.values[:10], few.values, rtol=1e-9)
    assert np.isnan(many.values[10:]).all()
    np.testing.assert_allclose(many.standard_error, few.standard_error, rtol=1e-9)
    np.testing.assert_allclose(many.bias, few.bias, rtol=1e-9)


def test_jackknife_in_closed_form(x64):
    """Of the mean its error is s/√m, no bias; of Σ(x - x̄)²/m it is -s²/m."""
    found = bootstrap.jackknife(mean, X)
    np.testing.assert_allclose(found.standard_error, stats.sem(X), rtol=1e-12)
    np.testing.assert_allclose(found.bias, 0, atol=1e-13)
    wanted = (X.sum() - X) / (M - 1)
    np.testing.assert_allclose(found.values, wanted, rtol=1e-12)
    found = bootstrap.jackknife(_variance, X, chunk=7)
    np.testing.assert_allclose(found.bias, -np.var(X, ddof=1) / M, rtol=1e-9)


def _variance(x, *, weights):
    return deviation(x, weights=weights) ** 2


@pytest.mark.long
def test_pairs_and_pytrees(x64):
    """A statistic of rows (x, y), and one of several parts, each as it is alone."""
    pairs = bootstrap.bootstrap(KEY, slope, X, Y, samples=B)
    np.testing.assert_allclose(pairs.estimate, np.polyfit(X, Y, 1)[0], rtol=1e-9)
    rows = np.random.default_rng(3).integers(0, M, (B, M))
    x, y = X[rows], Y[rows]
    z = x - x.mean(axis=1, keepdims=True)
    by_hand = np.sum(z * y, axis=1) / np.sum(z**2, axis=1)
    np.testing.assert_allclose(pairs.standard_error, by_hand.std(), rtol=0.06)
    wanted = np.quantile(by_hand, [0.1, 0.5, 0.9])
    error = by_hand.std() / np.sqrt(B)
    found = np.quantile(np.asarray(pairs.draws), [0.1, 0.5, 0.9])
    np.testing.assert_allclose(found, wanted, atol=8 * error)
    for method in ("percentile", "basic", "bca"):
        parts = bootstrap.bootstrap(KEY, both, X, samples=B, interval=method)
        alone = bootstrap.bootstrap(KEY, deviation, X, samples=B, interval=method)
        for name in ("estimate", "standard_error", "low", "high"):
            part, one = getattr(parts, name), getattr(alone, name)
            np.testing.assert_allclose(part["pair"][1], one, rtol=1e-9)
            np.testing.assert_allclose(part["pair"][0], part["mean"], rtol=1e-12)


@pytest.mark.long
def test_chunks_change_nothing(x64):
    whole = bootstrap.bootstrap(KEY, deviation, X, samples=100)
    parts = bootstrap.bootstrap(KEY, deviation, X, samples=100, chunk=33)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_memory_is_bounded_by_itself():
    x = jnp.ones(100_000)
    run = jax.jit(
        lambda x: bootstrap.bootstrap(KEY, mean, x, samples=1000, interval="basic")
    )
    memory = run.lower(x).compile().memory_analysis().temp_size_in_bytes
    assert memory < 8 * 4 * bootstrap.NUMBERS  # all at once: 400 MB for each copy


@pytest.mark.long
@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_intervals_cover_the_mean(method):
    """Of 1,000 data sets of 40 normal rows, 90 % intervals cover some 89 %."""
    x = np.random.default_rng(1).normal(3, 2, (1000, 40)).astype(np.float32)

    @jax.jit
    def run(keys, x):
        def one(both):
            found = bootstrap.bootstrap(
                both[0], mean, both[1], samples=400, interval=method, confidence=0.9
            )
            return (found.low < 3) & (found.high > 3)

        return jax.lax.map(one, (keys, x), batch_size=50)

    covered = run(jax.random.split(KEY, 1000), x).mean()
    assert 0.86 < covered < 0.92


def test_bca_corrects_a_skew(x64):
    """Of a skewed statistic its interval lies to the right of the percentiles."""
    found = {
        method: bootstrap.bootstrap(KEY, _variance, X, samples=B, interval=method)
        for method in ("percentile", "bca")
    }
    assert found["bca"].low > found["percentile"].low
    assert found["bca"].high > found["percentile"].high


def test_failures_are_told():
    """One NaN among the draws, a statistic that no row moves."""
    draws = jnp.ones((50, 2)).at[3, 0].set(jnp.nan)
    ends = bootstrap.percentile(draws)
    np.testing.assert_array_equal(np.isnan(ends.low), [True, False])
    still = bootstrap.bootstrap(KEY, _constant, X, samples=50)
    assert np.isnan(still.low)
    assert np.isnan(still.high)


def _constant(x, *, weights):
    return jnp.float32(3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interval": "t"}, "interval must be one of 'bca', 'percentile', 'basic'"),
        ({"samples": 1}, "samples must be at least 2"),
        ({"samples": 10.0}, "samples must be a Python int"),
        ({"confidence": 1.0}, r"confidence must lie in \(0, 1\)"),
        ({"weights": -np.ones(M)}, "weights must lie in"),
        ({"weights": np.ones(3)}, "data and weights must have one length"),
        ({"chunk": 0}, "chunk must be at least 1"),
        ({"data": ()}, "data must hold an array"),
        ({"data": (X, Y[:-1])}, "data and weights must have one length"),
        ({"data": (X, 3.0)}, r"data must be arrays of rows \(m, …\)"),
        ({"data": (np.where(X > 2, np.nan, X),)}, r"data\[0\] holds"),
    ],
)
def test_bad_arguments(change, message):
    given = {"data": (X,), "samples": 10} | change
    data = given.pop("data")
    with pytest.raises(ValueError, match=f"^{message}"):
        bootstrap.bootstrap(KEY, mean, *data, **given)


@pytest.mark.parametrize("size", [2.0**-66, 2.0**60])
def test_statistics_of_any_unit(size):
    """Squares and cubes of their deviations would be 0, or infinite, in float32."""
    rng = np.random.default_rng(7)
    values = rng.gamma(2, size=40).astype(np.float32)
    draws = rng.gamma(2, size=200).astype(np.float32)
    size = np.float32(size)
    one = bootstrap.bca(jnp.float32(2), draws, values)
    other = bootstrap.bca(2 * size, size * draws, size * values)
    np.testing.assert_allclose(np.array(other) / size, one, rtol=1e-6)
    found = bootstrap.jackknife(mean, size * values).standard_error
    # Of a mean it is the usual one.
    wanted = np.std(values, ddof=1, dtype=float) / np.sqrt(40)
    np.testing.assert_allclose(found / size, wanted, rtol=1e-5)
    key, more = jax.random.key(0), {"samples": 50, "interval": "percentile"}
    found = bootstrap.bootstrap(key, mean, size * values, **more)
    wanted = np.std(np.asarray(found.draws, float), ddof=1)
    np.testing.assert_allclose(found.standard_error, wanted, rtol=1e-5)

"""Rate and distortion against closed forms of Gaussians and brute force."""

import numpy as np
from scipy.optimize import minimize

import jaxml
from jaxml.physics import information

SAMPLES = {
    "distortions": np.random.default_rng(0).uniform(0, 3, (12, 3)),
    "shares": np.array([0.2, 0.3, 0.5]),
    "variances": np.array([0.2, 1.0, 3.0]),
    "correlations": np.array([0.9, 0.3, 0.8]),
    "beta": 3.0,
}
ROUGH = {"blahut_arimoto": "shares have no derivatives; they are cut off"}


def test_a_gaussian_source(x64):
    """D = T/2 and R = ½ ln(2σ²/T), from codewords on a line."""
    x, weights = np.polynomial.hermite_e.hermegauss(100)
    y = np.linspace(-5, 5, 201)
    distortions = (x[:, None] - y) ** 2
    for t, told in [(1.0, (0.3465735903, 0.5)), (0.5, (0.6931471805, 0.25))]:
        fit = jaxml.check(
            information.blahut_arimoto(
                distortions, temperature=t, weights=weights, tol=2e-5
            )
        )
        found = information.rate_distortion(
            fit.params, distortions, temperature=t, weights=weights
        )
        np.testing.assert_allclose(found, told, atol=2e-4)
        exact = information.gaussian_rate(np.ones(1), temperature=t)
        np.testing.assert_allclose(exact, told, atol=1e-9)
        np.testing.assert_allclose(
            fit.cost, exact.distortion + t * exact.rate, atol=2e-5
        )


def test_the_least_free_energy_is_that_of_scipy(x64):
    rng = np.random.default_rng(1)
    distortions, weights = rng.uniform(0, 2, (6, 3)), rng.uniform(0.5, 2, 6)
    w, t = weights / weights.sum(), 0.3

    def free(z):
        q = np.exp(z) / np.exp(z).sum()
        return -t * w @ np.log(np.exp(-distortions / t) @ q)

    fit = information.blahut_arimoto(
        distortions, temperature=t, weights=weights, tol=1e-9
    )
    least = min(minimize(free, rng.normal(size=3), tol=1e-12).fun for _ in range(5))
    np.testing.assert_allclose(fit.cost, least, atol=1e-8)
    np.testing.assert_allclose(fit.params.sum(), 1, rtol=1e-12)


def test_components_below_the_water_are_not_told(x64):
    found = information.gaussian_rate(np.array([4.0, 0.1]), temperature=1.0)
    np.testing.assert_allclose(found, [0.5 * np.log(8), 0.6], rtol=1e-12)


def test_gaussian_bottleneck(x64):
    """The numbers of Chechik's formula; below 1/ρ² nothing is told."""
    found = information.gaussian_bottleneck(np.array([0.8]), beta=4.0)
    np.testing.assert_allclose(found, [0.8369882168, 0.3669845875], atol=1e-10)
    all_ = -0.5 * np.log(1 - 0.64)
    np.testing.assert_allclose(all_, 0.5108256238, atol=1e-10)
    assert found.of_y < all_
    for rho, critical in [(0.5, 4.0), (0.8, 1.5625)]:
        below, above = (
            information.gaussian_bottleneck(np.array([rho]), beta=critical + d)
            for d in (-1e-3, 1e-3)
        )
        assert below.of_x == 0
        assert above.of_x > 0
    up, down = (
        information.gaussian_bottleneck(np.array([0.8, 0.3]), beta=4 + d)
        for d in (1e-5, -1e-5)
    )
    slope = (up.of_y - down.of_y) / (up.of_x - down.of_x)
    np.testing.assert_allclose(slope, 1 / 4, rtol=1e-6)

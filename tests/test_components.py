"""Pictures of principal components: what is drawn is what was given."""

import numpy as np
import pytest

from jaxml.plot import _components as components

matplotlib = pytest.importorskip("matplotlib")
RNG = np.random.default_rng(0)


def test_scree():
    """Filled above the band, whose edge is σ²(1 + √γ)²; variances of 0 are left out."""
    s = np.array([0.5, 9, 1.2, 3.1, 0.0])
    ax = components.scree(s, rows=20, noise=0.8)
    edge = 0.8 * 1.5**2
    above, below = (c.get_offsets() for c in ax.collections)
    np.testing.assert_allclose(above, [[1, 9], [2, 3.1]])
    np.testing.assert_allclose(below, [[3, 1.2], [4, 0.5]])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), edge)
    assert ax.get_title() == "2 of 5 above the band of noise"
    assert ax.get_yscale() == "log"
    plain = components.scree(s)
    assert len(plain.collections[0].get_offsets()) == 4
    assert not plain.lines
    ax.figure.canvas.draw()


def test_projections():
    z = RNG.normal(size=(12, 3))
    ax = components.projections(z, np.arange(12) % 3, names=("a", "b", "c"))
    assert [c.get_label() for c in ax.collections] == ["a", "b", "c"]
    np.testing.assert_allclose(ax.collections[1].get_offsets(), z[1::3, :2])
    ax = components.projections(z, np.linspace(1, 3, 12))
    np.testing.assert_allclose(ax.collections[0].get_array(), np.linspace(1, 3, 12))
    assert len(ax.figure.axes) == 2
    ax = components.projections(z)
    np.testing.assert_allclose(ax.collections[0].get_offsets(), z[:, :2])


def test_reconstructions():
    """A row of images, a row for each reconstruction, on one scale of grey."""
    x = RNG.uniform(size=(5, 12))
    again = [x / 2, x / 4]
    ax = components.reconstructions(x, again, shape=(3, 4), names=("half", "quarter"))
    assert len(ax.images) == 15
    np.testing.assert_allclose(ax.images[7].get_array(), x[2].reshape(3, 4) / 2)
    assert {i.get_clim() for i in ax.images} == {(x.min(), x.max())}
    assert [p.get_label() for p in ax.patches] == ["x", "half", "quarter"]
    assert len(components.reconstructions(x, x, shape=(3, 4)).images) == 10
    ax.figure.canvas.draw()


def test_refused():
    with pytest.raises(ValueError, match="^variances must not be negative"):
        components.scree([1.0, -1.0])
    with pytest.raises(ValueError, match="^noise must be positive"):
        components.scree([1.0, 2.0], rows=3, noise=0.0)
    with pytest.raises(ValueError, match="^z has 1 columns"):
        components.projections(np.ones((3, 1)))
    with pytest.raises(ValueError, match="^names has length 1"):
        components.projections(np.ones((3, 2)), np.arange(3), names=["a"])
    with pytest.raises(ValueError, match="^again has shape"):
        components.reconstructions(np.ones((2, 4)), np.ones((2, 5)), shape=(2, 2))
    with pytest.raises(ValueError, match="^shape is 2 x 3"):
        components.reconstructions(np.ones((2, 4)), np.ones((2, 4)), shape=(2, 3))

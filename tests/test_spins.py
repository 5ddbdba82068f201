"""Pictures of spins: that they draw the numbers given, in colours that tell."""

import numpy as np
import pytest

from jaxml.plot import _spins as spins

pytest.importorskip("matplotlib")

RNG = np.random.default_rng(0)
ISING = RNG.choice(np.array([-1, 1], np.int8), (5, 6, 8))


def draw(ax):
    ax.figure.savefig("/dev/null", format="png")
    return ax


def colours(image):
    """The colour of each site, (rows, columns, 4)."""
    return image.cmap(image.norm(image.get_array()))


@pytest.mark.parametrize("k", [1, 2, 5])
def test_lattices_have_a_place_each(k):
    names = [f"T = {i}" for i in range(k)]
    ax = draw(spins.lattices(ISING[:k], names=names))
    assert [text.get_text() for text in ax.texts] == names
    assert len(ax.images) == k
    boxes = []
    for image, s, text in zip(ax.images, ISING, ax.texts):
        np.testing.assert_array_equal(image.get_array(), s)
        left, right, bottom, top = image.get_extent()
        assert (right - left, bottom - top) == (8, 6)
        x, y = text.get_position()
        assert left < x < right
        assert y < top  # downwards is positive
        boxes.append(image.get_window_extent())
    for i, box in enumerate(boxes):
        for other in boxes[:i]:
            apart = box.x0 >= other.x1 or other.x0 >= box.x1
            assert apart or box.y0 >= other.y1 or other.y0 >= box.y1


def test_two_values_have_two_shades():
    (image,) = draw(spins.lattices(ISING[0])).images
    shades = colours(image)
    up, down = shades[ISING[0] > 0], shades[ISING[0] < 0]
    assert (up == up[0]).all()
    assert (down == down[0]).all()
    assert abs(up[0] - down[0]).max() > 0.5
    # A lattice all up or all down keeps its shade.
    for s, shade in ((1, up[0]), (-1, down[0])):
        (image,) = draw(spins.lattices(np.full((3, 3), s))).images
        assert (colours(image) == shade).all()


@pytest.mark.parametrize("q", [3, 7, 20])
def test_every_value_has_a_colour(q):
    s = np.arange(3 * q).reshape(3, 1, q) % q
    first, second, _ = draw(spins.lattices(s)).images
    np.testing.assert_array_equal(colours(first), colours(second))
    assert len(np.unique(colours(first).reshape(-1, 4), axis=0)) == q


def test_angles_are_a_circle():
    angle = np.array([[0.0, 1.0, 3.0, -2.0]])
    (one,) = draw(spins.lattices(angle, angles=True)).images
    (two,) = draw(spins.lattices(angle + 4 * np.pi, angles=True)).images
    np.testing.assert_allclose(one.get_array(), two.get_array(), atol=1e-12)
    assert one.get_clim() == (-np.pi, np.pi)
    ends = one.cmap([0.0, 1.0])
    np.testing.assert_allclose(ends[0], ends[1], atol=0.02)


@pytest.mark.parametrize("temperature", [None, np.linspace(1, 3, 40)])
def test_component(temperature):
    m = RNG.uniform(-1, 1, 40)
    ax = draw(spins.component(-8 * m, m, temperature=temperature))
    (points,) = ax.collections
    np.testing.assert_allclose(points.get_offsets(), np.stack([m, -8 * m], 1))
    (line,) = ax.lines
    np.testing.assert_allclose(line.get_ydata(), -8 * line.get_xdata())
    assert ax.get_title() == "correlation -1.00000, slope -8"
    if temperature is not None:
        np.testing.assert_array_equal(points.get_array(), temperature)
        assert ax.figure.axes[1].get_ylabel() == "temperature T"


def test_axes_given_are_used():
    ax = spins.lattices(ISING).figure.axes[0]
    assert spins.component([1, 2.0], [0, 1.0], ax=ax) is ax
    assert spins.lattices(ISING[0], ax=ax) is ax


def test_bad_input():
    for call, message in [
        (lambda: spins.lattices(np.ones(3)), r"^spins has shape \(3,\)"),
        (lambda: spins.lattices([[np.nan, 1]]), r"^spins holds non-finite values"),
        (lambda: spins.lattices(ISING, names=["a"]), r"^names has length 1, not k = 5"),
        (
            lambda: spins.component([1, 2], [1, 2, 3]),
            r"^m has shape \(3,\), not \(t,\)",
        ),
        (lambda: spins.component([1, 1], [1, 2]), r"^z is constant"),
        (
            lambda: spins.component([1, 2], [1, 2], temperature=[1]),
            r"^temperature has shape \(1,\)",
        ),
        (lambda: spins.lattices(ISING, ax=3), r"^ax must be matplotlib Axes"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()

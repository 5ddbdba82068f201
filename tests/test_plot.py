"""Pictures: that they draw the numbers given, legibly, and touch nothing else."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxml import plot
from jaxml.data import datasets
from jaxml.evaluate import calibration, selection
from jaxml.optimize._fit import Status
from jaxml.plot import _canvas
from jaxml.regression import curve, lasso, linear, ridge, svm

matplotlib = pytest.importorskip("matplotlib")
from matplotlib.collections import LineCollection  # noqa: E402
from matplotlib.contour import ContourSet  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

RANDOM = np.random.default_rng(0)
MATRIX = RANDOM.integers(0, 2000, (10, 10)) * np.eye(10, dtype=int) * 5 + 3
THETA = RANDOM.normal(0, 1, (7, 1 + 12)).astype(np.float32)


def draw(ax):
    ax.figure.savefig("/dev/null", format="png")
    return ax


def test_pyplot_is_not_imported():
    code = (
        "import sys, numpy as np\n"
        "from jaxml import plot\n"
        "assert 'matplotlib' not in sys.modules\n"
        "plot.history(np.ones(3)).figure.savefig(sys.argv[1], format='png')\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, "/dev/null"], check=True)


def test_given_axes_are_used_and_returned():
    x, y = datasets.digits(scale=1 / 16)
    calls = [
        lambda ax: plot.history(np.ones(3), ax=ax),
        lambda ax: plot.confusion(MATRIX, ax=ax),
        lambda ax: plot.first_layer(THETA, shape=(3, 4), ax=ax),
        lambda ax: plot.misclassified(x, y, y[::-1], shape=(8, 8), ax=ax),
        lambda ax: plot.decision_regions(left_of_0, POINTS, SIDES, ax=ax),
        lambda ax: plot.margin(height, POINTS, SIDES, ax=ax),
        lambda ax: plot.band(GRID, GRID, GRID, GRID, ax=ax),
        lambda ax: plot.residuals(GRID, GRID[::-1], ax=ax),
        lambda ax: plot.qq(GRID, 0 * GRID, ax=ax),
        lambda ax: plot.coefficient_path([1.0, 2.0], np.eye(2), ax=ax),
        lambda ax: plot.learning_curve(CURVE, ax=ax),
        lambda ax: plot.validation_curve(CURVE, ax=ax),
        lambda ax: plot.reliability(DIAGRAM, ax=ax),
    ]
    figure = Figure((16, 12), layout="constrained")
    axes = figure.subplots(4, 4).ravel()
    for ax, call in zip(axes, calls):
        assert call(ax) is ax
    draw(ax)


def test_history_leaves_nan_out():
    cost = jnp.array([4.0, jnp.nan, 2.0, 1.0, jnp.nan, jnp.nan])
    ax = draw(plot.history(cost, log=True))
    (line,) = ax.lines
    np.testing.assert_array_equal(line.get_xdata(), [1, 3, 4])
    np.testing.assert_array_equal(line.get_ydata(), [4, 2, 1])
    assert ax.get_yscale() == "log"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "cost")


def test_history_of_several():
    ax = draw(plot.history({"train": [1.0, 0.5], "validation": [1.1, np.nan]}))
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["train", "validation"]
    assert len({line.get_color() for line in ax.lines}) == 2
    assert len({line.get_linestyle() for line in ax.lines}) == 2
    assert ax.get_xlabel() == "epoch"


@pytest.mark.parametrize("wide", [True, False], ids=["new", "given"])
def test_confusion_counts_fit_their_cells(wide):
    given = None if wide else Figure((3, 3), layout="constrained").subplots()
    ax = draw(plot.confusion(MATRIX, ax=given))
    counts = np.array([int(text.get_text()) for text in ax.texts]).reshape(10, 10)
    np.testing.assert_array_equal(counts, MATRIX)
    cell = ax.get_window_extent().width / 10
    assert max(text.get_window_extent().width for text in ax.texts) < cell
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")
    assert ax.get_title().startswith(f"{np.trace(MATRIX) / MATRIX.sum():.1%} of")


def test_confusion_with_names_weights_and_an_empty_row():
    names = ["benign", "malignant", "neither"]
    matrix = np.array([[2.5, 0, 0], [0.125, 4, 0], [0, 0, 0]])
    ax = draw(plot.confusion(matrix, names=names))
    assert [text.get_text() for text in ax.get_xticklabels()] == names
    assert [text.get_text() for text in ax.texts][:5] == ["2.5", "0", "0", "0.125", "4"]


def test_first_layer_drops_the_bias():
    ax = draw(plot.first_layer(THETA, shape=(3, 4)))
    assert len(ax.images) == 7
    for image, row in zip(ax.images, THETA):
        np.testing.assert_array_equal(image.get_array(), row[1:].reshape(3, 4))
        largest = np.abs(THETA[:, 1:]).max()
        assert image.get_clim() == (-largest, largest)
    separate(ax.images)


def separate(images):
    """No two of the images overlap."""
    boxes = [image.get_window_extent() for image in images]
    for i, box in enumerate(boxes):
        for other in boxes[:i]:
            apart = box.x0 >= other.x1 or other.x0 >= box.x1
            assert apart or box.y0 >= other.y1 or other.y0 >= box.y1


@pytest.mark.parametrize("width", [2, 8])
def test_misclassified(width):
    x, y = datasets.digits(scale=1 / 16)
    predicted = y.copy()
    wrong = np.arange(5, 500, 13)
    predicted[wrong] = (y[wrong] + 3) % 10
    given = Figure((width, width), layout="constrained").subplots()
    ax = draw(plot.misclassified(x, y, predicted, shape=(8, 8), ax=given, most=12))
    assert ax.get_title().startswith(
        f"{len(wrong)} of 1797 misclassified, the first 12"
    )
    titles = [patch.get_label() for patch in ax.patches]
    assert titles == [f"{y[i]}→{predicted[i]}" for i in wrong[:12]]
    for image, row in zip(ax.images, wrong):
        np.testing.assert_array_equal(image.get_array(), x[row].reshape(8, 8))
    # Images and titles, which are outlines and have extents too.
    separate([*ax.images, *ax.patches])


def test_nothing_misclassified():
    x, y = datasets.digits()
    ax = draw(plot.misclassified(x, y, y, shape=(8, 8)))
    assert ax.get_title() == "0 of 1797 misclassified"
    assert not ax.images


POINTS = RANDOM.normal(0, 1, (30, 2))
SIDES = (POINTS[:, 0] > 0).astype(int)


def left_of_0(grid):
    return (grid[:, 0] > 0).astype(int)


def test_decision_regions():
    seen = []

    def predict(grid):
        seen.append(grid)
        return jnp.asarray(left_of_0(grid))

    ax = draw(plot.decision_regions(predict, POINTS, SIDES, resolution=50))
    (grid,) = seen
    assert grid.shape == (2500, 2)
    assert (grid.min(0) < POINTS.min(0)).all()
    assert (grid.max(0) > POINTS.max(0)).all()
    (image,) = ax.images
    shades = image.get_array()
    assert len(np.unique(shades.reshape(-1, 3), axis=0)) == 2
    np.testing.assert_array_equal(shades[0], shades[-1])  # the border is vertical
    assert [len(each.get_offsets()) for each in ax.collections] == [
        (SIDES == 0).sum(),
        (SIDES == 1).sum(),
    ]


RIGHT = np.array([2.5, 0])


def height(grid):
    return grid[:, 1] - 0.25


def test_margin_of_a_line():
    """The lines f = -1, 0 and 1 lie where they should, and rings on the support."""
    seen = []

    def scores(grid):
        seen.append(grid)
        return jnp.asarray(height(grid))

    support = np.arange(30) % 7 == 0
    ax = draw(plot.margin(scores, POINTS, SIDES, support=jnp.asarray(support)))
    (grid,) = seen
    assert grid.shape == (200**2, 2)
    lines = [c for c in ax.collections if isinstance(c, ContourSet) and not c.filled]
    levels = {float(each.levels[0]): each for each in lines}
    assert set(levels) == {-1, 0, 1}
    for level, line in levels.items():
        (path,) = line.get_paths()
        ends = path.vertices
        np.testing.assert_allclose(ends[:, 1], 0.25 + level, atol=1e-5)
        assert np.ptp(ends[:, 0]) == pytest.approx(np.ptp(ax.get_xlim()))
    (areas,) = [c for c in ax.collections if isinstance(c, ContourSet) and c.filled]
    assert list(areas.levels[1:3]) == [-1, 1]
    offsets = [np.asarray(c.get_offsets()) for c in ax.collections]
    drawn = [o for o in offsets if len(o) > 1]
    expected = [POINTS[SIDES == 0], POINTS[SIDES == 1], POINTS[support]]
    for one, other in zip(drawn, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    names = legend(ax)
    assert names == [
        "f = 1",
        "f = 0",
        "f = −1",
        "class 0",
        "class 1",
        "support vector",
    ]
    assert ax.get_title() == "5 support vectors of 30 rows"


def test_margin_of_machines():
    """Planes and kernels of svm, as the docstring has it: |f| <= 1 at the rings."""
    x = np.concatenate([POINTS + RIGHT, POINTS - RIGHT])
    y = np.repeat([1, 0], 30)
    plane = svm.fit(x, y, l2=0.1, loss="hinge").params
    kernel = svm.kernel.fit(x, y, l2=0.1).params
    for scores, support in [
        (lambda grid: svm.scores(plane, grid), svm.support_mask(plane)),
        (lambda grid: svm.kernel.scores(kernel, grid), svm.kernel.support_mask(kernel)),
    ]:
        ax = draw(plot.margin(scores, x, y, support=support))
        ringed = np.asarray(ax.collections[-2].get_offsets())
        f = np.asarray(scores(ringed))
        side = np.where(ringed[:, 0] > 0, 1, -1)
        assert (f * side).max() < 1.01
        assert {"f = 1", "f = 0", "f = −1"} <= set(legend(ax))


def test_margin_without_a_line():
    """Scores of one sign have no f = 0, and matplotlib is not asked for it."""
    ax = draw(plot.margin(lambda grid: 0.5 + 0 * grid[:, 0], POINTS, SIDES))
    assert legend(ax) == ["class 0", "class 1"]


# --- regression --------------------------------------------------------------------

GRID = np.linspace(-1, 2, 20)


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def ends(area):
    """Abscissae and both edges of what fill_between made."""
    (path,) = area.get_paths()
    vertices = path.vertices
    m = (len(vertices) - 3) // 2
    low, high = vertices[1 : m + 1], vertices[m + 2 : -1][::-1]
    np.testing.assert_array_equal(low[:, 0], high[:, 0])
    return low[:, 0], low[:, 1], high[:, 1]


@pytest.mark.long
def test_curve_of_least_squares():
    x, y = POINTS[:, :1], POINTS[:, 1] + POINTS[:, 0]
    params = linear.fit(x, y).params
    found = linear.inference(params, x, y)
    shuffled = RANDOM.permutation(GRID)[:, None]
    band = linear.band(params, found, shuffled)
    ax = draw(plot.band(x, y, shuffled, band))
    (line,) = ax.lines
    order = np.argsort(shuffled[:, 0])
    np.testing.assert_array_equal(line.get_xdata(), GRID)
    np.testing.assert_array_equal(line.get_ydata(), np.asarray(band.mean)[order])
    outer, inner, data = ax.collections
    for area, low, high in [
        (outer, band.prediction_low, band.prediction_high),
        (inner, band.low, band.high),
    ]:
        at, below, above = ends(area)
        np.testing.assert_array_equal(at, GRID)
        np.testing.assert_array_equal(below, np.asarray(low)[order])
        np.testing.assert_array_equal(above, np.asarray(high)[order])
    np.testing.assert_array_equal(data.get_offsets(), np.stack([x[:, 0], y], 1))
    assert legend(ax) == ["band of the prediction", "band of the fit", "fit", "data"]


def test_curve_of_any_model():
    band = curve.Band(GRID, GRID - 1, GRID + 1)
    wide = curve.Band(GRID, GRID - 3, GRID + 2)
    sigma = np.linspace(0.1, 0.3, 30)
    x, y = POINTS.T
    ax = draw(plot.band(x, y, GRID, band, prediction=wide, sigma=sigma))
    edges = [ends(area)[1:] for area in ax.collections[:2]]
    np.testing.assert_allclose(edges[0], [GRID - 3, GRID + 2])
    np.testing.assert_allclose(edges[1], [GRID - 1, GRID + 1])
    (bars,) = [c for c in ax.collections if isinstance(c, LineCollection)]
    lengths = [np.ptp(segment[:, 1]) for segment in bars.get_segments()]
    np.testing.assert_allclose(lengths, 2 * sigma)


def test_curve_alone():
    ax = draw(plot.band(*POINTS.T, GRID, jnp.asarray(GRID)))
    assert legend(ax) == ["fit", "data"]


def test_residuals():
    y, h = POINTS.T
    ax = draw(plot.residuals(y, h))
    (points,) = ax.collections
    np.testing.assert_allclose(points.get_offsets(), np.stack([h, y - h], 1))
    size = np.sqrt(np.mean((y - h) ** 2))
    heights = [line.get_ydata()[0] for line in ax.lines]
    np.testing.assert_allclose(heights, [0, -2 * size, 2 * size])
    share = np.mean(np.abs(y - h) <= 2 * size)
    assert ax.get_title() == f"{share:.1%} of 30 residuals within ±2s, s = {size:.3g}"


def test_residuals_in_units_of_their_errors():
    y, h = POINTS.T
    sigma = np.linspace(1, 2, 30)
    ax = draw(plot.residuals(y, h, sigma=sigma))
    (points,) = ax.collections
    np.testing.assert_allclose(np.asarray(points.get_offsets())[:, 1], (y - h) / sigma)
    assert ax.get_ylabel() == "residual (y − h(x)) / σ"


def test_quantiles_as_scipy_has_them():
    y, h = POINTS.T
    ax = draw(plot.qq(y, h))
    area, points = ax.collections
    z, r = np.asarray(points.get_offsets()).T
    places = (np.arange(1, 31) - 0.375) / 30.25
    np.testing.assert_allclose(z, scipy.stats.norm.ppf(places), atol=1e-12)
    np.testing.assert_allclose(r, np.sort(y - h))
    (line,) = ax.lines
    quartiles = scipy.stats.norm.ppf([0.25, 0.75])
    through = np.interp(quartiles, line.get_xdata(), line.get_ydata())
    np.testing.assert_allclose(through, np.quantile(y - h, [0.25, 0.75]))


def test_quantiles_have_the_band_they_claim():
    """95 % about the true line; what is told of the line through the quartiles."""
    m = 100
    area, points = plot.qq(RANDOM.normal(2, 3, m), np.zeros(m)).collections
    z = np.asarray(points.get_offsets())[:, 0]
    _, low, high = ends(area)
    spread = np.ptp(low + high) / 2 / np.ptp(z)
    half = (high - low) / 2 / spread  # of residuals with standard deviation 1
    r = np.sort(np.random.default_rng(3).normal(size=(20_000, m)))
    assert np.mean(np.abs(r - z) <= half) == pytest.approx(0.95, abs=0.003)
    quartiles = np.quantile(r, [0.25, 0.75], axis=1)[..., None]
    scale = np.diff(quartiles, axis=0)[0] / (2 * scipy.stats.norm.ppf(0.75))
    inside = np.abs(r - quartiles.mean(0) - scale * z) <= scale * half
    assert inside.mean() == pytest.approx(0.975, abs=0.005)
    by_place = inside.mean(0)
    assert by_place[m // 2] == pytest.approx(0.99, abs=0.006)
    assert by_place.min() == pytest.approx(0.89, abs=0.006)


def test_coefficient_path():
    x, y = POINTS, POINTS @ [2.0, -1.0] + SIDES
    l2s = np.array([1.0, 0.01, 10.0, 0.1])
    w = ridge.path(x, y, l2s=l2s).w
    names = ["age", "dose"]
    ax = draw(plot.coefficient_path(l2s, w, names=names, chosen=0.1))
    zero, *lines, mark = ax.lines
    found = {line.get_label(): line for line in lines}
    for j, name in enumerate(names):
        np.testing.assert_array_equal(found[name].get_xdata(), np.sort(l2s))
        expected = np.asarray(w)[np.argsort(l2s), j]
        np.testing.assert_array_equal(found[name].get_ydata(), expected)
    np.testing.assert_allclose(mark.get_xdata(), 0.1)
    assert legend(ax) == ["age", "dose", "λ = 0.1"]  # as they lie at the left
    assert ax.get_xscale() == "log"
    assert ax.get_xlabel() == "penalty λ"


def test_coefficient_path_names_the_largest():
    found = lasso.path(POINTS, POINTS @ [2.0, -1.0], count=5)
    w = np.asarray(found.fits.params.w)
    size = np.linspace(-1, 1.5, 12)
    ax = draw(plot.coefficient_path(found.l1s, w[:, :1] * size))
    assert len(ax.lines) == 1 + 12
    largest = np.argsort(-np.abs(size))[:8]
    ordered = sorted(largest, key=lambda j: -size[j])
    assert legend(ax) == [f"w{j}" for j in ordered]
    assert ax.get_legend().get_title().get_text() == "8 of 12 features"
    styles = {(line.get_color(), line.get_linestyle()) for line in ax.lines[5:]}
    assert len(styles) == 8


# --- scores ------------------------------------------------------------------------

CURVE = selection.ScoreCurve(
    np.array([30.0, 10.0, 20.0]),
    np.array([[0.8, 1.0, 0.9], [0.9, 1.0, 0.8]]),
    np.array([[0.7, 0.2, 0.5], [0.6, 0.4, 0.5]]),
    np.zeros((2, 3), np.int32),
)


@pytest.mark.parametrize("which", ["learning_curve", "validation_curve"])
def test_scores_and_their_errors(which):
    ax = draw(getattr(plot, which)(CURVE, score="R²"))
    train, test = ax.lines
    np.testing.assert_array_equal(train.get_xdata(), [10, 20, 30])
    np.testing.assert_allclose(train.get_ydata(), [1.0, 0.85, 0.85])
    np.testing.assert_allclose(test.get_ydata(), [0.3, 0.5, 0.65])
    _, low, high = ends(ax.collections[1])
    error = scipy.stats.sem(CURVE.test[:, [1, 2, 0]])
    np.testing.assert_allclose(high - low, 2 * error)
    np.testing.assert_allclose(high + low, 2 * test.get_ydata())
    assert legend(ax) == ["training rows", "held-out rows"]
    assert ax.get_title() == "mean ± standard error over 2 folds"
    assert ax.get_ylabel() == "R²"
    assert ax.get_xscale() == ("log" if which == "validation_curve" else "linear")


def test_scores_that_failed_are_told():
    """A gap and a cross where a fit failed; a fold without rows is left out."""
    test, status = CURVE.test.copy(), CURVE.status.copy()
    test[0, 1], status[0, 1] = np.nan, Status.SINGULAR
    test = np.concatenate([test, np.full((1, 3), np.nan)])
    status = np.concatenate([status, np.zeros((1, 3), int)])
    train = CURVE.train[[0, 1, 1]]
    ax = draw(plot.learning_curve(selection.ScoreCurve(CURVE.at, train, test, status)))
    np.testing.assert_allclose(ax.lines[1].get_ydata(), [np.nan, 0.5, 0.65])
    assert legend(ax)[2] == "no score"
    np.testing.assert_allclose(ax.collections[2].get_offsets()[:, 0], [10])
    assert ax.get_title() == "mean ± standard error over 2 of 3 folds"


def test_one_fold_has_no_error():
    one = selection.ScoreCurve(CURVE.at, *(each[:1] for each in CURVE[1:]))
    ax = draw(plot.validation_curve(one, log=False, name="γ", chosen=20))
    assert not ax.collections
    assert ax.get_title() == "one fold"
    assert (ax.get_xlabel(), legend(ax)[2]) == ("γ", "γ = 20")


DIAGRAM = calibration.Reliability(
    np.array([0.1, np.nan, 0.5, 0.9]),
    np.array([0.2, np.nan, 0.5, 0.7]),
    np.array([30, 0, 20, 50]),
    np.array([0, 0.25, 0.45, 0.55, 1.0]),
)


def test_reliability():
    ax = draw(plot.reliability(DIAGRAM))
    diagonal, line = ax.lines
    np.testing.assert_array_equal(diagonal.get_xydata(), [[0, 0], [1, 1]])
    np.testing.assert_allclose(line.get_xdata(), [0.1, 0.5, 0.9])
    np.testing.assert_allclose(line.get_ydata(), [0.2, 0.5, 0.7])
    (gaps,) = ax.collections
    lengths = [np.ptp(segment[:, 1]) for segment in gaps.get_segments()]
    np.testing.assert_allclose(lengths, [0.1, 0, 0.2])
    assert ax.get_title() == f"ECE {0.3 * 0.1 + 0.5 * 0.2:.4f}, 100 rows"
    (other,) = [each for each in ax.figure.axes if each is not ax]
    heights = [bar.get_height() for bar in other.patches]
    np.testing.assert_array_equal(heights, DIAGRAM.weight)
    left = [bar.get_x() for bar in other.patches]
    right = [bar.get_x() + bar.get_width() for bar in other.patches]
    np.testing.assert_allclose([left, right], [DIAGRAM.edges[:-1], DIAGRAM.edges[1:]])
    top = other.transData.transform((0, 50))[1] - ax.bbox.y0
    assert top < 0.3 * ax.bbox.height


@pytest.mark.parametrize("binning", ["width", "mass"])
def test_reliability_has_the_error_of_calibration(binning):
    p = RANDOM.uniform(size=200).astype(np.float32)
    y = (RANDOM.uniform(size=200) < p**2).astype(int)
    diagram = calibration.reliability(y, p, bins=8, binning=binning)
    error = calibration.ece(y, p, bins=8, binning=binning)
    title = draw(plot.reliability(diagram)).get_title()
    assert float(title.split()[1].rstrip(",")) == pytest.approx(float(error), abs=6e-5)


def test_many_classes_have_many_colours():
    assert len(np.unique(_canvas.colours(10), axis=0)) == 10
    assert len(np.unique(_canvas.colours(25), axis=0)) == 25


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in [name for name in sys.modules if name.startswith("matplotlib.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match=r"pip install 'jaxml\[plot\]'"):
        plot.history(np.ones(3))


X = np.zeros((5, 4))
Y = np.zeros(5, int)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot.history(np.ones((3, 2))), r"history has shape \(3, 2\)"),
        (lambda: plot.history({}), "history is an empty dict"),
        (lambda: plot.history({"a": "b"}), r"history\['a'\] must hold real numbers"),
        (lambda: plot.history(np.full(3, np.nan)), "history holds no finite value"),
        (lambda: plot.history([1.0, 0.0], log=True), "history must be positive"),
        (lambda: plot.history([1.0], ax="here"), "ax must be matplotlib Axes, not str"),
        (lambda: plot.confusion(np.ones((2, 3))), r"matrix has shape \(2, 3\)"),
        (lambda: plot.confusion(-np.ones((2, 2))), "matrix must hold counts"),
        (lambda: plot.confusion(np.ones((2, 2)), names="abc"), "names has length 3"),
        (lambda: plot.first_layer(X[0], shape=(2, 2)), r"theta has shape \(4,\)"),
        (lambda: plot.first_layer(X, shape=(2, 2)), "shape is 2 x 2, but theta"),
        (lambda: plot.first_layer(X * np.nan, shape=(3, 1)), "theta holds non-finite"),
        (lambda: plot.first_layer(X, shape=3), r"shape must be \(height, width\)"),
        (lambda: plot.misclassified(X, Y[:4], Y, shape=(2, 2)), r"y has shape \(4,\)"),
        (
            lambda: plot.misclassified(X, Y, X[:, 0] + 0.5, shape=(2, 2)),
            "predicted must hold",
        ),
        (lambda: plot.misclassified(X, Y, Y, shape=(2, 3)), "shape is 2 x 3, but x"),
        (lambda: plot.misclassified(X, Y, Y, shape=(2, 2), most=0), "most must be"),
        (lambda: plot.decision_regions(left_of_0, X, Y), r"x has shape \(5, 4\)"),
        (
            lambda: plot.decision_regions(lambda g: g, X[:, :2], Y),
            r"predict\(grid\) must hold integer labels",
        ),
        (
            lambda: plot.decision_regions(lambda g: Y, X[:, :2], Y),
            r"predict\(grid\) has shape \(5,\), not \(40000,\)",
        ),
        (lambda: plot.margin(height, POINTS, SIDES + 1), "y holds the label 2"),
        (lambda: plot.margin(height, POINTS, SIDES[:9]), r"y has shape \(9,\)"),
        (lambda: plot.margin(height, POINTS * np.nan, SIDES), "x holds non-finite"),
        (
            lambda: plot.margin(height, POINTS, SIDES, support=SIDES[:9]),
            r"support has shape \(9,\)",
        ),
        (
            lambda: plot.margin(lambda g: g[:, 0] * np.nan, POINTS, SIDES),
            r"scores\(grid\) holds non-finite",
        ),
        (
            lambda: plot.margin(lambda g: g, POINTS, SIDES),
            r"scores\(grid\) has shape \(40000, 2\)",
        ),
        (lambda: plot.band(X, Y, GRID, GRID), r"x has shape \(5, 4\)"),
        (lambda: plot.band(Y, Y[:4], GRID, GRID), r"y has shape \(4,\)"),
        (lambda: plot.band(Y, Y, GRID, GRID[:4]), r"band has shape \(4,\)"),
        (lambda: plot.band(Y, Y, GRID, CURVE), "band must be a Band or an array"),
        (
            lambda: plot.band(Y, Y, GRID, curve.Band(GRID, GRID, GRID[:4])),
            r"band.high has shape \(4,\)",
        ),
        (
            lambda: plot.band(Y, Y, GRID, GRID, prediction=GRID),
            "prediction must be a Band",
        ),
        (
            lambda: plot.band(Y, Y, GRID, GRID * np.inf),
            "band holds non-finite",
        ),
        (lambda: plot.band(Y, Y, GRID, GRID, sigma=Y - 1), "sigma must not be neg"),
        (lambda: plot.residuals(Y, Y[:4]), r"predicted has shape \(4,\)"),
        (lambda: plot.residuals(Y, Y, sigma=Y), "sigma must be positive"),
        (lambda: plot.qq(Y, Y), "y - predicted has quartiles that coincide"),
        (lambda: plot.qq(Y * np.nan, Y), "y holds non-finite"),
        (lambda: plot.coefficient_path(Y + 1.0, X[:4]), r"w has shape \(4, 4\)"),
        (lambda: plot.coefficient_path(Y, X), "penalties must be positive"),
        (lambda: plot.coefficient_path(Y + 1, X, names="abc"), "names has length 3"),
        (lambda: plot.coefficient_path(Y + 1, X, chosen=0), "chosen must be positive"),
        (lambda: plot.coefficient_path(Y + 1, X * np.nan), "w holds non-finite"),
        (lambda: plot.learning_curve(GRID), "curve must be a Curve of selection"),
        (
            lambda: plot.learning_curve(CURVE._replace(test=CURVE.test[:, :2])),
            r"curve.test has shape \(2, 2\)",
        ),
        (
            lambda: plot.learning_curve(CURVE._replace(test=CURVE.test * np.nan)),
            "curve.test has no point",
        ),
        (
            lambda: plot.validation_curve(CURVE._replace(at=CURVE.at - 10)),
            "curve.at must be positive where log=True",
        ),
        (lambda: plot.reliability(CURVE), "diagram must be calibration.Reliability"),
        (
            lambda: plot.reliability(DIAGRAM._replace(weight=np.zeros(4))),
            "diagram.weight must not be negative, nor 0",
        ),
        (
            lambda: plot.reliability(DIAGRAM._replace(accuracy=GRID)),
            r"diagram.accuracy has shape \(20,\)",
        ),
        (
            lambda: plot.reliability(DIAGRAM._replace(edges=GRID)),
            r"diagram.edges has shape \(20,\), not \(5,\)",
        ),
        (
            lambda: plot.reliability(DIAGRAM._replace(weight=np.ones(4))),
            r"diagram.confidence must lie in \[0, 1\]",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


def test_labels_are_looked_at_before_they_could_wrap():
    x, y = np.eye(2), np.array([0, 2**63], np.uint64)
    with pytest.raises(ValueError, match=f"^y holds the label {2**63}"):
        plot.margin(lambda grid: grid[:, 0], x, y)

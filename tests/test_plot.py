"""Pictures: that they draw the numbers given, legibly, and touch nothing else."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import plot
from jaxml.data import datasets

matplotlib = pytest.importorskip("matplotlib")
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
    ]
    figure = Figure((12, 3), layout="constrained")
    for ax, call in zip(figure.subplots(1, len(calls)), calls):
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


def test_many_classes_have_many_colours():
    assert len(np.unique(plot._colours(10), axis=0)) == 10
    assert len(np.unique(plot._colours(25), axis=0)) == 25


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
            lambda: plot.misclassified(X, Y, X[:, 0], shape=(2, 2)),
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
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()

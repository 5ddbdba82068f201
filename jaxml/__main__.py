"""python -m jaxml: train the course's network on real digits, and show it learning."""

import argparse
import contextlib
import importlib.util
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxml import _check
from jaxml._programs import cache_compiled
from jaxml.data import datasets, scaling
from jaxml.evaluate import metrics
from jaxml.networks import feedforward
from jaxml.optimize import train
from jaxml.optimize._bar import write
from jaxml.optimize._fit import Status


class Problem(NamedTuple):
    """A data set, split and scaled, ready for a network."""

    name: str
    train: tuple[jax.Array, jax.Array]  # x (m, n) in [0, 1], targets (m, k)
    test: tuple[jax.Array, jax.Array]
    image: tuple[int, int] | None  # height and width of a row that is an image
    classes: tuple[str, ...]


# The solver of each name, and a rate that suits it.
SOLVERS = {
    "sgd": (optax.sgd, 0.1),
    "momentum": (partial(optax.sgd, momentum=0.9), 0.01),
    "nesterov": (partial(optax.sgd, momentum=0.9, nesterov=True), 0.01),
    "rmsprop": (optax.rmsprop, 1e-3),
    "adam": (optax.adam, 1e-3),
}
# The activation and the output that go with each cost.
COSTS = {
    "cross-entropy": {"activation": "tanh", "output": "sigmoid"},
    "log-likelihood": {"activation": "tanh", "output": "softmax"},
    "quadratic": {"activation": "tanh", "output": "sigmoid"},
}
DATA = ("digits", "mnist", "fashion-mnist", "wheat-seeds")


@_check.host
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with these arguments, sys.argv's if None; its exit status."""
    options = _parser().parse_args(argv)
    # A sign that the terminal's encoding lacks, as a file's name may have, is spelled.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        picture = _writable(Path(options.picture))
        with contextlib.suppress(ValueError):  # without a home it compiles each time
            cache_compiled()
        with jax.default_device(_device(options.device)):
            return _show(options, picture)
    except ValueError as error:
        _complain(str(error))
        return 2
    except Unheard as error:
        return error.status
    except KeyboardInterrupt:
        return 130


class Unheard(Exception):
    """Nothing can be printed any more."""

    def __init__(self, error: OSError):
        """Tell why on stderr, but for a pipe whose reader has enough (| head)."""
        super().__init__(str(error))
        self.status = 1
        if isinstance(error, BrokenPipeError):
            self.status = 128 + 13  # as a shell counts a program ended by SIGPIPE
        else:
            _complain(f"stdout cannot be written: {error}")
        # What is still in the buffer has nowhere to go, not even at exit.
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _complain(line: str) -> None:
    if sys.stderr is not None:  # closed by whoever called
        print(f"jaxml: {line}", file=sys.stderr)


def _say(line: str) -> None:
    try:
        write(line)
    except OSError as error:
        raise Unheard(error) from None


def _show(options, picture: Path) -> int:
    key = jax.random.key(options.seed)
    split_key, init_key, run_key, check_key = jax.random.split(key, 4)
    problem = _load(options.data, split_key)
    x, y = problem.train
    sizes = (x.shape[1], *options.hidden, y.shape[1])
    layers = "-".join(map(str, sizes))
    _say(
        f"{problem.name}: {len(x):,} examples to learn from, "
        f"{len(problem.test[0]):,} held out"
    )
    manner = f"{options.cost} cost, {options.solver}, seed {options.seed}"
    _say(f"network {layers}, {manner}")
    _say(f"back-propagation equals autodiff: {_agreement(check_key, sizes, options)}")

    solver, rate = SOLVERS[options.solver]
    update = train.descend(
        feedforward.cost,
        gradient=feedforward.backprop,
        solver=solver,
        learning_rate=rate if options.rate is None else options.rate,
        l2=options.l2,
    )
    settings = {**COSTS[options.cost], "loss": options.cost, "scheme": "glorot"}
    init = jax.jit(partial(feedforward.init, sizes=sizes, **settings))
    params = init(init_key)
    clock = Clock()
    fit, _ = train.run(
        update,
        train.start(update, params, run_key),
        problem.train,
        batch=min(options.batch, len(x)),
        epochs=options.epochs,
        validation=problem.test,
        score=feedforward.score,
        after=clock.after,
    )
    status = Status(int(fit.status))
    if status == Status.NONFINITE:
        raise ValueError(f"rate or l2 is too high for this problem: {status.sentence}")
    if status == Status.INTERRUPTED:
        _say(f"interrupted after {len(clock.seconds)} epochs")
    if not clock.seconds:
        return 130
    _report(problem, fit, clock, picture)
    return 130 if status == Status.INTERRUPTED else 0


class Clock:
    """Prints the accuracy after each epoch, and remembers how long each took."""

    def __init__(self) -> None:
        """Start the clock."""
        self.seconds: list[float] = []
        self.last = time.perf_counter()

    def after(self, state: train.State, record: dict[str, float]) -> None:
        """One more epoch is done."""
        now = time.perf_counter()
        self.seconds.append(now - self.last)
        self.last = now
        _say(
            f"epoch {len(self.seconds):3d}  cost {record['cost']:.4f}"
            f"  held-out accuracy {100 * record['validation_score']:6.2f} %"
        )


def _report(problem, fit, clock, picture: Path) -> None:
    k = len(problem.classes)

    @jax.jit
    def results(params, x, y):
        labels = jnp.argmax(y, axis=1)
        predicted = feedforward.predict(params, x)
        return labels, predicted, metrics.confusion(labels, predicted, k=k)

    labels, predicted, matrix = map(np.asarray, results(fit.params, *problem.test))
    _say("confusion matrix (rows: what it is; columns: what the network says)")
    _say(_table(matrix.astype(int), problem.classes))
    wrong = labels != predicted
    accuracy = 100 * (1 - wrong.mean())
    _say(f"held-out accuracy {accuracy:.2f} %, {wrong.sum()} of {len(wrong)} wrong")
    first, *rest = clock.seconds
    usual = f", then {1e3 * np.median(rest):.1f} ms each" if rest else ""
    total = f"{sum(clock.seconds):.1f} s in all"
    _say(f"time: first epoch, compiled, {first:.2f} s{usual}; {total}")
    if not _drawable():
        _say("no picture: matplotlib is not installed (pip install 'jaxml[plot]')")
        return
    try:
        _draw(problem, fit, labels, predicted, matrix, picture)
    except OSError as error:
        raise _unwritten(picture, error) from None
    _say(f"picture of what it learned: {picture}")


def _agreement(key, sizes, options) -> str:
    """The largest entry of |backprop - jax.grad|, in float64, on a few random rows."""
    settings = {**COSTS[options.cost], "loss": options.cost}

    def largest(key):
        keys = jax.random.split(key, 3)
        params = feedforward.init(keys[0], sizes=sizes, **settings)
        x = jax.random.uniform(keys[1], (20, sizes[0]))
        y = jax.nn.one_hot(jax.random.randint(keys[2], (20,), 0, sizes[-1]), sizes[-1])
        by_hand = feedforward.backprop(params, x, y, l2=options.l2)
        autodiff = jax.grad(feedforward.cost)(params, x, y, l2=options.l2)
        gaps = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), by_hand, autodiff)
        return jnp.stack(gaps.theta).max()

    with jax.enable_x64(True):
        return f"largest difference {float(jax.jit(largest)(key)):.1e} (float64)"


def _load(name: str, key: jax.Array) -> Problem:
    digits = tuple(str(i) for i in range(10))
    if name in ("mnist", "fashion-mnist"):
        reader = datasets.mnist if name == "mnist" else datasets.fashion_mnist
        title = "MNIST" if name == "mnist" else "Fashion-MNIST"
        learn, test = reader(scale=1 / 255)
        return Problem(title, _targets(learn, 10), _targets(test, 10), (28, 28), digits)
    if name == "digits":
        title, data, k, image = "UCI digits", datasets.digits(scale=1 / 16), 10, (8, 8)
        held_out, classes = 360, digits
    else:
        title, data, k, image = "wheat seeds", datasets.wheat_seeds(), 3, None
        held_out, classes = 42, ("Kama", "Rosa", "Canadian")
    parts = scaling.split(key, data.y, test_size=held_out)
    learn, test = (datasets.Data(data.x[i], data.y[i]) for i in map(np.asarray, parts))
    if image is None:
        scale = scaling.min_max(learn.x)
        learn = learn._replace(x=np.asarray(scaling.transform(scale, learn.x)))
        test = test._replace(x=np.asarray(scaling.transform(scale, test.x)))
    return Problem(title, _targets(learn, k), _targets(test, k), image, classes)


def _targets(data: Any, k: int) -> tuple[jax.Array, jax.Array]:
    return jnp.asarray(data.x, jnp.float32), jnp.asarray(np.eye(k)[data.y], jnp.float32)


def _table(matrix: np.ndarray, classes: tuple[str, ...]) -> str:
    width = max(5, *(len(name) + 1 for name in classes))
    rows = [(" ", *classes)]
    for name, counts in zip(classes, matrix, strict=True):
        rows.append((name, *(str(c) if c else "." for c in counts)))
    return "\n".join("".join(f"{cell:>{width}}" for cell in row) for row in rows)


def _draw(problem, fit, labels, predicted, matrix, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from jaxml import plot

    figure = Figure(figsize=(13, 11), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2)
    plot.history(fit.history, ax=axes[0, 0])
    plot.confusion(matrix, ax=axes[0, 1], names=problem.classes)
    if problem.image is None:
        for ax in axes[1]:
            ax.remove()
    else:
        plot.first_layer(fit.params.theta[0], shape=problem.image, ax=axes[1, 0])
        x = problem.test[0]
        plot.misclassified(x, labels, predicted, shape=problem.image, ax=axes[1, 1])
    figure.savefig(path, dpi=100)


def _drawable() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def _writable(path: Path) -> Path:
    """Where the picture goes; if it can't go there, tell now, not after training."""
    path = path if path.suffix or path.is_dir() else Path(f"{path}.png")
    try:
        if path.is_dir() or path.exists():
            path.open("r+b").close()
        else:
            tempfile.TemporaryFile(dir=path.parent).close()
        if _drawable():
            from matplotlib.figure import Figure

            trial = Figure()
            trial.text(0, 0, "a")
            trial.savefig(io.BytesIO(), format=path.suffix[1:])
    except (OSError, ValueError, RuntimeError) as error:
        raise _unwritten(path, error) from None
    return path


def _unwritten(path: Path, error: Exception) -> ValueError:
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
    return ValueError(f"picture cannot be written: {path}: {reason}")


# --- the command line --------------------------------------------------------------


MOST = 2**31 - 1  # what is counted
SEEDS = 2**32  # as many keys jax.random.key makes
LARGEST = float(np.finfo(np.float32).max)


class _Parser(argparse.ArgumentParser):
    """A parser that tells a wrong option in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (--help lists the options)\n")


def _number(kind: Callable, low: float, high: float, *, open_=False) -> Callable:
    def parse(text: str):
        value = kind(text)
        if not (value > low if open_ else value >= low):
            bound = f"above {low:g}" if open_ else f"{low:g} or more"
            raise argparse.ArgumentTypeError(f"{text} is not {bound}")
        if value > high:
            raise argparse.ArgumentTypeError(f"{text} is above {high}")
        return value

    parse.__name__ = "number" if kind is float else "whole number"
    return parse


def _parser() -> argparse.ArgumentParser:
    rates = ", ".join(f"{rate:g} for {name}" for name, (_, rate) in SOLVERS.items())
    parser = _Parser(
        prog="jaxml",
        description="Train the course's feed-forward network on real handwritten "
        "digits and show it learning: that back-propagation by hand equals autodiff, "
        "the accuracy after each epoch, the confusion matrix, and a picture of its "
        "weights and of what it gets wrong.",
        epilog="The digits come with jaxml. The other sets are read from the folder "
        "JAXML_DATA or the user's cache, or else downloaded (extra 'datasets').",
    )
    add = parser.add_argument
    add("--data", choices=DATA, default="digits", help="data set (default: digits)")
    add(
        "--hidden",
        type=_number(int, 1, MOST),
        nargs="*",
        default=[128, 64],
        metavar="UNITS",
        help="units of each hidden layer (default: 128 64)",
    )
    add("--cost", choices=COSTS, default="cross-entropy", help="default: cross-entropy")
    add("--solver", choices=SOLVERS, default="sgd", help="default: sgd")
    add("--rate", type=_number(float, 0, LARGEST, open_=True), help=f"default: {rates}")
    add("--batch", type=_number(int, 1, MOST), default=10, help="default: 10")
    add("--epochs", type=_number(int, 1, MOST), default=40, help="default: 40")
    add(
        "--l2",
        type=_number(float, 0, LARGEST),
        default=3e-4,
        help="lambda/m (default: 3e-4)",
    )
    add("--seed", type=_number(int, 0, SEEDS - 1), default=0, help="default: 0")
    add("--device", default=None, help="cpu, gpu or tpu (default: JAX's own choice)")
    add(
        "--picture",
        default="jaxml-digits.png",
        metavar="FILE",
        help="where to write the picture (default: jaxml-digits.png)",
    )
    return parser


def _device(name: str | None):
    if name is None:
        return None
    try:
        return jax.devices(name)[0]
    except RuntimeError:
        there = sorted({device.platform for device in jax.devices()})
        message = f"device {name!r} is not here; there is {', '.join(there)}"
        raise ValueError(message) from None


if __name__ == "__main__":
    sys.exit(main())

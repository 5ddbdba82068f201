"""Files of pytrees: every bit comes back, and damage is found out."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import safetensors.numpy

from jaxml import checkpoint, feedforward, logistic, svm, train
from jaxml.regression import kernels
from tests.depth import cases

RANDOM = np.random.default_rng(0)


class Mine(NamedTuple):
    """A class that jaxml does not know."""

    w: Any
    b: Any


@partial(
    jax.tree_util.register_dataclass, data_fields=["w"], meta_fields=["activation"]
)
@dataclasses.dataclass(frozen=True)
class Static:
    w: Any
    activation: Any


WIDTHS = [
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("bfloat16", "float16", "float32", "float64", "complex64"),
]


def run_state():
    params = feedforward.init(jax.random.key(0), sizes=(3, 4, 2), activation="tanh")
    update = train.descend(feedforward.cost, solver=optax.adam, learning_rate=0.1)
    return train.start(update, params, jax.random.key(1))


def kernel_fit():
    x = RANDOM.normal(size=(20, 2))
    kernel = partial(kernels.polynomial, degree=3)
    return svm.kernel.fit(x, (x[:, 0] > 0).astype(int), l2=0.1, kernel=kernel)


TREES = {
    "an array": lambda: jnp.arange(3.0),
    "nothing": lambda: {},
    "empty": lambda: [jnp.zeros((0, 3)), np.zeros(()), None, ()],
    "numbers": lambda: {7: [1, 2.5, True, (float("inf"), -0.0)], 3: 1e-320},
    "keys": lambda: jax.random.split(jax.random.key(3, impl="rbg"), 2),
    "widths": lambda: {
        name: np.asarray(RANDOM.integers(0, 2, (2, 3))).astype(name) for name in WIDTHS
    },
    "sixteen bits": lambda: jnp.asarray(RANDOM.normal(size=5), jnp.bfloat16),
    "order": lambda: np.asfortranarray(RANDOM.normal(size=(3, 4)))[::-1],
    "big end first": lambda: np.arange(4, dtype=">i4"),
    "not a number": lambda: jnp.array([jnp.nan, jnp.inf, -0.0, 1e-40]),
    "a fit": kernel_fit,
    "a state": run_state,
}


def same(one, two):
    """The same kinds of leaves, of the same bits."""
    assert jax.tree.structure(one) == jax.tree.structure(two)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        assert isinstance(a, jax.Array) == isinstance(b, jax.Array)
        if hasattr(a, "dtype") and jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            assert a.dtype == b.dtype
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        a, b = np.asarray(a), np.asarray(b)
        assert (a.shape, a.dtype.newbyteorder("=")) == (b.shape, b.dtype)
        assert np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
        assert a.astype(b.dtype).tobytes() == b.tobytes()


@pytest.mark.parametrize("name", TREES)
def test_every_bit_comes_back(name, tmp_path):
    tree, path = TREES[name](), tmp_path / "folder" / "a.safetensors"
    checkpoint.save(path, tree)
    same(tree, checkpoint.load(path))
    same(tree, checkpoint.load(path, like=tree))


def test_a_loaded_model_predicts_the_same(tmp_path):
    fit, x = kernel_fit(), RANDOM.normal(size=(50, 2))
    checkpoint.save(tmp_path / "a", fit.params)
    params = checkpoint.load(tmp_path / "a")
    expected = svm.kernel.scores(fit.params, x)
    np.testing.assert_array_equal(svm.kernel.scores(params, x), expected)


@pytest.mark.parametrize("tree", [Mine(jnp.ones(2), 1.0), Static(np.ones(2), max)])
def test_classes_of_users_need_like(tree, tmp_path):
    checkpoint.save(tmp_path / "a", tree)
    with pytest.raises(ValueError, match="^like must be given"):
        checkpoint.load(tmp_path / "a")
    same(tree, checkpoint.load(tmp_path / "a", like=tree))


def test_what_like_says_otherwise(tmp_path):
    tree = {"w": jnp.ones((2, 3)), "b": 1.0}
    checkpoint.save(tmp_path / "a", tree)
    for like, words in [
        ({"w": jnp.ones((2, 3))}, "another pytree"),
        ({"w": jnp.ones((2, 3)), "c": 1.0}, "another pytree"),
        ({"w": jnp.ones((3, 2)), "b": 1.0}, r"\(3, 2\) as w"),
        ({"w": jnp.ones((2, 3), int), "b": 1.0}, "int32 of shape"),
        ({"w": jnp.ones((2, 3)), "b": 1}, "has int as b"),
    ]:
        with pytest.raises(ValueError, match=f"^like .*{words}"):
            checkpoint.load(tmp_path / "a", like=like)
    params = feedforward.init(jax.random.key(0), sizes=(2, 2), activation="tanh")
    checkpoint.save(tmp_path / "b", params)
    other = dataclasses.replace(params, activation="relu")
    with pytest.raises(ValueError, match="^like has other static fields"):
        checkpoint.load(tmp_path / "b", like=other)


def test_what_cannot_be_saved(tmp_path):
    for tree, words in [
        ({"a": "text"}, "a is of type str"),
        ([object()], "0 is of type object"),
        ({"a.b": 1, "a": {"b": 2}}, "more than one leaf named 'a.b'"),
        (np.array([None]), "value is of type ndarray"),
        (np.ones(2, complex), "complex128"),
    ]:
        with pytest.raises(ValueError, match=f"^tree.*{words}"):
            checkpoint.save(tmp_path / "a", tree)
    with pytest.raises(ValueError, match="^tree: value is traced"):
        jax.jit(lambda a: checkpoint.save(tmp_path / "a", a))(1.0)
    with pytest.raises(ValueError, match="^keep must be"):
        checkpoint.save(tmp_path / "a", 1, keep=0)
    assert not [*tmp_path.iterdir()]


def test_what_cannot_be_loaded(tmp_path, x64):
    with pytest.raises(FileNotFoundError, match="^path: there is no file"):
        checkpoint.load(tmp_path / "a")
    checkpoint.save(tmp_path / "a", {"w": jnp.ones(2)})
    with jax.enable_x64(False), pytest.raises(ValueError, match="^path: w is of dtype"):
        checkpoint.load(tmp_path / "a")


# --- other programs ---------------------------------------------------------------


def test_the_format_is_that_of_safetensors(tmp_path):
    """Their package reads our files, and we theirs."""
    arrays = {n: a for n, a in TREES["widths"]().items() if n != "bfloat16"}
    checkpoint.save(tmp_path / "ours", arrays)
    theirs = safetensors.numpy.load_file(tmp_path / "ours")
    assert {*theirs} == {*arrays}
    for name, array in arrays.items():
        np.testing.assert_array_equal(theirs[name], array, strict=True)
    safetensors.numpy.save_file(arrays, tmp_path / "theirs")
    same(arrays, checkpoint.load(tmp_path / "theirs"))
    state = run_state()
    checkpoint.save(tmp_path / "state", state.params)
    names = [*safetensors.numpy.load_file(tmp_path / "state")]
    assert sorted(names) == ["theta.0", "theta.1"]


def test_weights_of_another_program_take_the_places_of_like(tmp_path):
    params = run_state().params
    theta = [np.asarray(t) + 1 for t in params.theta]
    safetensors.numpy.save_file(
        {"theta.0": theta[0], "theta.1": theta[1]}, tmp_path / "a"
    )
    found = checkpoint.load(tmp_path / "a", like=params)
    assert found.activation == "tanh"
    chex.assert_trees_all_equal(found.theta, tuple(theta))
    with pytest.raises(ValueError, match="^like is another pytree"):
        checkpoint.load(tmp_path / "a", like=params.theta)
    like = dataclasses.replace(params, theta=params.theta[::-1])
    with pytest.raises(ValueError, match="^like has float32 of shape"):
        checkpoint.load(tmp_path / "a", like=like)


def rewritten(path, change):
    """The file with another description, and the checksum that belongs to it."""
    from jaxml.data import checkpoint as file

    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    description = json.loads(header["__metadata__"]["jaxml"])
    change(description)
    header["__metadata__"] = {"sha256": file.UNKNOWN, "jaxml": json.dumps(description)}
    text = json.dumps(header).encode()
    parts = [len(text).to_bytes(8, "little"), text, data[8 + length :]]
    checksum = file._checksum(parts).encode()
    path.write_bytes(b"".join(parts).replace(file.UNKNOWN.encode(), checksum, 1))


@pytest.mark.parametrize(
    "node",
    [
        {"class": "subprocess:Popen", "fields": {"args": "true"}},
        {"class": "jaxml.data.checkpoint:Path", "fields": {}},
        {"class": "jaxml.data.datasets:digits", "fields": {}},
        {"name": "jaxml.data.checkpoint:os.system"},
        {"partial": [{"name": "builtins:eval"}, {"tuple": []}, {"dict": []}]},
    ],
)
def test_a_file_names_only_what_is_ours(node, tmp_path):
    path = tmp_path / "a"
    checkpoint.save(path, [1.0])
    rewritten(path, lambda description: description.update(tree=node))
    with pytest.raises(ValueError, match="^like must be given"):
        checkpoint.load(path)


# --- damage -------------------------------------------------------------------------


@pytest.mark.parametrize("count", cases([200, 10_000], quick=[200]))
def test_damage_is_found_out_and_the_file_before_is_loaded(count, tmp_path):
    """A byte changed, or the end cut off, wherever it is."""
    rng, path = np.random.default_rng(count), tmp_path / "a"
    tree = {"w": RANDOM.normal(size=(6, 7)).astype(np.float32), "n": 2}
    checkpoint.save(path, {**tree, "n": 1})
    checkpoint.save(path, tree)
    whole = path.read_bytes()
    for i in range(count):
        damaged = bytearray(whole)
        at = int(rng.integers(len(whole)))
        if i % 4 == 0:
            damaged = damaged[:at]
        else:
            damaged[at] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        with pytest.warns(UserWarning, match="is damaged"):
            assert checkpoint.load(path)["n"] == 1
    path.write_bytes(whole)
    with warnings.catch_warnings(action="error"):
        same(tree, checkpoint.load(path))


def test_nothing_whole_is_an_error(tmp_path):
    path = tmp_path / "a"
    checkpoint.save(path, 1.0, keep=1)
    for data in (b"", b"\xff" * 20, path.read_bytes() + b"more"):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="^path: .*is damaged"):
            checkpoint.load(path)


def test_the_last_files_are_kept(tmp_path):
    path = tmp_path / "a[1].safetensors"
    for i in range(5):
        checkpoint.save(path, i, keep=3)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        path.name,
        path.name + ".1",
        path.name + ".2",
    ]
    assert [checkpoint.load(f"{path}{end}") for end in ("", ".1", ".2")] == [4, 3, 2]
    path.unlink()
    with pytest.warns(UserWarning, match="is gone"):
        assert checkpoint.load(path) == 3


def test_a_save_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "a"
    checkpoint.save(path, 1)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(path, 2)
    monkeypatch.undo()
    assert checkpoint.load(path) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


# --- training runs ------------------------------------------------------------------


def network(m=12):
    rng = np.random.default_rng(0)
    data = rng.normal(size=(m, 3)), np.eye(2)[rng.integers(0, 2, m)]
    update = train.descend(feedforward.cost, solver=optax.adam, learning_rate=0.1)
    return update, run_state(), data


@pytest.mark.parametrize("every", [1, 2, 0.3])
def test_a_run_goes_on_bit_for_bit(every, tmp_path):
    """The state, the best, patience and the history, of a run stopped twice."""
    update, state, data = network()
    options = {"batch": 2, "validation": data, "score": feedforward.score}
    options |= {"patience": 20, "epochs": 5}
    expected = train.run(update, state, data, **options)

    def stop(state, record):
        if int(state.epoch) in (2, 3):
            raise RuntimeError

    found = None
    for _ in range(4):
        try:
            found = train.run(
                update,
                state,
                data,
                checkpoint=tmp_path,
                every=every,
                **options,
                after=stop,
            )
        except RuntimeError:
            continue
        break
    if found is None:
        found = train.run(
            update, state, data, checkpoint=tmp_path, every=every, **options
        )
    same(found, expected)
    before = (tmp_path / "run.safetensors").stat().st_mtime_ns
    again = train.run(update, state, data, checkpoint=tmp_path, **options)
    same(again, expected)
    assert (tmp_path / "run.safetensors").stat().st_mtime_ns == before
    longer = {**options, "epochs": 7}
    more = train.run(update, state, data, checkpoint=tmp_path, **longer)
    same(more, train.run(update, state, data, **longer))


def test_a_run_says_what_does_not_fit(tmp_path):
    update, state, data = network()
    go = partial(train.run, update, checkpoint=tmp_path)
    go(state, data, batch=2, epochs=2)
    other = state._replace(key=jax.random.key(5))
    fewer = jax.tree.map(lambda a: a[:10], data)
    wider = feedforward.init(jax.random.key(0), sizes=(3, 5, 2))
    wider = train.start(update, wider, state.key)
    for call, words in [
        (lambda: go(other, data, batch=2, epochs=2), "checkpoint .* another key"),
        (lambda: go(state, data, batch=3, epochs=2), "checkpoint .* batch = 2, not 3"),
        (lambda: go(state, fewer, batch=2, epochs=2), "checkpoint .* m = 12, not 10"),
        (lambda: go(wider, data, batch=2, epochs=2), "checkpoint .*theta.0"),
        (lambda: go(state, data, batch=2, epochs=1), "epochs must be at least the 2"),
        (lambda: go(state, data, batch=2, epochs=2, every=1.5), "every must be"),
        (lambda: go(state, data, batch=2, epochs=2, every=0), "every must"),
        (lambda: go(state, data, batch=2, epochs=2, every="a"), "every must"),
    ]:
        with pytest.raises(ValueError, match=f"^{words}"):
            call()


def test_an_error_while_saving_ends_the_run(tmp_path):
    update, state, data = network()
    (tmp_path / "file").touch()
    seen = []
    with pytest.raises(OSError, match="file"):
        train.run(
            update,
            state,
            data,
            batch=2,
            epochs=500,
            checkpoint=tmp_path / "file",
            after=lambda *_: seen.append(1),
        )
    assert len(seen) < 500


KILLED = """
import sys, jax, optax, numpy as np
from jaxml import feedforward, train
rng = np.random.default_rng(0)
data = rng.normal(size=(600, 3)), np.eye(2)[rng.integers(0, 2, 600)]
params = feedforward.init(jax.random.key(0), sizes=(3, 4, 2))
update = train.descend(feedforward.cost, solver=optax.adam, learning_rate=0.1)
state = train.start(update, params, jax.random.key(1))
print("begun", flush=True)
fit, state = train.run(
    update, state, data, batch=2, epochs=40, checkpoint=sys.argv[1], every=0.1,
)
np.savez(sys.argv[2], *jax.tree.leaves(state.params), fit.history["cost"])
"""


@pytest.mark.parametrize("kills", cases([3, 50], quick=[3]))
def test_a_run_that_is_killed_goes_on_bit_for_bit(kills, tmp_path):
    """kill -9 at random instants; the bits at the end are those of a run left alone."""
    rng, command = np.random.default_rng(0), [sys.executable, "-c", KILLED]
    subprocess.run([*command, tmp_path / "alone", tmp_path / "alone.npz"], check=True)
    done, result = 0, tmp_path / "killed.npz"
    for _ in range(kills):
        process = subprocess.Popen(
            [*command, tmp_path / "killed", result], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0, 1.5))
        process.send_signal(signal.SIGKILL)
        done += process.wait() == -signal.SIGKILL
        process.stdout.close()
    assert done > 0
    subprocess.run([*command, tmp_path / "killed", result], check=True)
    one, two = (np.load(tmp_path / name) for name in ("alone.npz", "killed.npz"))
    for name in one:
        assert one[name].tobytes() == two[name].tobytes()


def test_the_readme_saves_a_model():
    text = Path(__file__).resolve().parents[1].joinpath("README.md").read_text()
    assert "checkpoint.save(" in text
    assert "checkpoint.load(" in text


def test_a_fit_of_logistic_regression_is_a_file(tmp_path):
    x = RANDOM.normal(size=(30, 3))
    fit = logistic.fit(x, (x[:, 0] > 0).astype(int), l2=0.1)
    checkpoint.save(tmp_path / "fit", fit)
    same(fit, checkpoint.load(tmp_path / "fit"))

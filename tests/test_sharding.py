"""Sharded in, sharded out: eight devices, in a process of their own, answer as one."""

import subprocess
import sys

import pytest

from tests.depth import cases

HEAD = """
import re
import jax
jax.config.update("jax_num_cpu_devices", 8)
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxml import feedforward, kmeans, linear, logistic, mixture, ridge, svm, train

mesh = jax.make_mesh((8,), ("rows",), axis_types=(AxisType.Auto,))
split = NamedSharding(mesh, PartitionSpec("rows"))
rng = np.random.default_rng(0)
x, y = rng.normal(size=(44, 3)), np.eye(2)[rng.integers(0, 2, 44)]
w = np.ones(44)
padded = [np.concatenate([a, np.zeros((4, *a.shape[1:]))]) for a in (x, y, w)]
laid = [jax.device_put(jnp.asarray(a, jnp.float32), split) for a in padded]
params = feedforward.init(jax.random.key(0), sizes=(3, 4, 2))

def close(a, b):
    for u, v in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(u, v, rtol=1e-4, atol=1e-5)

"""

NETWORKS = """
options = {"l2": 0.1, "solver": optax.sgd, "learning_rate": 0.5, "max_iter": 20}
alone = feedforward.fit(params, x, y, weights=w, **options)
shared = feedforward.fit(params, laid[0], laid[1], weights=laid[2], **options)
close(alone, shared)
close(
    feedforward.backprop(params, x, y),
    feedforward.backprop(params, laid[0], laid[1], weights=laid[2]),
)
text = jax.jit(feedforward.cost).lower(params, *laid[:2], weights=laid[2]).compile()
assert "all-reduce" in text.as_text() and "all-gather" not in text.as_text()
assert feedforward.predict(params, laid[0]).sharding.is_equivalent_to(split, 1)

# Seeds laid over the devices train without talking to each other.
def start(key):
    update = train.descend(feedforward.cost, learning_rate=0.1)
    return train.start(update, feedforward.init(key, sizes=(3, 4, 2)), key)

states = jax.vmap(start)(jax.random.split(jax.random.key(1), 8))
update = train.descend(feedforward.cost, learning_rate=0.1)
epoch = jax.jit(jax.vmap(lambda s: train.epoch(update, s, (x, y), batch=5)[0]))
together = jax.device_put(states, split)
close(epoch(states).params, epoch(together).params)
text = epoch.lower(together).compile().as_text()
assert "all-reduce" not in text and "all-gather" not in text
"""

FITS = """
classes = y[:, 0].astype(int)
laid_classes = jax.device_put(jnp.asarray(np.append(classes, [0] * 4)), split)
for fit, options, target, laid_target in [
    (linear.fit, {"solver": "cholesky"}, y, laid[1]),
    (ridge.fit, {"l2": 0.1}, y, laid[1]),
    (logistic.fit, {"l2": 0.1}, classes, laid_classes),
    (svm.fit, {"l2": 0.1}, classes, laid_classes),
]:
    alone = fit(x, target, weights=w, **options).params
    shared = fit(laid[0], laid_target, weights=laid[2], **options).params
    close((alone.w, alone.b), (shared.w, shared.b))

start = kmeans.Params(x[:3])
shared = kmeans.fit(start, laid[0], weights=laid[2])
close(kmeans.fit(start, x, weights=w).params, shared.params)
start = mixture.Params(np.full(2, 0.5), x[:2], np.stack([np.eye(3)] * 2))
shared = mixture.fit(start, laid[0], weights=laid[2])
close(mixture.fit(start, x, weights=w).params, shared.params)
"""

# More rows than are taken at once: each device cuts blocks out of its own.
LARGE = """
from jaxml import _rows

def whole(program, *arrays):
    text = jax.jit(program).lower(*arrays).compile().as_text()
    gathered = re.findall(r"= .*?\\[([\\d,]*)\\][^=]* all-gather", text)
    assert not any(int(d) >= m for g in gathered for d in g.split(",") if d), gathered
    return text

for m in (8192, 40_000):
    x, y = rng.normal(size=(m, 3)), rng.normal(size=m)
    on_devices = lambda a: jax.device_put(jnp.asarray(a, jnp.float32), split)
    laid_x, laid_y = on_devices(x), on_devices(y)
    sums = lambda x, y: _rows.total(lambda x, y: (x.T @ x, y @ x), x, y)
    close(jax.jit(sums)(laid_x, laid_y), (x.T @ x, y @ x))
    assert "all-reduce" in whole(sums, laid_x, laid_y)
    squares = lambda x: _rows.each(lambda x: (x**2).sum(axis=1), x)
    close(jax.jit(squares)(laid_x), (x**2).sum(axis=1))
    whole(squares, laid_x)

q, r = _rows.qr(laid_x)
close((q @ r, q.T @ q), (x, np.eye(3)))
whole(_rows.qr, laid_x)
fit = lambda x, y: ridge.fit(x, y, l2=0.1)
close(fit(laid_x, laid_y).params, fit(x, y).params)
assert "all-reduce" in whole(fit, laid_x, laid_y)
whole(linear.fit, laid_x, laid_y)
whole(lambda x: kmeans.fit(kmeans.Params(jnp.eye(3)), x), laid_x)
"""


@pytest.mark.parametrize("program", cases([NETWORKS, LARGE, FITS], quick=[NETWORKS]))
def test_eight_devices_give_the_answer_of_one(program):
    program = HEAD + program + "print('the same')"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "the same\n"

# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Back-propagation
#
# Sections 3.2 and 3.3 of the course. The slides say "prove this" at each equation of
# back-propagation. Here each one is derived in a line or two, computed by hand in NumPy
# with the formula as it stands, and compared with automatic differentiation in double
# precision. The largest difference is printed, and the notebook stops if it is not
# small.
#
# 1. The network and its shapes
# 2. Prove this: the four equations, δ as a Lagrange multiplier, the sum over paths, the
#    sum over examples, the gradient check, its price, the errors in the slides
# 3. The learning slowdown
# 4. The network learns handwritten digits

# %%
# %matplotlib inline
import itertools
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from matplotlib.figure import Figure

import jaxml
from jaxml import datasets, feedforward, metrics, plot, scaling, train

jax.config.update("jax_enable_x64", True)  # double precision, up to section 3.3

BLUE, ORANGE, GREEN, PINK, SKY, RED = plot.COLOURS[:6]


def agree(name, found, expected, within=1e-13):
    """Print the largest difference between two sets of arrays; stop if it is large."""
    gaps = []
    for f, e in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.shape(f) == np.shape(e), f"{name}: {np.shape(f)} and {np.shape(e)}"
        gaps.append(np.max(np.abs(np.asarray(f) - np.asarray(e))))
    print(f"{name:<60} {np.max(gaps):.1e}")
    assert np.max(gaps) < within, name


# %% [markdown]
# ## 1. The network and its shapes
#
# Layer $l$ has $s_l$ units; $a^{(1)} = x$ is the input, $a^{(L)} = h_\Theta(x)$ the
# answer. Between two layers stands one matrix,
#
# $$z^{(l+1)} = \Theta^{(l)} \begin{bmatrix} 1 \\ a^{(l)} \end{bmatrix}, \qquad
#   a^{(l+1)} = g(z^{(l+1)}), \qquad
#   \Theta^{(l)} : [\, s_{l+1} \times (s_l + 1) \,].$$
#
# Column 0 of $\Theta^{(l)}$ is the bias: it meets the unit $a_0^{(l)} = 1$, which no
# arrow enters. The output layer gets no such unit. Our example has layers of 3, 5, 5
# and 4 units, and $g$ is the sigmoid, $g' = g\,(1 - g)$.
#
# In the code, as on paper, `Theta[l]`, `z[l]`, `a[l]` and `delta[l]` carry the number
# of their layer: `z` and `delta` begin at 2, since the input has neither.

# %%
sizes = (3, 5, 5, 4)
L = len(sizes)
rng = np.random.default_rng(3)
Theta = {l: rng.normal(size=(sizes[l], sizes[l - 1] + 1)) for l in range(1, L)}
theta = tuple(jnp.asarray(Theta[l]) for l in range(1, L))
params = feedforward.Params(theta)  # the same for jaxml: sigmoids, cross-entropy

for l in range(1, L):
    print(f"Theta^({l})  {Theta[l].shape}  {Theta[l].size:3d} numbers")
print(f"in all      {sum(t.size for t in Theta.values()):11d}")


# %%
def drawing(Theta, sizes):
    """Units, bias units (dashed) and weights: orange above zero, blue below."""
    figure = Figure((9, 4.2), layout="constrained")
    ax = figure.subplots()
    heights = {l: 0.5 * (s - 1) - np.arange(s) for l, s in enumerate(sizes, 1)}
    bias = 3.0
    for l, theta in Theta.items():
        rows, columns = theta.shape
        starts = np.append(bias, heights[l])
        for (i, j), weight in np.ndenumerate(theta):
            ends = [starts[j], heights[l + 1][i]]
            colour = RED if weight > 0 else BLUE
            ax.plot([l, l + 1], ends, color=colour, lw=1.6 * abs(weight), alpha=0.55)
        ax.text(
            l + 0.5, -2.75, rf"$\Theta^{{({l})}}$ [{rows} × {columns}]", ha="center"
        )
    for l, ys in heights.items():
        circle = {"s": 520, "color": "white", "zorder": 3}
        ax.scatter([l] * len(ys), ys, edgecolors="black", **circle)
        for i, y in enumerate(ys, 1):
            text = rf"$a_{{{i}}}^{{({l})}}$"
            ax.text(l, y, text, ha="center", va="center", fontsize=9, zorder=4)
        if l < len(sizes):
            ax.scatter(l, bias, edgecolors="0.5", linestyles="--", **circle)
            ax.text(l, bias, "1", ha="center", va="center", color="0.3", zorder=4)
    ax.set(xlim=(0.7, len(sizes) + 0.3), ylim=(-3.1, 3.5))
    ax.set_axis_off()
    return figure


drawing(Theta, sizes)


# %% [markdown]
# The forward pass, as the formula reads, for one example $x$. Beside it stands the cost
# of this example, $C$, in the two forms that the course uses:
#
# $$C_\text{quadratic} = \tfrac12 \sum_k (a_k^{(L)} - y_k)^2, \qquad
#   C_\text{cross-entropy} = -\sum_k \big[\, y_k \ln a_k^{(L)}
#   + (1 - y_k) \ln (1 - a_k^{(L)}) \,\big].$$


# %%
def g(z):
    return 1 / (1 + np.exp(-z))


def slope(z):
    return g(z) * (1 - g(z))


def bias_and(a):
    return np.append(1.0, a)


def forward(Theta, x):
    z, a = {}, {1: x}
    for l in Theta:
        z[l + 1] = Theta[l] @ bias_and(a[l])
        a[l + 1] = g(z[l + 1])
    return z, a


def loss(a, y, kind):
    if kind == "quadratic":
        return 0.5 * np.sum((a - y) ** 2)
    return -np.sum(y * np.log(a) + (1 - y) * np.log(1 - a))


KINDS = ("quadratic", "cross-entropy")
x = rng.normal(size=sizes[0])
y = np.array([0.0, 1.0, 0.0, 0.0])
z, a = forward(Theta, x)

layers = feedforward.forward(params, x[None])
agree("z and a: by hand, jaxml", (z, a), jax.tree.map(lambda v: v[0], layers))
for kind in KINDS:
    cost = feedforward.cost(replace(params, loss=kind), x[None], y[None])
    agree(f"C, {kind}: by hand, jaxml", loss(a[L], y, kind), cost)


# %% [markdown]
# ## 2. Prove this
#
# ### 2.1 δ is the answer of the cost to a push
#
# Push the input of the units of layer $l$ by a small $\varepsilon$, and let the layers
# behind it follow: $z^{(l)} = \Theta^{(l-1)}[1; a^{(l-1)}] + \varepsilon^{(l)}$. Define
#
# $$\delta_j^{(l)} = \frac{\partial C}{\partial \varepsilon_j^{(l)}}
#   \bigg|_{\varepsilon = 0} = \frac{\partial C}{\partial z_j^{(l)}}.$$
#
# The four equations then follow by the chain rule:
#
# $$\begin{aligned}
# \text{BP1}\quad & \delta^{(L)} = \nabla_a C \odot g'(z^{(L)}) &
#   & z^{(L)} \text{ acts through its own } a^{(L)} \text{ only} \\
# \text{BP2}\quad & \delta^{(l)} = (w^{(l)})^T \delta^{(l+1)} \odot g'(z^{(l)}) &
#   & \partial z_k^{(l+1)} / \partial z_j^{(l)} = w_{kj}^{(l)}\, g'(z_j^{(l)}) \\
# \text{BP3}\quad & \partial C / \partial \Theta_{i0}^{(l)} = \delta_i^{(l+1)} &
#   & \partial z_i^{(l+1)} / \partial \Theta_{i0}^{(l)} = 1 \\
# \text{BP4}\quad & \partial C/\partial \Theta_{ij}^{(l)} = a_j^{(l)} \delta_i^{(l+1)} &
#   & \partial z_i^{(l+1)} / \partial \Theta_{ij}^{(l)} = a_j^{(l)}
# \end{aligned}$$
#
# with $w^{(l)} = \Theta^{(l)}$ without its column 0. The recursion stops at
# $\delta^{(2)}$. For the two costs, BP1 reads
#
# $$\delta^{(L)}_\text{quadratic} = (a^{(L)} - y) \odot g'(z^{(L)}), \qquad
#   \delta^{(L)}_\text{cross-entropy} = a^{(L)} - y:$$
#
# the slope $g'$ of the sigmoid has gone from the second, as
# $\partial C / \partial a = (a - y) / [a (1 - a)]$ there.


# %%
def backward(Theta, z, a, y, kind):
    delta = {L: (a[L] - y) * slope(z[L]) if kind == "quadratic" else a[L] - y}  # BP1
    for l in range(L - 1, 1, -1):
        delta[l] = (Theta[l][:, 1:].T @ delta[l + 1]) * slope(z[l])  # BP2
    return delta


def gradient(Theta, a, delta):
    D = {l: np.empty_like(Theta[l]) for l in Theta}
    for l in Theta:
        for i in range(len(D[l])):
            D[l][i, 0] = delta[l + 1][i]  # BP3
            for j in range(1, D[l].shape[1]):
                D[l][i, j] = a[l][j - 1] * delta[l + 1][i]  # BP4
    return D


# %% [markdown]
# For autodiff we write the pushed network a second time, in `jax.numpy`. It knows
# nothing of δ.


# %%
def pushed(eps, theta, x, y, kind):
    a = x
    for matrix, push in zip(theta, eps):
        z = matrix @ jnp.append(1.0, a) + push
        a = 1 / (1 + jnp.exp(-z))
    if kind == "quadratic":
        return 0.5 * jnp.sum((a - y) ** 2)
    return -jnp.sum(y * jnp.log(a) + (1 - y) * jnp.log(1 - a))


still = tuple(jnp.zeros(s) for s in sizes[1:])  # eps = 0 in layers 2, 3, 4
by_autodiff = jax.jit(jax.grad(pushed, argnums=(0, 1, 2)), static_argnums=4)

for kind in KINDS:
    print(kind)
    delta = backward(Theta, z, a, y, kind)
    D = gradient(Theta, a, delta)
    d_eps, d_theta, d_x = by_autodiff(still, theta, x, y, kind)
    agree("  BP1  delta^(4)", delta[4], d_eps[2])
    agree("  BP2  delta^(3)", delta[3], d_eps[1])
    agree("  BP2  delta^(2)", delta[2], d_eps[0])
    for l in (1, 2, 3):
        agree(f"  BP3  dC/dTheta_i0^({l})", D[l][:, 0], d_theta[l - 1][:, 0])
        agree(f"  BP4  dC/dTheta_ij^({l})", D[l][:, 1:], d_theta[l - 1][:, 1:])
    one = replace(params, loss=kind), x[None], y[None]
    rows = tuple(d[0] for d in feedforward.deltas(*one))
    agree("  jaxml.feedforward.deltas", rows, d_eps)
    agree("  jaxml.feedforward.backprop", feedforward.backprop(*one), d_theta)

# %% [markdown]
# The picture of the definition: the cost as one unit of a layer is pushed, and the
# straight line of slope $\delta_j^{(l)}$ from the formula, which touches the curve at
# $\varepsilon = 0$. Shown are the two units of each layer with the largest δ. The
# earlier the layer, the weaker the answer; part 3 comes back to this.

# %%
delta = backward(Theta, z, a, y, "cross-entropy")
push = np.linspace(-3, 3, 121)
shown = {l: np.argsort(-np.abs(delta[l]))[:2] for l in (2, 3, 4)}  # the two largest


@jax.jit
def responses(pushes):
    return jax.vmap(lambda eps: pushed(eps, theta, x, y, "cross-entropy"))(pushes)


figure = Figure((10, 3.3), layout="constrained")
for ax, l in zip(figure.subplots(1, 3, sharey=True), (2, 3, 4)):
    for j, colour in zip(shown[l], (BLUE, ORANGE)):
        pushes = [np.zeros((len(push), s)) for s in sizes[1:]]
        pushes[l - 2][:, j] = push
        answer = responses(tuple(pushes)) - pushed(still, theta, x, y, "cross-entropy")
        ax.plot(push, answer, color=colour, label=rf"unit {j + 1}")
        tangent = delta[l][j] * push
        ax.plot(push, tangent, "--", color=colour, lw=1)
    ax.plot(0, 0, "ko", ms=4)
    ax.set(xlabel=rf"push $\varepsilon_j^{{({l})}}$", ylim=(-1.6, 1.6))
    ax.set_title(rf"layer {l}; dashed: slope $\delta_j^{{({l})}}$", fontsize=11)
    ax.legend(frameon=False, loc="upper center")
    ax.grid(alpha=0.3)
figure.axes[0].set_ylabel(r"$C(\varepsilon) - C(0)$")
figure

# %% [markdown]
# ### 2.2 δ is a Lagrange multiplier
#
# Treat every $z^{(l)}$ as a free coordinate and each layer as a constraint (LeCun
# 1988):
#
# $$\mathcal L(z, \lambda, \Theta) = C\big(g(z^{(L)}), y\big) + \sum_{l=2}^{L}
#   \lambda^{(l)} \cdot \Big( \Theta^{(l-1)} [1; a^{(l-1)}] - z^{(l)} \Big), \qquad
#   a^{(l)} = g(z^{(l)}).$$
#
# - $\partial \mathcal L / \partial \lambda = 0$ gives the constraints: the forward
#   pass.
# - $\partial \mathcal L / \partial z = 0$ gives
#   $\lambda^{(l)} = (w^{(l)})^T \lambda^{(l+1)} \odot g'(z^{(l)})$: the backward pass,
#   with $\lambda = \delta$.
# - $\partial \mathcal L / \partial \Theta^{(l)} = \lambda^{(l+1)} [1; a^{(l)}]^T$: the
#   gradient.
#
# As in mechanics, the multiplier is the force of the constraint: $\delta^{(l)}$ is
# what the cost changes by when the constraint gives way by $\varepsilon^{(l)}$.
#
# We do not put δ in. $\partial \mathcal L / \partial z$ is linear in λ, so autodiff
# gives the matrix and the right-hand side of $A \lambda = -b$, which we solve.


# %%
def lagrangian(z, multipliers, theta):
    """z and multipliers are (z^(2), z^(3), z^(4)) and (lambda^(2), …, lambda^(4))."""
    total, a = 0.0, x
    for matrix, z_next, multiplier in zip(theta, z, multipliers):
        total += multiplier @ (matrix @ jnp.append(1.0, a) - z_next)
        a = 1 / (1 + jnp.exp(-z_next))
    return total - jnp.sum(y * jnp.log(a) + (1 - y) * jnp.log(1 - a))


coordinates = tuple(z[l] for l in (2, 3, 4))
flat, split = ravel_pytree(still)  # 14 numbers, and back to 5 + 5 + 4


@jax.jit
def force(flat):
    """dL/dz, (14,), for given multipliers, (14,)."""
    found = jax.grad(lagrangian)(coordinates, split(flat), theta)
    return jnp.concatenate(found)


b = force(flat)  # at lambda = 0
A = jax.jacobian(force)(flat)
multipliers = split(jnp.linalg.solve(A, -b))
agree("lambda, solved for; delta, by hand", multipliers, tuple(delta.values())[::-1])

_, residual, d_theta = jax.jit(jax.grad(lagrangian, argnums=(0, 1, 2)))(
    coordinates, multipliers, theta
)
agree("dL/dlambda; zero", residual, still)
agree("dL/dTheta; D, by hand", d_theta, gradient(Theta, a, delta))

# %% [markdown]
# No derivative in this cell went through more than one layer, yet the gradient of the
# whole network came out. The matrix $A$ shows why that is cheap: layer $l$ feels only
# layer $l + 1$, so $A$ is triangular. **Back-propagation is back-substitution.**

# %%
A = np.asarray(A)
below = np.tril(A, -1)
assert np.array_equal(np.diag(A), -np.ones(14))
assert not below.any()
figure = Figure((4.6, 3.9), layout="constrained")
ax = figure.subplots()
drawn = ax.imshow(A, cmap="RdBu_r", vmin=-1, vmax=1)
for edge in (4.5, 9.5):
    ax.axhline(edge, color="0.4", lw=0.8)
    ax.axvline(edge, color="0.4", lw=0.8)
middles = (2, 7, 11.5)
ax.set_xticks(middles, [rf"$\lambda^{{({l})}}$" for l in (2, 3, 4)])
ax.set_yticks(middles, [rf"$z^{{({l})}}$" for l in (2, 3, 4)])
ax.tick_params(length=0)
ax.set_title(r"$A = \partial^2 \mathcal{L} / \partial z\, \partial\lambda$")
figure.colorbar(drawn, ax=ax)
figure

# %% [markdown]
# ### 2.3 $\partial J / \partial \Theta^{(2)}$
#
# $$\frac{\partial C}{\partial \Theta^{(2)}} = \frac{\partial C}{\partial z^{(3)}}
#   \frac{\partial z^{(3)}}{\partial \Theta^{(2)}} = \delta^{(3)} [1; a^{(2)}]^T, \qquad
#   \frac{\partial z_k^{(3)}}{\partial \Theta_{ij}^{(2)}} = [k = i]\,
#   [1; a^{(2)}]_j .$$
#
# The middle factor has three indices; the one that is summed over, $k$, is that of
# $z^{(3)}$. What remains is an outer product, $[s_3 \times (s_2 + 1)]$ like
# $\Theta^{(2)}$. We let autodiff make the tensor and sum it.

# %%
tensor = jax.jacobian(lambda theta: theta @ bias_and(a[2]))(Theta[2])  # (k, i, j)
expected = np.zeros((5, 5, 6))
for k in range(5):
    expected[k, k] = bias_and(a[2])
agree("dz_k/dTheta_ij: by hand, autodiff", expected, tensor)

outer = np.outer(delta[3], bias_and(a[2]))
d_theta = by_autodiff(still, theta, x, y, "cross-entropy")[1]
agree("delta^(3) [1; a^(2)]^T; sum over k", outer, np.einsum("k,kij", delta[3], tensor))
agree("delta^(3) [1; a^(2)]^T; autodiff", outer, d_theta[1])

# %% [markdown]
# ### 2.4 $\delta_j^{(2)} = \sum_k \Theta_{kj}^{(2)} \delta_k^{(3)} g'(z_j^{(2)})$
#
# With $z_k^{(3)} = \Theta_{k0}^{(2)} + \sum_{j \ge 1} \Theta_{kj}^{(2)} g(z_j^{(2)})$
# and the chain rule over all $z_k^{(3)}$ that $z_j^{(2)}$ acts on. The sum runs over
# the units *behind*, so over the first index of Θ: that is the transposed matrix.

# %%
by_loops = np.zeros(5)
for j in range(1, 6):
    for k in range(1, 6):
        by_loops[j - 1] += Theta[2][k - 1, j] * delta[3][k - 1] * slope(z[2][j - 1])

d_eps = by_autodiff(still, theta, x, y, "cross-entropy")[0]
agree("delta_j^(2): by loops, autodiff", by_loops, d_eps[0])

# %% [markdown]
# ### 2.5 The sum over paths
#
# A weight acts on the cost along every path from its unit to the outputs. For
# $\Theta_{jk}^{(1)}$, through unit $n$ of layer 3 and unit $m$ of layer 4,
#
# $$\frac{\partial C}{\partial \Theta_{jk}^{(1)}} = \sum_{m, n}
#   \frac{\partial C}{\partial a_m^{(4)}}
#   \frac{\partial a_m^{(4)}}{\partial a_n^{(3)}}
#   \frac{\partial a_n^{(3)}}{\partial a_j^{(2)}}
#   \frac{\partial a_j^{(2)}}{\partial \Theta_{jk}^{(1)}}, \qquad
#   \frac{\partial a_m^{(l+1)}}{\partial a_n^{(l)}} =
#   g'(z_m^{(l+1)})\, \Theta_{mn}^{(l)} .$$
#
# Back-propagation does this sum as a transfer matrix does a partition function: one
# layer at a time, from the end, so that no common part is computed twice.

# %%
dC_da = (a[4] - y) / (a[4] * (1 - a[4]))  # cross-entropy
by_paths = np.zeros_like(Theta[1])
paths = 0
for j, k in itertools.product(range(5), range(4)):
    first = slope(z[2][j]) * bias_and(x)[k]
    for m, n in itertools.product(range(4), range(5)):
        into_4 = slope(z[4][m]) * Theta[3][m, 1 + n]
        into_3 = slope(z[3][n]) * Theta[2][n, 1 + j]
        by_paths[j, k] += dC_da[m] * into_4 * into_3 * first
        paths += 1
assert paths == 20 * 4 * 5  # each of 20 weights, 4 outputs, 5 units before
agree("dC/dTheta^(1): over 400 paths, autodiff", by_paths, d_theta[0])

print("\nhidden layers of 30     paths per weight of Theta^(1)     products of BP2")
for hidden in range(1, 6):
    behind = [30] * (hidden - 1) + [10]
    steps = sum(p * q for p, q in zip([30, *behind], behind))
    print(f"{hidden:>13} {np.prod(behind):>29,} {steps:>24,}")

# %% [markdown]
# ### 2.6 Many examples, and the penalty
#
# The cost of $m$ examples is a mean, and the penalty leaves the biases alone:
#
# $$J = \frac1m \sum_{i=1}^m C_i + \frac{\lambda}{2m} \sum_l \sum_i \sum_{j \ge 1}
#   \big(\Theta_{ij}^{(l)}\big)^2 .$$
#
# So the course's algorithm is: set $\Delta^{(l)} := 0$; for each example add
# $\Delta^{(l)} := \Delta^{(l)} + \delta^{(l+1)} [1; a^{(l)}]^T$; then
#
# $$D_{ij}^{(l)} = \frac1m \Delta_{ij}^{(l)} + \frac{\lambda}{m} \Theta_{ij}^{(l)}
#   \;\; (j \ge 1), \qquad D_{i0}^{(l)} = \frac1m \Delta_{i0}^{(l)} .$$

# %%
m, lam = 7, 0.8
X = rng.normal(size=(m, 3))
Y = np.eye(4)[rng.integers(4, size=m)]


def accumulate(Theta, X, Y, kind):
    Delta = {l: np.zeros_like(Theta[l]) for l in Theta}
    for x_i, y_i in zip(X, Y):
        z, a = forward(Theta, x_i)
        delta = backward(Theta, z, a, y_i, kind)
        for l in Theta:
            Delta[l] += np.outer(delta[l + 1], bias_and(a[l]))
    return Delta


def course(Theta, X, Y, kind, lam):
    m = len(X)
    D = {l: Delta / m for l, Delta in accumulate(Theta, X, Y, kind).items()}
    for l in Theta:
        D[l][:, 1:] += lam / m * Theta[l][:, 1:]
    return D


@jax.jit
def of_jaxml(params, X, Y):
    l2 = lam / m  # jaxml's l2 is the course's lambda / m
    by_jaxml = feedforward.backprop(params, X, Y, l2=l2)
    J, automatic = jax.value_and_grad(feedforward.cost)(params, X, Y, l2=l2)
    return J, automatic, by_jaxml


for kind in KINDS:
    by_hand = tuple(course(Theta, X, Y, kind, lam).values())
    J, automatic, by_jaxml = of_jaxml(replace(params, loss=kind), X, Y)
    mean = np.mean([loss(forward(Theta, u)[1][L], v, kind) for u, v in zip(X, Y)])
    penalty = lam / (2 * m) * sum(np.sum(t[:, 1:] ** 2) for t in Theta.values())
    print(kind)
    agree("  J: by hand, jaxml", mean + penalty, J)
    agree("  D: by hand, autodiff of jaxml's cost", by_hand, automatic)
    agree("  D: jaxml's backprop, autodiff", by_jaxml, automatic)

# %% [markdown]
# ### 2.7 The gradient check
#
# Central differences know nothing of the chain rule:
#
# $$\frac{\partial J}{\partial \Theta} \approx \frac{J(\Theta + \epsilon)
#   - J(\Theta - \epsilon)}{2 \epsilon} .$$
#
# Their error is $\mathcal O(\epsilon^2)$ from the expansion and
# $\mathcal O(u / \epsilon)$ from rounding ($u$ is the precision of the machine). The
# sum is least at an $\epsilon$ that grows as $u^{1/3}$. With the course's
# $\epsilon = 10^{-4}$, double precision sees nine digits and single precision two; at
# its best, near $\epsilon = 10^{-2}$, it sees four. First the check by hand, then
# `feedforward.gradient_check` for many $\epsilon$.

# %%
passes = 0


def total_cost(Theta, X, Y, lam, kind="cross-entropy"):
    global passes
    passes += 1
    each = [loss(forward(Theta, u)[1][L], v, kind) for u, v in zip(X, Y)]
    penalty = sum(np.sum(t[:, 1:] ** 2) for t in Theta.values())
    return np.mean(each) + lam / (2 * len(X)) * penalty


def central(Theta, X, Y, lam, epsilon=1e-4):
    found = {}
    for l in Theta:
        found[l] = np.empty_like(Theta[l])
        for place in np.ndindex(Theta[l].shape):
            ends = []
            for sign in (1, -1):
                moved = {k: t.copy() for k, t in Theta.items()}
                moved[l][place] += sign * epsilon
                ends.append(total_cost(moved, X, Y, lam))
            found[l][place] = (ends[0] - ends[1]) / (2 * epsilon)
    return found


def relative(found, expected):
    found, expected = (ravel_pytree(d)[0] for d in (found, expected))
    return np.linalg.norm(found - expected) / np.linalg.norm(found + expected)


numerical = central(Theta, X, Y, lam)
D = course(Theta, X, Y, "cross-entropy", lam)
wrong = {l: D[l].copy() for l in D}
for l in wrong:
    wrong[l][:, 0] += lam / m * Theta[l][:, 0]  # the bias penalised, by mistake

print(f"|g - D| / |g + D|, the course's D          {relative(numerical, D):.1e}")
print(f"the same, with the biases penalised        {relative(numerical, wrong):.1e}")
assert relative(numerical, D) < 1e-9 < 1e-3 < relative(numerical, wrong)

# %%
epsilons = np.logspace(-9, 0, 37)
curves = {}
for name in ("float64", "float32"):
    low = jax.tree.map(lambda v, name=name: jnp.asarray(v, name), (params, X, Y))
    check = partial(feedforward.gradient_check, *low, l2=lam / m)
    of = jax.jit(jax.vmap(lambda epsilon, check=check: check(epsilon=epsilon)))
    curves[name] = np.asarray(of(epsilons.astype(name)))

figure = Figure((6.5, 4), layout="constrained")
ax = figure.subplots()
for (name, curve), style, u in zip(curves.items(), ("o-", "s--"), (2**-53, 2**-24)):
    drawn = ax.loglog(epsilons, curve, style, ms=4, label=name)[0]
    drawn.set_color(BLUE if name == "float64" else ORANGE)
    ax.axvline(u ** (1 / 3), color=drawn.get_color(), lw=1, ls=":")
middle = epsilons > 1e-3
ax.loglog(epsilons[middle], 0.003 * epsilons[middle] ** 2, "k-", lw=1)
ax.text(0.06, 2e-6, r"$\propto \epsilon^2$")
ax.set(xlabel=r"$\epsilon$", ylabel=r"$|g - D|\,/\,|g + D|$", ylim=(1e-12, 3))
title = r"central differences against back-propagation; dotted: $u^{1/3}$"
ax.set_title(title, fontsize=11)
ax.legend(frameon=False)
ax.grid(alpha=0.3)

at = {name: float(np.interp(-4, np.log10(epsilons), c)) for name, c in curves.items()}
print({name: f"{value:.0e} at epsilon = 1e-4" for name, value in at.items()})
assert at["float64"] < 1e-9 < 1e-3 < at["float32"]
figure

# %% [markdown]
# ### 2.8 What it costs
#
# Differences need two forward passes for each weight. Back-propagation needs one
# forward pass and one backward pass, whatever the number of weights. We count the
# passes that the check above has made, and then the products of numbers: a forward pass
# makes one per entry of Θ, the backward pass one more for BP4 and one for BP2 (biases
# and the first layer left out).

# %%
print(f"{passes} forward passes for {sum(t.size for t in Theta.values())} weights")
assert passes == 2 * 74


def products(sizes):
    pairs = list(itertools.pairwise(sizes))
    forward = sum(q * (p + 1) for p, q in pairs)
    backward = forward + sum(p * q for p, q in pairs[1:])
    return forward, backward


print("\nnetwork          weights   forward passes     products per example      ratio")
print("                           for differences   differences  backprop")
for each in ((3, 5, 5, 4), (64, 30, 10), (784, 30, 10), (784, 100, 10)):
    weights, behind = products(each)
    many, few = 2 * weights * weights, weights + behind
    name = "-".join(map(str, each))
    print(f"{name:<14} {weights:9,} {2 * weights:16,}", end=" ")
    print(f"{many:15.1e} {few:9,} {many / few:9,.0f}")
assert products((784, 30, 10))[0] == 23_860

# %% [markdown]
# ### 2.9 The errors in the slides
#
# | | the slide says | what is right |
# |---|---|---|
# | 1 | δ¹ = (Θ¹)ᵀδ² − x | no δ¹: stop at δ². The input's: ∂J/∂x = (Θ¹[:, 1:])ᵀδ² |
# | 2 | Θ³ is [4×5], "[4×6] with bias" | it is [4×6]; δ³ = (Θ³[:, 1:])ᵀδ⁴ ⊙ g'(z³) |
# | 3 | (a⁴ − y) ⊙ g' and a⁴ − y, both "quadratic" | the second is cross-entropy's |
# | 4 | J = 1/2m Σᵢ ‖aᵢ − yᵢ‖²: which i? | 1/2m Σᵢ Σₖ (aₖ − yₖ)², i the example |
# | 5 | ∂J/∂Θᵢⱼ = aⱼδᵢ | for one example; J needs the mean, 1/m, once |
# | 6 | Δ := Δˡ + δˡ⁺¹(aˡ)ᵀ | Δˡ := 0 first; then Δˡ := Δˡ + δˡ⁺¹ [1; aˡ]ᵀ |
# | 7 | ∂J/∂Θ² = δ³a² = a²δ³ | δ³ [1; a²]ᵀ: an outer product, in this order |
# | 8 | zₖ³ = Σⱼ Θₖⱼ g(zⱼ²), j from 0 | Θₖ₀ + Σⱼ Θₖⱼ g(zⱼ²), j from 1: a₀ = 1 is no g |
# | 9 | g' = g (1 − g) | the sigmoid's; tanh: 1 − a²; ReLU: 1 where z > 0 |
# | 12 | Θₖⱼˡ and wⱼₖˡ mixed | Nielsen's wˡ, bˡ lead *to* layer l: Θˡ = [bˡ⁺¹, wˡ⁺¹] |
#
# Some of these are slips of the pen. Others run without complaint and give wrong
# numbers; those are the ones to fear. The next cell computes both sides of six.


# %%
def differ(name, slide, right):
    """Print how far the slide's version is from autodiff; stop if it is not."""
    gap = np.max(np.abs(np.asarray(slide) - np.asarray(right)))
    print(f"{name:<60} {gap:.2f}")
    assert gap > 0.01, name


def fails(name, compute):
    """Print what NumPy says to a formula of which the shapes do not fit."""
    try:
        compute()
    except ValueError as error:
        print(f"{name:<60} {type(error).__name__}")
    else:
        raise AssertionError(f"{name}: should not work")


d_eps, d_theta, d_x = by_autodiff(still, theta, x, y, "cross-entropy")
delta = backward(Theta, z, a, y, "cross-entropy")

print("1: the shapes fit, by accident, if x has its 1")
slide = Theta[1].T @ delta[2] - bias_and(x)
differ("   slide's delta^(1) against dC/d[1; x]", slide[1:], d_x)
right = Theta[1][:, 1:].T @ delta[2]
agree("   Theta^(1)[:, 1:]^T delta^(2) against dC/dx", right, d_x)

print("2: with its bias column, Theta^(3) does not fit")
fails("   slide's delta^(3)", lambda: (Theta[3].T @ delta[4]) * slope(z[3]))
right = (Theta[3][:, 1:].T @ delta[4]) * slope(z[3])
agree("   without column 0 against dC/dz^(3)", right, d_eps[1])

print("3: each delta^(4) belongs to one cost")
forms = {"quadratic": (a[4] - y) * slope(z[4]), "cross-entropy": a[4] - y}
for form, kind in itertools.product(KINDS, KINDS):
    truth = by_autodiff(still, theta, x, y, kind)[0][2]
    compare = agree if form == kind else differ
    compare(f"   {form}'s delta, {kind} cost", forms[form], truth)

# %%
print("5: one example, all examples, and 1/m twice")
Delta = accumulate(Theta, X, Y, "cross-entropy")
of_J = jax.grad(feedforward.cost)(params, X, Y).theta
only_first = accumulate(Theta, X[:1], Y[:1], "cross-entropy")
differ("   a_j delta_i of example 1 against dJ/dTheta^(1)", only_first[1], of_J[0])
differ("   Delta^(1), not divided by m", Delta[1], of_J[0])
differ("   Delta^(1) / m^2: 1/m also inside delta", Delta[1] / m**2, of_J[0])
agree("   Delta^(1) / m", Delta[1] / m, of_J[0])

print("7: a product of two columns is none; in the other order it is transposed")
column = lambda v: v[:, None]
fails("   delta^(3) a^(2)", lambda: column(delta[3]) @ column(a[2]))
weights = d_theta[1][:, 1:]
slide = np.outer(a[2], delta[3])
differ("   a^(2) delta^(3)^T: [5 x 5] too, no complaint", slide, weights)
agree("   delta^(3) a^(2)^T", np.outer(delta[3], a[2]), weights)

print("8: g of the bias unit")
slide = Theta[2] @ g(np.append(1.0, z[2]))  # z_0 = 1, and g of it
differ("   sum over j >= 0 of Theta_kj g(z_j) against z^(3)", slide, layers.z[1][0])
right = Theta[2][:, 0] + Theta[2][:, 1:] @ g(z[2])
agree("   bias + sum over j >= 1", right, layers.z[1][0])

# %% [markdown]
# ## 3. The learning slowdown
#
# ### 3.1 One neuron that is badly wrong
#
# A single neuron, $a = g(w x + b)$, is to answer $y = 0$ to $x = 1$. By BP1, BP3 and
# BP4 its weight and its bias both learn at the speed
#
# $$\frac{\partial C}{\partial w} = \frac{\partial C}{\partial b} = \delta =
#   \begin{cases} (a - y)\, g'(z) & \text{quadratic} \\ a - y & \text{cross-entropy.}
#   \end{cases}$$
#
# Where the neuron is saturated, $a \approx 1$, the quadratic cost has next to no slope:
# the worse the answer, the slower it learns. The two starts $(w, b)$, the rates 0.15
# and 0.005 and the 300 steps are those of Nielsen (2015), chapter 3.


# %%
def neuron_runs(starts, loss, rate, steps):
    """The answer a before each step, (starts, steps + 1), on the way down."""
    x, y = jnp.ones((1, 1)), jnp.zeros((1, 1))

    def run(start):
        def step(params, _):
            slope = feedforward.backprop(params, x, y)
            after = jax.tree.map(lambda t, s: t - rate * s, params, slope)
            return after, feedforward.outputs(params, x)[0, 0]

        first = feedforward.Params((start,), loss=loss)
        return jax.lax.scan(step, first, length=steps + 1)[1]

    return np.asarray(jax.jit(jax.vmap(run))(starts))


starts = jnp.array([[[0.9, 0.6]], [[2.0, 2.0]]])  # Theta = [b, w]
slow = neuron_runs(starts, "quadratic", 0.15, 300)
steady = neuron_runs(starts, "cross-entropy", 0.005, 300)
fast = neuron_runs(starts, "cross-entropy", 0.15, 300)
print("answer at the start          ", slow[:, 0].round(2))
print("quadratic, after 300 steps   ", slow[:, -1].round(4))
print("cross-entropy, the same      ", steady[:, -1].round(4))
print("the same at rate 0.15        ", fast[:, -1].round(4))

names = ("(w, b) = (0.6, 0.9)", "(w, b) = (2, 2)")
figure = Figure((10.5, 3.5), layout="constrained")
axes = figure.subplots(1, 3)
titles = (r"quadratic, $\eta = 0.15$", r"cross-entropy, $\eta = 0.005$")
costs = (slow**2 / 2, -np.log(1 - steady))
for ax, runs, title, colour in zip(axes, costs, titles, (BLUE, ORANGE)):
    for run, name, style in zip(runs, names, ("-", "--")):
        ax.plot(run, style, color=colour, label=name)
    ax.set(xlabel="step", ylabel="cost $C$", ylim=(0, None))
    ax.set_title(title, fontsize=11)
axes[1].legend(frameon=False)
grid = np.linspace(0, 1, 101)
speed = grid**2 * (1 - grid)
axes[2].plot(grid, speed, color=BLUE, label=r"quadratic: $a \cdot g'(z)$")
axes[2].plot(grid, grid, color=ORANGE, label=r"cross-entropy: $a$")
for run in slow:
    axes[2].plot(run[0], run[0] ** 2 * (1 - run[0]), "o", color=BLUE)
    axes[2].plot(run[0], run[0], "o", color=ORANGE)
axes[2].set(xlabel=r"answer $a$", ylabel=r"speed $\partial C / \partial w$")
axes[2].set_title("speed; dots: the two starts", fontsize=11)
axes[2].legend(frameon=False)
for ax in axes:
    ax.grid(alpha=0.3)

assert slow[:, 0].round(2).tolist() == [0.82, 0.98]
assert round(float(slow[0, -1]), 4) == 0.0940
# From the bad start the quadratic cost falls fastest late, cross-entropy at once.
assert np.argmax(-np.diff(costs[0][1])) > 100
assert np.argmax(-np.diff(costs[1][1])) == 0
figure

# %% [markdown]
# How long is the plateau? For small steps, $z = w + b$ follows
# $\dot z = -2 \eta\, \delta(z)$, and the time from $z_0$ to the undecided answer
# $a = \tfrac12$ is an integral that can be done:
#
# $$\begin{aligned}
# 2 \eta\, T_\text{quadratic} &= \int_0^{z_0} \frac{dz}{g(z)^2\, [1 - g(z)]}
#   = e^{z_0} + 3 z_0 + \tfrac52 - 3 e^{-z_0} - \tfrac12 e^{-2 z_0}, \\
# 2 \eta\, T_\text{cross-entropy} &= \int_0^{z_0} \frac{dz}{g(z)}
#   = z_0 + 1 - e^{-z_0} .
# \end{aligned}$$
#
# The quadratic cost waits exponentially long, as for a thermal escape over a barrier
# $z_0$; cross-entropy goes down
# at constant speed.

# %%
barrier = np.arange(1.0, 7.5, 0.5)
up, down = np.exp(barrier), np.exp(-barrier)
theory = {
    "quadratic": up + 3 * barrier + 2.5 - 3 * down - 0.5 * down**2,
    "cross-entropy": barrier + 1 - down,
}
rate = 0.05
begin = jnp.stack([barrier / 2, barrier / 2], axis=1)[:, None]
figure = Figure((6, 3.8), layout="constrained")
ax = figure.subplots()
for kind, colour, marker in zip(KINDS, (BLUE, ORANGE), "os"):
    runs = neuron_runs(begin, kind, rate, 13_000)
    waits = np.argmax(runs <= 0.5, axis=1)
    assert (runs[:, -1] <= 0.5).all()
    expected = theory[kind] / (2 * rate)
    off = np.abs(waits - expected)
    print(f"{kind:<14} counted and integrated: {waits[-1]:5d} and {expected[-1]:7.1f}")
    assert (off < 1 + 0.01 * expected).all()
    ax.semilogy(barrier, expected, color=colour)
    ax.semilogy(barrier, waits, marker, color=colour, label=f"{kind}, counted")
ax.set(xlabel=r"start $z_0 = w + b$", ylabel=r"steps until $a = 1/2$")
ax.set_title(rf"lines: $T$ as above, $\eta = {rate}$", fontsize=11)
ax.legend(frameon=False)
ax.grid(alpha=0.3)
figure

# %% [markdown]
# ### 3.2 The error at the output controls the learning
#
# In a network the same factor $g'(z_k^{(L)})$ stands between the two costs, unit by
# unit. It is absent from three pairs of output and cost: sigmoid with cross-entropy,
# softmax with log-likelihood, linear with quadratic. In each of them the output inverts
# the link of the cost, and $\delta^{(L)} = a^{(L)} - y$ is the plain error.

# %%
quadratic = feedforward.deltas(replace(params, loss="quadratic"), X, Y)[-1]
entropy = feedforward.deltas(replace(params, loss="cross-entropy"), X, Y)[-1]
z_out = np.asarray(feedforward.forward(params, X).z[-1])
agree("delta_quadratic / delta_cross-entropy; g'(z)", quadratic / entropy, slope(z_out))

pairs = (
    ("sigmoid", "cross-entropy"),
    ("softmax", "log-likelihood"),
    ("linear", "quadratic"),
)
for output, kind in pairs:
    network = replace(params, output=output, loss=kind)
    error = feedforward.outputs(network, X) - Y

    def of_bias(b, network=network):
        *others, last = network.theta
        moved = replace(network, theta=(*others, last.at[:, 0].add(b)))
        return feedforward.cost(moved, X, Y)

    # BP3: the gradient for the last bias is the mean of delta^(L).
    automatic = jax.grad(of_bias)(jnp.zeros(4))
    agree(f"mean of a - y; autodiff: {output}, {kind}", error.mean(axis=0), automatic)

# %% [markdown]
# ### 3.3 Deep networks: the gradient vanishes on the way back
#
# Cross-entropy repairs the output layer only. Each step of BP2 multiplies by
# $g' \le \tfrac14$. How much is lost in a layer, a mean-field estimate tells: with
# weights $N(0, 1/s_l)$ and biases $N(0, 1)$, every $z$ is Gaussian of variance $q$, and
# $\| w^T \delta \odot g' \|^2$ is $\| \delta \|^2$ times the mean of $g'^2$,
#
# $$q = 1 + \langle g(z)^2 \rangle_q, \qquad
#   \frac{\|\delta^{(l)}\|}{\|\delta^{(l+1)}\|} \approx
#   \chi = \sqrt{\langle g'(z)^2 \rangle_q} \approx \tfrac15 .$$
#
# `feedforward.slowdown` gives $\|\tfrac1m \sum_i \delta_i^{(l)}\|$, the speed at which
# the biases of layer $l$ learn. Here it is on real digits, before any learning:
# networks with 1, 3 and 5 hidden layers of 30 units, in single precision, which is
# enough from here on. tanh and ReLU, whose $g'$ reaches 1, keep the gradient alive,
# without biases and with weights of the size that suits them (LeCun et al. 1998; He et
# al. 2015).

# %%
nodes, weights = np.polynomial.hermite_e.hermegauss(60)  # averages over N(0, 1)
weights /= weights.sum()
q = 1.0
for _ in range(50):
    q = 1 + weights @ g(np.sqrt(q) * nodes) ** 2
chi = np.sqrt(weights @ slope(np.sqrt(q) * nodes) ** 2)
print(f"q = {q:.3f}, chi = {chi:.3f}")

# %%
jax.config.update("jax_enable_x64", False)
digits = datasets.digits(scale=1 / 16)
x_digits, y_digits = jnp.asarray(digits.x), scaling.one_hot(digits.y, k=10)


rows = x_digits[:1000], y_digits[:1000]


def draw(spread, bias):
    """20 starts of the deepest network: weights N(0, spread / s), biases N(0, bias)."""
    matrices = []
    for n_in, n_out in itertools.pairwise((64, 30, 30, 30, 30, 30, 10)):
        matrix = rng.normal(size=(20, n_out, 1 + n_in))
        matrix[:, :, 0] *= bias**0.5
        matrix[:, :, 1:] *= (spread / n_in) ** 0.5
        matrices.append(jnp.asarray(matrix))
    return tuple(matrices)


def speeds(theta, activation):
    """The speeds of layers 2, …, L, (20, L - 1)."""
    networks = feedforward.Params(theta, activation)
    of_one = lambda network: feedforward.slowdown(network, *rows)
    return np.asarray(jax.vmap(of_one)(networks).gradient)


figure = Figure((10, 3.8), layout="constrained")
left, right = figure.subplots(1, 2, sharey=True)
deepest = draw(1, 1)  # as feedforward.init does with scheme="scaled"
for hidden, marker in zip((1, 3, 5), plot.MARKERS):
    middle = np.median(speeds((*deepest[:hidden], deepest[-1]), "sigmoid"), axis=0)
    layer = np.arange(2, hidden + 3)
    style = {"color": BLUE, "alpha": 0.2 + 0.16 * hidden, "ms": 5}
    left.semilogy(layer, middle, marker + "-", label=f"{hidden} hidden", **style)
    factors = " ".join(f"{f:.2f}" for f in middle[:-1] / middle[1:])
    print(f"{hidden} hidden: speed of a layer / of the next one: {factors}")
fall = middle[0] / middle[-2]
line = middle[-2] * np.array([chi**4, 1])
left.semilogy([2, 6], line, "k:", lw=2, label=r"$\chi$ a layer")
left.set_title("sigmoid, weights N(0, 1/s)", fontsize=11)
ways = {"sigmoid": deepest, "tanh": draw(1, 0), "relu": draw(2, 0)}
names = ("sigmoid, N(0, 1/s)", "tanh, N(0, 1/s)", "ReLU, N(0, 2/s)")
looks = zip(names, "Dos", (BLUE, ORANGE, GREEN))
for (activation, matrices), (name, marker, colour) in zip(ways.items(), looks):
    found = speeds(matrices, activation)
    low, middle, high = np.quantile(found, (0.16, 0.5, 0.84), axis=0)
    right.semilogy(layer, middle, marker + "-", ms=5, color=colour, label=name)
    right.fill_between(layer, low, high, color=colour, alpha=0.2, lw=0)
    print(f"{name:<18} first hidden layer / last: {middle[0] / middle[-2]:.4f}")
    if activation != "sigmoid":
        assert middle[0] / middle[-2] > 0.2
right.set_title("5 hidden layers; bands: 68 % of 20 starts", fontsize=11)
for ax in (left, right):
    ax.set_xlabel("layer $l$")
    ax.legend(frameon=False, fontsize=9, loc="lower right")
    ax.grid(alpha=0.3)
left.set_ylabel(r"speed $\| \overline{\delta^{(l)}} \|$ at the start")
assert 0.5 < fall / chi**4 < 2  # four steps back
figure

# %% [markdown]
# ## 4. The network learns handwritten digits
#
# 1797 digits of 8 × 8 pixels, written by 13 people, come with jaxml: 1437 to learn
# from, 360 held out, in proportion to their class. The network has one hidden layer of
# 30 sigmoids and learns with cross-entropy, mini-batches of 10, learning rate 0.5 and
# $\lambda / m = 10^{-4}$. `train.descend` makes one step from the cost and from our
# back-propagation; `train.run` runs the epochs and keeps the history.

# %%
rows = scaling.split(jax.random.key(0), digits.y, test_size=360)
learn = (x_digits[rows.train], y_digits[rows.train])
test = (x_digits[rows.test], y_digits[rows.test])
labels = digits.y[np.asarray(rows.test)]

update = train.descend(
    feedforward.cost,
    gradient=feedforward.backprop,
    solver=optax.sgd,
    learning_rate=0.5,
    l2=1e-4,
)


def start(key):
    init_key, run_key = jax.random.split(key)
    return train.start(update, feedforward.init(init_key, sizes=(64, 30, 10)), run_key)


keys = jax.random.split(jax.random.key(1), 10)
starts = jax.jit(partial(jax.lax.map, start))(keys)  # ten runs about to begin
begun = jax.tree.map(lambda v: v[0], starts)  # the first of them
options = {"batch": 10, "epochs": 20, "validation": test, "score": feedforward.score}
fit, state = train.run(update, begun, learn, **options)
print(jaxml.Status(int(fit.status)).sentence)
first = fit.history["cost"][0]
print(f"cost {first:.3f} in the first epoch, {fit.cost:.3f} in the last")
print(f"{fit.history['validation_score'][-1]:.1%} of unseen digits are read rightly")
assert fit.history["validation_score"][-1] > 0.94

# %%
predicted = feedforward.predict(fit.params, test[0])
matrix = metrics.confusion(labels, predicted, k=10)
figure = Figure((11, 4.8), layout="constrained")
left, right = figure.subplots(1, 2, width_ratios=(1, 1.05))
misread = 1 - np.asarray(fit.history["validation_score"])
curves = {"cost, training": fit.history["cost"], "share misread, held out": misread}
plot.history(curves, ax=left, log=True)
plot.confusion(matrix, ax=right)
assert np.trace(matrix) / 360 == fit.history["validation_score"][-1]
figure

# %% [markdown]
# What the 30 hidden units look for: a stroke here and none beside it. The rims at the
# left and the right are pale. Pixels that are empty in every example have
# $\partial C / \partial \Theta = 0$ by BP4, as $a_j = 0$; the penalty alone acts on
# their weights, which decay as $(1 - \alpha \lambda / m)^t$, the start never forgotten.

# %%
empty = np.flatnonzero(np.asarray(learn[0]).max(axis=0) == 0)
before, after = (p.theta[0][:, 1 + empty] for p in (begun.params, fit.params))
decay = (1 - 0.5 * 1e-4) ** (20 * 144)  # 20 epochs of 144 steps
print(f"{len(empty)} pixels are always empty; their weights by now, over the start:")
print(f"{np.mean(after / before):.4f}, and {decay:.4f} from the penalty alone")
assert len(empty) > 0
assert np.allclose(after, decay * before, rtol=1e-3, atol=0)

figure = Figure((8, 6.2), layout="constrained")
plot.first_layer(fit.params.theta[0], shape=(8, 8), ax=figure.subplots())
figure

# %% [markdown]
# And what the network misreads. Some of these a person would misread too.

# %%
figure = Figure((7, 3.6), layout="constrained")
ax = figure.subplots()
plot.misclassified(test[0], labels, predicted, shape=(8, 8), ax=ax, most=14)
figure

# %% [markdown]
# ### Ten networks at once
#
# A run is a pure function of its start, so ten runs are one `jax.vmap`: ten random
# networks, and ten orders of the examples. How much of the accuracy is luck?
#
# The ten networks can also answer together: by the mean of their outputs, or by a
# vote. For the mean there is a theorem. The cost is convex in the output, so by
# Jensen's inequality the cost of the mean is never above the mean of the costs.


# %%
@jax.jit
@jax.vmap
def ten(state):
    return train.fit(update, state, learn, **options)


@jax.jit
@jax.vmap
def answers(params):
    return feedforward.outputs(params, test[0])


fits = ten(starts)
scores = np.asarray(fits.history["validation_score"])  # (10, epochs)
outputs = np.asarray(answers(fits.params), float)  # (10, 360, 10)

votes = np.eye(10)[outputs.argmax(axis=2)].sum(axis=0)  # (360, 10)
# A tied vote is decided by the mean output, which is below one.
voted = np.mean((votes + outputs.mean(axis=0)).argmax(axis=1) == labels)
averaged = np.mean(outputs.mean(axis=0).argmax(axis=1) == labels)
final = scores[:, -1]


def mean_loss(a):
    return np.mean([loss(row, hot, "cross-entropy") for row, hot in zip(a, targets)])


targets = np.asarray(test[1], float)
alone = np.mean([mean_loss(a) for a in outputs])
together = mean_loss(outputs.mean(axis=0))
print(f"one network     {final.mean():.1%} ± {final.std(ddof=1):.1%} (10 runs)")
print(f"mean output     {averaged:.1%}")
print(f"vote            {voted:.1%}")
print(f"cost: mean of ten {alone:.3f}, of the mean output {together:.3f}")
assert final.mean() > 0.955
assert together < 0.95 * alone
assert min(averaged, voted) > final.mean() - 0.005
# The first of the ten is the run above, to rounding: same start, same answer.
assert abs(final[0] - float(fit.history["validation_score"][-1])) < 0.01

# %%
figure = Figure((10, 3.8), layout="constrained")
left, right = figure.subplots(1, 2, width_ratios=(1.4, 1))
epochs = np.arange(1, 21)
left.plot(epochs, 100 * scores.T, color="0.7", lw=0.8)
middle, spread = scores.mean(axis=0), scores.std(axis=0, ddof=1)
band = 100 * (middle - spread), 100 * (middle + spread)
left.fill_between(epochs, *band, color=BLUE, alpha=0.25, lw=0)
left.plot(epochs, 100 * middle, "o-", color=BLUE, ms=4)
left.set(xlabel="epoch", ylabel="held-out accuracy, %", ylim=(70, 100))
left.set_title("ten runs; mean ± standard deviation", fontsize=11)
left.set_xticks(range(2, 21, 2))
scatter = np.random.default_rng(0).uniform(-0.15, 0.15, 10)
right.plot(scatter, 100 * final, "o", color="0.6")
right.errorbar(0.35, 100 * final.mean(), 100 * final.std(ddof=1), fmt="o", color=BLUE)
right.plot(1, 100 * averaged, "s", color=ORANGE, ms=9)
right.plot(2, 100 * voted, "D", color=GREEN, ms=9)
error = 100 * np.sqrt(averaged * (1 - averaged) / 360)
right.errorbar(1, 100 * averaged, error, color=ORANGE)
right.set_xticks((0.1, 1, 2), ("one network", "mean output", "vote"))
right.set(xlim=(-0.4, 2.4))
right.set_title("last epoch", fontsize=11)
for ax in (left, right):
    ax.grid(alpha=0.3)
figure

# %% [markdown]
# Blue: mean and standard deviation of the ten. The bar at "mean output" is the standard
# error of a share of 360 digits, 0.8 points: the gain in accuracy is of that size, so
# it is no proof. The gain in cost is certain, by the theorem. To tell two good networks
# apart one needs more held-out digits, not more epochs.

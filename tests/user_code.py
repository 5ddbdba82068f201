"""A page as users write it; a line that a type checker shall refuse ends in `wrong`."""

from functools import partial

import jax
import numpy as np
import optax

import jaxml
from jaxml import feedforward, kmeans, linear, logistic, mixture, pca, svm, train
from jaxml.optimize import minimize
from jaxml.regression import kernels

x = np.random.default_rng(0).normal(size=(30, 4))
y = (x[:, 0] > 0).astype(int)
key = jax.random.key(0)

fit = jaxml.check(logistic.fit(x, y, l2=0.1))
p = logistic.probability(fit.params, x)
logistic.fit(x.tolist(), list(y), l2=np.float32(0.1), weights=np.ones(30))
many = jax.vmap(lambda l2: logistic.fit(x, y, l2=l2))(np.logspace(-3, 0, 5))
linear.fit(x, x[:, 0], solver="svd", intercept=False)
kmeans.fit(kmeans.init(key, x, k=3), x, max_iter=10)
mixture.fit(mixture.init(key, x, k=2, covariance="diagonal"), x)
pca.transform(pca.fit(x, k=2).params, x)
quadratic = partial(kernels.polynomial, degree=2)
machine = svm.kernel.fit(x, y, kernel=quadratic).params
svm.kernel.predict(machine, x)
net = feedforward.init(key, sizes=(4, 3, 2), activation="tanh", output="softmax")
net = feedforward.Params(net.theta, activation="relu")
targets = np.eye(2)[y]
feedforward.fit(net, x, targets, solver=optax.adam(1e-2), max_iter=5)
update = train.descend(feedforward.cost, solver=optax.adam, learning_rate=1e-2)
state = train.start(update, net, key)
train.fit(update, state, (x, targets), batch=10, epochs=2)
minimize(lambda w: w @ w, np.ones(3))

logistic.fit(x, y, l2="a")  # wrong
logistic.fit(x, y, l3=1.0)  # wrong
logistic.predict(fit, x)  # wrong
linear.predict(net, x)  # wrong
kmeans.init(0, x, k=3)  # wrong
kmeans.init(key, x, k=2.5)  # wrong
mixture.init(key, x, k=2, covariance="round")  # wrong
svm.kernel.predict(machine, x, kernel="rbf")  # wrong
feedforward.init(key, sizes=3)  # wrong
train.fit(update, state, (x, targets), batch="ten", epochs=2)  # wrong

"""Pools of classes, episodes of few-shot tasks, and the oracle that reads them."""

import numpy as np
import torch

from skcml.class_pool import ClassPool
from skcml.episodes import Episode
from skcml.problems.prototypes import PrototypeProblem

PROBLEM = PrototypeProblem()


def class_episode(seed=0, n_tasks=3, n_classes=3, n_rows=7, n_queries=6, d=4, noise=1.0):
    """Draw tasks with unequal shots, a padded row, unequal weights, and no order of classes."""
    rng = np.random.default_rng([seed, 6])
    means = rng.normal(size=(n_tasks, n_classes, d))

    def draw(n):
        codes = np.stack(
            [
                rng.permutation(
                    np.append(np.arange(n_classes), rng.integers(n_classes, size=n - n_classes))
                )
                for _ in range(n_tasks)
            ]
        )
        x = np.take_along_axis(means, codes[..., None], axis=1)
        return x + noise * rng.normal(size=x.shape), np.moveaxis(np.eye(n_classes)[codes], -1, 0)

    x_support, y_support = draw(n_rows)
    x_query, y_query = draw(n_queries)
    w_support, w_query = rng.uniform(0.5, 2, (n_tasks, n_rows)), np.ones((n_tasks, n_queries))
    w_support[0, -1] = 0
    w_query[-1] = rng.uniform(0.5, 2, n_queries)
    return Episode(x_support, y_support, w_support, x_query, y_query, w_query)


def gaussian_pool(n_classes=12, rows=(8, 12), d=3, spread=3.0, seed=0, group=None):
    """Draw classes that are round clouds of variance one."""
    rng = np.random.default_rng([seed, 7])
    codes = np.repeat(np.arange(n_classes), rng.integers(rows[0], rows[1] + 1, n_classes))
    X = spread * rng.normal(size=(n_classes, d))[codes] + rng.normal(size=(len(codes), d))
    return ClassPool.from_codes(X, np.ones(len(X)), codes, n_classes, group)


def numbered_pool(sizes, group=None):
    """Return classes whose rows hold the class and the number of the row within it."""
    codes = np.repeat(np.arange(len(sizes)), sizes)
    number = np.concatenate([np.arange(size) for size in sizes])
    X = np.column_stack([codes, number]).astype(float)
    return ClassPool.from_codes(X, 1.0 + codes, codes, len(sizes), group)


def prior_means(episode, t):
    """Return the prior means of a task for a scale of one, class by class, (C, d)."""
    means, count = [], []
    for y in episode.y_support[:, t]:
        a = episode.w_support[t] * y
        count.append(a.sum())
        mean = a @ episode.x_support[t]
        size = np.linalg.norm(mean)
        means.append(mean / size if size > 1e-12 else 0 * mean)
    count = np.array(count)
    log = np.log(count[count > 0])
    relative = [(k / np.exp(log.mean())) ** -0.3 if k > 0 else 1.0 for k in count]
    return np.array(relative)[:, None] * np.array(means)


def oracle(episode, t):
    """Return E and L of one task in torch, as functions of its W, (C, d), and of theta."""
    m = torch.tensor(prior_means(episode, t))
    x, xq = torch.tensor(episode.x_support[t]), torch.tensor(episode.x_query[t])
    y, yq = torch.tensor(episode.y_support[:, t]), torch.tensor(episode.y_query[:, t])
    a, aq = torch.tensor(episode.w_support[t]), torch.tensor(episode.w_query[t])

    def cross_entropy(W, x, y):
        return -(y.T * torch.log_softmax(x @ W.T, -1)).sum(-1)

    def energy(W, theta):
        pulled = ((W - torch.exp(theta[0]) * m) ** 2).sum()
        return (a * cross_entropy(W, x, y)).sum() + 0.5 * torch.exp(theta[1]) * pulled

    def loss(W, theta):
        return (aq * cross_entropy(W, xq, yq)).sum() / aq.sum()

    return energy, loss


def random_phi(batch, seed=0):
    return np.random.default_rng([seed, 8]).normal(size=batch.means.shape)

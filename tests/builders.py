"""Random problems, meta-parameters, episodes and tasks, and the oracles that read them."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import torch

from skcml.datasets import make_sinusoid_tasks
from skcml.episodes import Episode, TaskRows
from skcml.glm import GLM
from skcml.likelihoods import Bernoulli, Categorical, Poisson, SquaredError
from skcml.problems.glm_head import GLMHeadProblem
from skcml.problems.head import HeadProblem
from skcml.problems.meta_params import MetaParams
from skcml.problems.mlp import MLPBody
from skcml.problems.proximal import ProximalProblem
from skcml.problems.task_mlp import Dense, Modulated, TaskMLP
from skcml.rules.contrastive import Contrastive
from skcml.selection import LearnOptions, members
from skcml.selection.families import Numbers
from skcml.selection.head_model import HeadModel
from skcml.solvers.closed_form import closed_form
from skcml.solvers.newton import newton

BODIES = [(), (7,), (6, 5)]


def head_problem(
    hidden=(), n_outputs=1, meta_loss="log_predictive", n_inputs=3, activation="tanh", mask=None
):
    body = MLPBody(n_inputs, hidden, activation)
    if mask is None:
        mask = np.tril(np.ones((body.n_features, body.n_features), bool))
    return HeadProblem(body, mask, n_outputs, meta_loss)


LIKELIHOODS = {"bernoulli": Bernoulli(), "categorical": Categorical(), "poisson": Poisson()}


def glm_problem(kind, hidden=(), n_outputs=None, n_inputs=3):
    """Return a head with one of `LIKELIHOODS`; of several classes unless told otherwise."""
    n_outputs = n_outputs or {"bernoulli": 1, "categorical": 3, "poisson": 2}[kind]
    like = head_problem(hidden, n_outputs, n_inputs=n_inputs)
    mask, likelihood = like.factor_mask, LIKELIHOODS[kind]
    return GLMHeadProblem(like.body, mask, n_outputs, likelihood=likelihood)


def random_theta(problem, seed=0):
    rng = np.random.default_rng(seed)
    theta = MetaParams(problem.shapes)
    for name, shape in problem.body.shapes.items():
        theta[name][...] = rng.uniform(-0.8, 0.8, shape)
    theta["omega"][...] = rng.normal(size=theta["omega"].shape)
    theta["factor"][...] = rng.normal(size=theta["factor"].shape) * problem.factor_mask * 0.5
    if "log_noise" in theta:
        theta["log_noise"][...] = -0.5 + 0.1 * np.arange(problem.n_outputs)
    return theta


def random_episode(problem, seed=0, n_tasks=4, n_support=5, n_query=6):
    """Draw an episode whose first task has padded support, the last padded query, one weights."""
    rng = np.random.default_rng([seed, 1])
    n_inputs, n_outputs = problem.body.n_inputs, problem.n_outputs
    w_support, w_query = np.ones((n_tasks, n_support)), np.ones((n_tasks, n_query))
    w_support[0, -2:] = 0
    w_query[-1, -2:] = 0
    w_support[1 % n_tasks] *= rng.uniform(0.5, 2, n_support)
    w_query[1 % n_tasks] *= rng.uniform(0.5, 2, n_query)
    return Episode(
        rng.normal(size=(n_tasks, n_support, n_inputs)),
        rng.normal(size=(n_outputs, n_tasks, n_support)),
        w_support,
        rng.normal(size=(n_tasks, n_query, n_inputs)),
        rng.normal(size=(n_outputs, n_tasks, n_query)),
        w_query,
    )


def glm_episode(problem, seed=0, **options):
    """Draw an episode whose y is what the problem's likelihood is about."""
    episode = random_episode(problem, seed, **options)
    rng = np.random.default_rng([seed, 5])

    def draw(y):
        if isinstance(problem.likelihood, Poisson):
            return rng.poisson(1.5, y.shape).astype(float)
        if isinstance(problem.likelihood, Bernoulli):
            return rng.integers(2, size=y.shape).astype(float)
        return np.moveaxis(np.eye(len(y))[rng.integers(len(y), size=y.shape[1:])], -1, 0)

    y_support, y_query = draw(episode.y_support), draw(episode.y_query)
    return dataclasses.replace(episode, y_support=y_support, y_query=y_query)


COSTS = {"squared_error": SquaredError(), **LIKELIHOODS}
LAYERS = {"dense": Dense(), "modulated": Modulated()}


def proximal_problem(
    layer="dense",
    kind="squared_error",
    strength="synapse",
    hidden=(7, 5),
    n_outputs=2,
    n_inputs=3,
    activation="tanh",
):
    """Return networks of each task, with one of `LAYERS` and one of `COSTS`."""
    network = TaskMLP(n_inputs, n_outputs, tuple(hidden), activation, LAYERS[layer])
    return ProximalProblem(network, COSTS[kind], strength)


def proximal_theta(problem, seed=0, noise=0.1, log_strength=0.0):
    """Draw a start, and what learning may have made of it."""
    rng = np.random.default_rng([seed, 9])
    theta = MetaParams(problem.shapes)
    problem.initialize(theta, rng)
    theta.vector[...] += noise * rng.normal(size=theta.vector.shape)
    theta["log_strength"][...] += log_strength
    return theta


def proximal_episode(problem, seed=0, **options):
    """Draw an episode whose y is what the problem's cost is about."""
    network = problem.network
    like = SimpleNamespace(body=network, n_outputs=network.n_outputs, likelihood=problem.cost)
    draw = random_episode if isinstance(problem.cost, SquaredError) else glm_episode
    return draw(like, seed, **options)


def near_start(problem, theta, batch, seed=0, noise=0.1):
    """Draw a phi of each task near where its descent starts."""
    start = problem.start(theta, batch)
    return start + noise * np.random.default_rng([seed, 10]).normal(size=start.shape)


def map_episode(function, episode):
    """Apply a function of (name, array) to each array of an episode."""
    return Episode(
        **{
            field.name: function(field.name, getattr(episode, field.name))
            for field in dataclasses.fields(episode)
        }
    )


def take_tasks(episode, tasks):
    return map_episode(
        lambda name, a: a[:, tasks] if name.startswith("y_") else a[tasks],
        episode,
    )


def tensors(theta):
    """Return the arrays of ``theta`` as tensors that gather a gradient."""
    return {name: torch.tensor(array, requires_grad=True) for name, array in theta.items()}


def tensor_episode(episode):
    return map_episode(lambda name, array: torch.tensor(array), episode)


def gathered(problem, theta):
    """Return the gradients that tensors gathered as meta-parameters."""
    grad = MetaParams(problem.shapes)
    for name, tensor in theta.items():
        if tensor.grad is not None:
            grad[name][...] = tensor.grad.numpy()
    for name, learned in problem.learned.items():
        grad[name][...] *= learned
    return grad


def autograd_meta_gradient(problem, theta, episode, *, fixed_variance=False):
    """Differentiate the mean query loss of the solved tasks through the solve.

    Returns
    -------
    grad : MetaParams
    loss : float
    """
    theta = tensors(theta)
    batch = problem.embed(theta, tensor_episode(episode))
    phi = closed_form(problem, theta, batch).phi
    if fixed_variance:
        batch = dataclasses.replace(batch, v_query=batch.v_query.detach())
    loss = problem.loss(phi, theta, batch).mean()
    loss.backward()
    return gathered(problem, theta), loss.item()


def implicit_meta_gradient(problem, theta, episode, solver=newton):
    """Differentiate the mean query loss at a minimum, by the implicit function theorem.

    A Newton step from the minimum leaves it where it is, and has its derivative in theta.

    Returns
    -------
    grad : MetaParams
    loss : float
    """
    minimum = solver(problem, theta, problem.embed(theta, episode)).phi
    graph = tensors(theta)
    batch = problem.embed(graph, tensor_episode(episode))
    phi = torch.tensor(minimum, requires_grad=True)
    (slope,) = torch.autograd.grad(problem.energy(phi, graph, batch).sum(), phi, create_graph=True)
    moved = []
    for t in range(phi.shape[1]):

        def energy(part, t=t):
            return problem.energy(torch.cat([phi[:, :t], part, phi[:, t + 1 :]], 1), graph, batch)[
                t
            ]

        size = phi[:, t].numel()
        hessian = torch.autograd.functional.hessian(energy, phi[:, t : t + 1]).reshape(size, size)
        step = torch.linalg.solve(hessian.detach(), slope[:, t].reshape(-1))
        moved.append(phi[:, t].detach() - step.reshape(phi[:, t].shape))
    loss = problem.loss(torch.stack(moved, 1), graph, batch).mean()
    loss.backward()
    return gathered(problem, graph), loss.item()


def solved_loss(problem, theta, episode):
    batch = problem.embed(theta, episode)
    solver = closed_form if problem.is_quadratic else newton
    return problem.loss(solver(problem, theta, batch).phi, theta, batch).mean()


def relative_error(value, exact):
    return np.linalg.norm(np.subtract(value, exact)) / np.linalg.norm(exact)


def linear_tasks(seed=0, n_tasks=30, sizes=(4, 12), omega=(1.0, -2.0, 0.5), factor=None, noise=0.3):
    """Draw tasks from a linear mixed model; ``noise`` is a standard deviation."""
    rng = np.random.default_rng(seed)
    omega = np.asarray(omega)
    factor = 0.5 * np.eye(len(omega)) if factor is None else np.asarray(factor)
    codes = np.repeat(np.arange(n_tasks), rng.integers(sizes[0], sizes[1] + 1, n_tasks))
    X = rng.normal(size=(len(codes), len(omega) - 1))
    coefficients = omega + rng.normal(size=(n_tasks, factor.shape[1])) @ factor.T
    y = (np.column_stack([np.ones(len(X)), X]) * coefficients[codes]).sum(1)
    y = (y + noise * rng.normal(size=len(y)))[:, None]
    return TaskRows.from_codes(X, y, np.ones(len(y)), codes, n_tasks)


def counting_tasks(sizes, n_features=1):
    """Return tasks whose y numbers the rows, and whose first feature numbers the tasks."""
    sizes = np.asarray(sizes)
    codes = np.repeat(np.arange(len(sizes)), sizes)
    y = np.arange(len(codes), dtype=float)[:, None]
    X = np.repeat(codes[:, None].astype(float), n_features, axis=1)
    return TaskRows.from_codes(X, y, np.ones(len(y)), codes, len(sizes))


def sinusoid_tasks(n_tasks, n_samples=16, *, noise=0.2, seed=0):
    """Draw tasks that are sine waves of one frequency, with inputs and outputs of unit variance."""
    X, y, groups = make_sinusoid_tasks(
        n_tasks, n_samples, phase=(0, 2 * np.pi), noise=noise, random_state=seed
    )
    X, y = X / X.std(), y[:, None] / y.std()
    return TaskRows.from_codes(X, y, np.ones(len(y)), groups, n_tasks)


def learn_options(**changes):
    """Return quick settings of `learn`."""
    options = {
        "family": Numbers(),
        "model": HeadModel(),
        "hidden_layer_sizes": (8,),
        "activation": "tanh",
        "prior_covariance": "full",
        "rule": Contrastive(),
        "solver": closed_form,
        "meta_loss": "log_predictive",
        "n_shots": (1, 8),
        "n_queries": 20,
        "support": "random",
        "meta_batch_size": 64,
        "meta_max_iter": 40,
        "meta_learning_rate": 0.01,
        "early_stopping": True,
        "validation_fraction": 0.2,
        "n_iter_no_change": 200,
        "tol": 1e-4,
        "n_jobs": None,
    }
    return LearnOptions(**options | changes)


def fit_mixed(tasks, structure, *, reml=False):
    """Fit one linear mixed model to each output, as `learn` does."""
    return Numbers().fit_mixed(tasks, (structure,), reml=reml)[structure]


def linear_problem(n_inputs, n_outputs):
    """Return the linear mixed model as an inner problem."""
    return members.linear_problem(n_inputs, n_outputs, learn_options())


class Recorder:
    """Follows the descents of `learn`, and may end them."""

    def __init__(self, stop_at=None):
        self.mixed, self.steps, self.stop_at = [], [], stop_at

    def descent(self, mixed):
        self.mixed.append(mixed)
        self.steps.append([])
        return self.on_step

    def on_step(self, step, theta, history):
        self.steps[-1].append((step, theta.copy()))
        return step == self.stop_at


def draw_glm(kind, *, n_rows=5, n_columns=4, n_tasks=3, n_logits=3, seed=0, stack=()):
    """Draw problems, with weights and a padded row; optionally a stack that shares y."""
    rng = np.random.default_rng(seed)
    shape = (*stack, n_logits, n_tasks, n_rows)
    design, offset = rng.normal(size=(*shape, n_columns)), 0.3 * rng.normal(size=shape)
    if kind == "categorical":
        y = np.moveaxis(np.eye(n_logits)[rng.integers(n_logits, size=shape[-2:])], -1, 0)
    elif kind == "poisson":
        y = rng.poisson(1.5, size=shape[-3:]).astype(float)
    else:
        y = rng.integers(2, size=shape[-3:]).astype(float)
    weight = rng.uniform(0.5, 2.0, (n_tasks, n_rows))
    weight[0, -1] = 0.0
    likelihood = {"bernoulli": Bernoulli, "poisson": Poisson, "categorical": Categorical}[kind]()
    return GLM(likelihood, design, offset, y, weight)

"""The regressor: assemble, validate, translate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils._param_validation import StrOptions

from skcml.estimators._base import BaseCML
from skcml.estimators._inputs import (
    Rows,
    Targets,
    read_outputs,
    the_only_column,
)
from skcml.estimators._number_predictions import NumberPredictionsMixin
from skcml.likelihoods import Poisson
from skcml.selection.families import ClassesOrCounts, Family, Numbers


class CMLRegressor(NumberPredictionsMixin, RegressorMixin, BaseCML):
    r"""Few-shot regression: learn from many groups, adapt to a new one from a few rows.

    `meta_fit` learns once, over many groups (patients, shops, schools, sensors), what they share.
    `fit` then adapts to one group, or to many at once, from a handful of rows; `predict` predicts,
    with honest uncertainty. Without `meta_fit` it is ridge regression, one for each group.

    What is learned is a mixture of two models, weighed by groups that were held out
    (``meta_gain_`` has the figures): the linear mixed model, and the same model on features that a
    small network learns by the contrastive rule [1]_. In both, a group's coefficients have a
    learned mean, a learned covariance and learned noise,

    .. math:: y = z^\top (\omega + \Lambda u) + \varepsilon, \quad u \sim N(0, I),
              \quad \varepsilon \sim N(0, \sigma^2),

    with :math:`z = [1, x, h(x)]`, so that adapting is one small linear system. There is one
    grouping factor; nested or crossed ones enter as features.

    Parameters
    ----------
    model : {"head", "synaptic", "modulatory"}, default="head"
        Which parameters are adapted to a group. "head": the coefficients, as above. "synaptic":
        every weight of the network, each pulled to a consolidated value with a strength of its own
        (the complex synapse of [1]_, section 4.1). "modulatory": a gain and a shift of each hidden
        unit, and the head, on weights that all groups share (the dual system, section 4.2). The
        latter two find the most probable parameters; the scatter of numbers about the prediction is
        a power of the number of rows, learned from errors. The linear mixed model is in the mixture
        whatever the model.
    strength : {"synapse", "layer", "fixed"}, default="synapse"
        For what there is a learned strength of its own: for each of a group's parameters, for each
        block of them, or for none, so that all stay as they start. Not read by ``model="head"``.
    loss : {"squared_error", "poisson"}, default="squared_error"
        "poisson" is for counts: y is zero or more, its logarithmic mean is linear in the features,
        and predictions are means; there is one output. With unequal exposure, y is the count
        divided by the exposure and ``sample_weight`` the exposure. Counts may scatter more than
        Poisson counts do: `meta_fit` estimates their variance over their mean.
    hidden_layer_sizes : array-like of int, default=(32,)
        Sizes of the hidden layers whose last is added to the inputs as features. With ``()`` and
        ``meta_max_iter=0`` the model is the linear mixed model, fitted by REML.
    activation : {"tanh", "relu", "logistic", "sin"}, default="tanh"
        Activation of the hidden layers.
    body : torch.nn.Module, or a class or function that makes one, default=None
        A network of one's own in place of the hidden layers: it takes rows of X, of any rank,
        standardised unless ``standardize=False``, and its outputs, flattened, are the features. Its
        parameters as they are become the start. What a class or function draws for them, it draws
        by ``random_state``.
    transductive : bool, default=False
        Whether batch normalisation in ``body`` takes statistics of the rows that are predicted
        together; else of a task's support rows alone, and predictions do not depend on each other.
    device : str, default="cpu"
        Where torch runs ``body``. What is computed in double precision, as networks of groups are,
        stays on the CPU if the device has none.
    prior_covariance : {"full", "diagonal"}, default="full"
        Whether coefficients vary together. With more than 96 features, "full" means diagonal plus
        low rank, and diagonal in the mixed model.
    prior_strength : float, default=1.0
        Factor on the learned prior precision at `fit`: above one, groups are taken to be more
        alike. Without `meta_fit`, the ridge penalty. Can be grid-searched.
    solver : str, default="auto"
        How a task's parameters are found in `meta_fit`: ``"closed_form"`` where the energy is
        quadratic, ``"newton"`` where it is that of a generalised linear model, ``"gauss_newton"``
        for networks, or ``"lbfgs"``, ``"sgd"`` and ``"adam"`` for any. "auto" is the first that the
        energy has what it takes for. `fit` of a linear head takes the first two.
    inner_max_iter : int or None, default=None
        Steps of the solver at most; None is 10 for ``"gauss_newton"`` in `meta_fit` and 50 in
        `fit`, 50 for ``"lbfgs"`` in `meta_fit`, else 200. The first two solvers do not read it.
    inner_tol : float or None, default=None
        Norm of the energy's gradient at which a task is solved, relative to that at its start; None
        is 0.01 in `meta_fit` for ``"gauss_newton"`` and ``"lbfgs"``, else 1e-6.
    rule : str, default="contrastive"
        Rule of the meta-gradient. To compare with, there are ``"implicit"`` (conjugate gradients),
        ``"neumann"``, ``"t1t2"``, ``"unrolled"`` (through 10 steps of gradient descent),
        ``"truncated"`` (through the last 5 of them), ``"first_order"`` and ``"reptile"`` (of
        ``model="synaptic"``). All but the first and "t1t2" use automatic gradients, most second
        derivatives.
    scheme : {"auto", "tangent", "symmetric", "forward", "second_order"}, default="auto"
        Which contrast the rule takes; see `skcml.rules.contrastive`. "auto" is "tangent", which is
        exact here.
    beta : float or "auto", default="auto"
        Nudging strength of the finite schemes. "auto" is relative to the largest strength for
        which every nudged problem has a minimum.
    meta_loss : {"auto", "log_predictive", "loss"}, default="auto"
        What the network is judged by on query rows: negative log predictive density, which is
        "auto" for the squared error of ``model="head"`` alone, or the loss itself.
    n_shots : int, (int, int) or None, default=None
        Support rows of an episode, or their lowest and highest number; None draws from 1 to 8.
        Groups with fewer rows give all but one.
    n_queries : int or None, default=20
        Query rows of an episode at most; None takes all that are not support.
    support : {"random", "first"}, default="random"
        "first" takes the first rows of a group as support, so that its past predicts its future.
    meta_batch_size : int, default=64
        Groups in a meta-step.
    meta_max_iter : int, default=600
        Meta-steps of a descent at most, along which the learning rate falls to zero.
    meta_learning_rate : float, default=0.01
        Learning rate of Adam at the start.
    early_stopping : bool, default=True
        Whether to hold out groups: to stop early, to weigh the models and to shape intervals. There
        are 10 folds below 60 groups, 5 below 200, 3 below 2000 and a single split from there;
        each fold's network is kept. Without it, one network is learned for exactly
        ``meta_max_iter`` steps and predicts known groups alone; unseen ones get the mixed model.
    validation_fraction : float, default=0.2
        Share of groups held out in a single split.
    n_iter_no_change : int, default=200
        A descent ends when this many meta-steps have not improved the held-out loss by ``tol``.
    tol : float, default=1e-4
        Least improvement that counts.
    group_column : str, int or None, default=None
        Name or index of the column of X that holds the groups. It is not a feature. With it,
        every scorer, search and inspection tool of scikit-learn works on grouped data. ``groups``
        may still be passed, but must say the same.
    standardize : bool, default=True
        Whether to standardise features and outputs by the rows that `meta_fit` sees.
    compile : bool, default=False
        Whether torch compiles, in `meta_fit`, the steps of ``solver="adam"`` and ``"sgd"`` with
        ``model="synaptic"`` and ``"modulatory"``. That needs a C++ compiler, and takes some seconds
        to half a minute. Steps of a ``body`` of dense layers then take a third of the time or
        less, those of small built-in networks two thirds, others as long as without. Nothing else
        is compiled, and then there is a warning.
    n_jobs : int or None, default=None
        Processes over which `meta_fit` spreads its folds; None is one. With callbacks it is one.
    random_state : int, RandomState instance or None, default=None
        Decides folds, episodes and starts: the same seed gives the same bits.
    verbose : int, default=0
        Whether `meta_fit` prints its verdict.
    **body__params : object
        Arguments of ``body``, if that is a class or function: with ``body=Net, body__width=64`` it
        is ``Net(width=64)``. They are parameters as all others are, for `get_params`, `set_params`
        and searches, by the same names.

    Attributes
    ----------
    meta_params_ : dict
        Learned arrays, in standardised units: ``"mixed_model"``, ``"pooled"``, a ridge regression
        on all rows, and, unless they weigh nothing, ``"networks"`` and ``"pooled_networks"``, ridge
        regressions on the networks' features (omega, factor, noise and the networks' weights,
        stacked over networks). With another model than "head", ``"networks"`` has omega, the
        consolidated value of each parameter (layer by layer, the head last), ``"log_strength"``,
        ``"log_scatter"`` (the logarithm of the scatter without rows, and the power) and, if weights
        are shared, these: ``"weight_0"``, ... with biases in the first row. ``"weights"`` and
        ``"prior_weights"``, of shape (4, n_outputs), are the shares of pooled, pooled_networks,
        mixed_model and networks for groups with rows and without.
    meta_gain_ : dict of str to float, or None
        Root mean squared error on held-out groups, in standard deviations of y, of ``"pooled"``
        ridge, of ``"per_task"`` ridge, of the ``"mixed_model"`` (which is the pooled one where
        groups do not differ) and of the ``"final"`` mixture. Of counts half the mean deviance, for
        an exposure that makes their mean one. None where no group was held out.
    meta_history_ : list of dict
        One per descent: ``loss`` of each meta-step, ``validation_step``, ``validation_loss``,
        ``best_step``.
    n_meta_iter_ : int
        Meta-steps of the longest descent.
    n_features_in_ : int
        Columns of X, the group column included.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if all are strings.

    References
    ----------
    .. [1] Zucchet, Schug, von Oswald, Zhao, Sacramento, "A contrastive rule for meta-learning",
       NeurIPS 2022, https://arxiv.org/abs/2104.01677

    Examples
    --------
    >>> from skcml import CMLRegressor
    >>> from skcml.datasets import make_sinusoid_tasks
    >>> X, y, groups = make_sinusoid_tasks(60, 10, amplitude=(1, 2), random_state=0)
    >>> est = CMLRegressor(meta_max_iter=50, random_state=0).meta_fit(X, y, groups=groups)
    >>> X_new, y_new, _ = make_sinusoid_tasks(1, 20, amplitude=(1, 2), random_state=1)
    >>> est.fit(X_new[:5], y_new[:5]).predict(X_new[5:]).shape
    (15,)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseCML._parameter_constraints,
        "loss": [StrOptions({"squared_error", "poisson"})],
        "meta_loss": [StrOptions({"auto", "log_predictive", "loss"})],
    }

    def __init__(
        self,
        *,
        model: str = "head",
        strength: str = "synapse",
        loss: str = "squared_error",
        hidden_layer_sizes: Sequence[int] | int = (32,),
        activation: str = "tanh",
        body: Any = None,
        transductive: bool = False,
        device: str = "cpu",
        prior_covariance: str = "full",
        prior_strength: float = 1.0,
        solver: str = "auto",
        inner_max_iter: int | None = None,
        inner_tol: float | None = None,
        rule: str = "contrastive",
        scheme: str = "auto",
        beta: float | str = "auto",
        meta_loss: str = "auto",
        n_shots: int | tuple[int, int] | None = None,
        n_queries: int | None = 20,
        support: str = "random",
        meta_batch_size: int = 64,
        meta_max_iter: int = 600,
        meta_learning_rate: float = 0.01,
        early_stopping: bool = True,
        validation_fraction: float = 0.2,
        n_iter_no_change: int = 200,
        tol: float = 1e-4,
        group_column: str | int | None = None,
        standardize: bool = True,
        compile: bool = False,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
        **body__params: Any,
    ) -> None:
        self.model = model
        self.strength = strength
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.body = body
        self.transductive = transductive
        self.device = device
        self.prior_covariance = prior_covariance
        self.prior_strength = prior_strength
        self.solver = solver
        self.inner_max_iter = inner_max_iter
        self.inner_tol = inner_tol
        self.rule = rule
        self.scheme = scheme
        self.beta = beta
        self.meta_loss = meta_loss
        self.n_shots = n_shots
        self.n_queries = n_queries
        self.support = support
        self.meta_batch_size = meta_batch_size
        self.meta_max_iter = meta_max_iter
        self.meta_learning_rate = meta_learning_rate
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.group_column = group_column
        self.standardize = standardize
        self.compile = compile
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self._store_body_params(body__params)

    def _read_targets(
        self,
        y: Any,
        n_samples: int,
        weight: np.ndarray | None,
        known: Targets | None,
        suffix: str,
    ) -> tuple[np.ndarray, Targets]:
        y, is_flat = read_outputs(y, n_samples, self, suffix=suffix)
        if self.loss == "poisson" and not is_flat:
            y, is_flat = the_only_column(y, f"y{suffix}"), True
        if known is not None and y.shape[1] != known.n_outputs:
            raise ValueError(
                f"y{suffix} has {y.shape[1]} output(s), but meta_fit saw {known.n_outputs}; pass "
                f"y{suffix} with {known.n_outputs}."
            )
        if self.loss == "poisson" and (y < 0).any():
            raise ValueError(
                f"y{suffix} has negative values, the least of them {y.min():.4g}; with "
                "loss='poisson' it holds counts or rates, which are zero or more."
            )
        return y, Targets(y.shape[1], is_flat)

    def _family(self, rows: Rows) -> Family:
        return ClassesOrCounts(Poisson()) if self.loss == "poisson" else Numbers()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = self.loss != "poisson"
        tags.target_tags.positive_only = self.loss == "poisson"
        return tags

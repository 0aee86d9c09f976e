"""The classifier: assemble, validate, translate."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils._param_validation import Interval, StrOptions

from skcml.estimators._adapting import AdaptedTasks
from skcml.estimators._base import BaseCML
from skcml.estimators._class_predictions import ClassPredictionsMixin
from skcml.estimators._groups import learn_groups
from skcml.estimators._inputs import Rows, Targets
from skcml.estimators._labels import check_class_weight, class_factors, read_labels
from skcml.estimators._meta_state import MetaState
from skcml.estimators._pool import are_exchangeable, learn_pool
from skcml.likelihoods import Bernoulli, Categorical
from skcml.selection.families import ClassesOrCounts, Family


class CMLClassifier(ClassPredictionsMixin, ClassifierMixin, BaseCML):
    r"""Few-shot classification: learn from many groups or classes, adapt from a few rows.

    There are two settings, told apart by the data (``class_setting_`` says which):

    *Shared* classes are the same in every group: event or no event, for each patient. `meta_fit`
    learns from many groups what they share; `fit` adapts to a new group. The logits are those of a
    mixed-effects model on the inputs and on features that a small network learns by the contrastive
    rule [1]_,

    .. math:: \eta = z^\top (\omega + \Lambda u), \quad u \sim N(0, I), \quad z = [1, x, h(x)],

    and probabilities are integrated over what a group's rows leave open.

    *Exchangeable* classes are new at `fit`: alphabets, intents, products. `meta_fit` learns from a
    pool of other classes how far to trust an example; `fit` takes the rows of any number of new
    classes, one of each or many. The prior mean of a class's weights is its mean direction times a
    learned scale, so that one example gives the calibrated nearest class mean and many give
    logistic regression,

    .. math:: E = \sum_i \text{CE}(W z_i, y_i)
              + \tfrac{\lambda}{2} \sum_c \|w_c - s \, m_c\|^2 .

    Without `meta_fit` it is logistic regression, one for each group.

    Parameters
    ----------
    classes : {"auto", "shared", "exchangeable"}, default="auto"
        Whether classes are the same in every group. "auto" takes them to be exchangeable if
        `meta_fit` is called without groups, or if no label occurs in two groups.
    class_weight : dict, "balanced" or None, default=None
        Factor on the weight of each class's rows, one for those not named. "balanced" gives every
        class the same total, over the rows of `meta_fit` for shared classes, of `fit` for others.
        Exchangeable classes have no intercept that could learn such a factor: a dict multiplies
        their odds instead, and may be set between `meta_fit` and `fit`.
    model : {"head", "synaptic", "modulatory"}, default="head"
        Which parameters are adapted to a group. "head": the coefficients, as above. "synaptic":
        every weight of the network, each pulled to a consolidated value with a strength of its own
        (the complex synapse of [1]_, section 4.1). "modulatory": a gain and a shift of each hidden
        unit, and the head, on weights that all groups share (the dual system, section 4.2). The
        latter two predict with the most probable parameters. The mixed model is in the mixture
        whatever the model. Exchangeable classes have a head alone.
    strength : {"synapse", "layer", "fixed"}, default="synapse"
        For what there is a learned strength of its own: for each of a group's parameters, for each
        block of them, or for none, so that all stay as they start. Not read by ``model="head"``.
    hidden_layer_sizes : array-like of int, default=(32,)
        Sizes of the hidden layers whose last is added to the inputs as features. With ``()`` and
        ``meta_max_iter=0`` the model is the generalised linear mixed model. Exchangeable classes
        have no hidden layer.
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
        Whether coefficients vary together between groups. With more than 96 features, "full" means
        diagonal plus low rank, and diagonal in the mixed model.
    prior_strength : float, default=1.0
        Factor on the learned prior precision at `fit`: above one, tasks are taken to be more alike.
        Without `meta_fit`, the penalty. Can be grid-searched.
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
        Which contrast the rule takes; see `skcml.rules.contrastive`. "auto" is "tangent".
    beta : float or "auto", default="auto"
        Nudging strength of the finite schemes. "auto" is relative to the largest strength for
        which every nudged problem has a minimum.
    n_shots : int, (int, int) or None, default=None
        Support rows of an episode, or their lowest and highest number, from each group or of each
        exchangeable class; None draws from 1 to 8 or from 1 to 5. Where there are fewer rows, all
        but one are support.
    n_queries : int, "auto" or None, default="auto"
        Query rows of an episode at most, from each group or of each exchangeable class; "auto" is
        20 or 5, None takes all that are not support.
    n_ways : int, (int, int) or None, default=None
        Exchangeable classes in an episode, or their lowest and highest number; None draws from 5,
        10 and 20, as far as the pool goes. At `fit` there may be any number.
    support : {"random", "first"}, default="random"
        "first" takes the first rows as support, so that the past predicts the future.
    meta_batch_size : int, default=64
        Groups in a meta-step, or tasks of five exchangeable classes; of more classes fewer tasks.
    meta_max_iter : int or "auto", default="auto"
        Meta-steps of a descent at most, along which the learning rate falls to zero; "auto" is 600,
        or 120 with exchangeable classes, for which two numbers are learned.
    meta_learning_rate : float, default=0.01
        Learning rate of Adam at the start. The two numbers move at ten times this rate.
    early_stopping : bool, default=True
        Whether to hold out groups or classes: to stop early, to weigh the models, and to choose how
        the columns of exchangeable classes are normalised. Without it there is no ``meta_gain_``.
    validation_fraction : float, default=0.2
        Share held out in a single split.
    n_iter_no_change : int, default=200
        A descent ends when this many meta-steps have not improved the held-out loss by ``tol``.
    tol : float, default=1e-4
        Least improvement that counts.
    group_column : str, int or None, default=None
        Name or index of the column of X that holds the groups. It is not a feature. With it,
        every scorer, search and inspection tool of scikit-learn works on grouped data. ``groups``
        may still be passed, but must say the same.
    standardize : bool, default=True
        Whether to standardise features by the rows that `meta_fit` sees. With exchangeable classes,
        rows are centred and made of unit length; held-out classes say whether columns are scaled.
        False leaves rows as they are.
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
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted: those of `meta_fit` if they are shared, else those of `fit`.
    class_setting_ : {"shared", "exchangeable"}
        Which of the two settings `meta_fit` found.
    meta_params_ : dict
        Learned arrays. With shared classes as in `CMLRegressor`, one output for two classes and one
        for each of several, which have ``"weights"`` and ``"prior_weights"`` in common; with
        exchangeable ones ``"prototype_scale"``, ``"prior_precision"`` and how rows are normalised:
        ``"center"``, ``"scale"``, ``"lift"`` (whether a constant is appended) and ``"unit"``
        (length).
    meta_gain_ : dict of str to float, or None
        Log loss on what was held out. On groups, with shared classes, of ``"pooled"`` and
        ``"per_task"`` logistic regression, of the ``"mixed_model"`` (which is the pooled one where
        groups do not differ) and of the ``"final"`` mixture; on classes, with exchangeable ones, of
        the cosine to the ``"class_mean"``, of ``"per_task"`` logistic regression and of the
        ``"final"`` model. None where nothing was held out.
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
    >>> import numpy as np
    >>> from skcml import CMLClassifier
    >>> rng = np.random.default_rng(0)
    >>> centers = rng.normal(size=(40, 8))  # forty products, ten pictures of each
    >>> y = np.repeat(np.arange(40), 10)
    >>> X = centers[y] + 0.5 * rng.normal(size=(400, 8))
    >>> old = y < 30
    >>> est = CMLClassifier(n_ways=5, meta_max_iter=10, random_state=0)
    >>> est = est.meta_fit(X[old], y[old])
    >>> est.class_setting_
    'exchangeable'
    >>> new = np.flatnonzero(~old)
    >>> est.fit(X[new[::10]], y[new[::10]]).predict_proba(X[new]).shape  # one picture of each
    (100, 10)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseCML._parameter_constraints,
        "classes": [StrOptions({"auto", "shared", "exchangeable"})],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "n_queries": [StrOptions({"auto"}), *BaseCML._parameter_constraints["n_queries"]],
        "n_ways": [Interval(Integral, 2, None, closed="left"), tuple, list, None],
        "meta_max_iter": [StrOptions({"auto"}), *BaseCML._parameter_constraints["meta_max_iter"]],
    }

    def __init__(
        self,
        *,
        classes: str = "auto",
        class_weight: Any = None,
        model: str = "head",
        strength: str = "synapse",
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
        n_shots: int | tuple[int, int] | None = None,
        n_queries: int | str | None = "auto",
        n_ways: int | tuple[int, int] | None = None,
        support: str = "random",
        meta_batch_size: int = 64,
        meta_max_iter: int | str = "auto",
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
        self.classes = classes
        self.class_weight = class_weight
        self.model = model
        self.strength = strength
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
        self.n_shots = n_shots
        self.n_queries = n_queries
        self.n_ways = n_ways
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

    def _learn(self, rows: Rows, validation: Rows | None, data: dict[str, Any]) -> MetaState:
        if are_exchangeable(self.classes, rows):
            return learn_pool(self, rows, validation, data)
        check_class_weight(self.class_weight, rows.targets)
        return learn_groups(self, self._family(rows), rows, validation, data)

    def _adapt_without_meta_fit(self, rows: Rows) -> AdaptedTasks:
        check_class_weight(self.class_weight, rows.targets)
        return super()._adapt_without_meta_fit(rows)

    def _read_targets(
        self,
        y: Any,
        n_samples: int,
        weight: np.ndarray | None,
        known: Targets | None,
        suffix: str,
    ) -> tuple[np.ndarray, Targets]:
        labels = None if known is None else known.classes
        codes, labels = read_labels(y, n_samples, labels, suffix=suffix)
        if known is not None:
            return codes[:, None], known
        if len(labels) < 2:
            raise ValueError(
                f"y{suffix} has one class, {labels.tolist()[0]!r}; {type(self).__name__} needs "
                "rows of at least two classes."
            )
        factors = class_factors(self.class_weight, labels, codes, weight)
        is_balanced = isinstance(self.class_weight, str)
        return codes[:, None], Targets(1, True, labels, factors, is_balanced)

    def _targets_in_common(self, rows: Rows) -> Targets | None:
        return None if are_exchangeable(self.classes, rows) else rows.targets

    def _family(self, rows: Rows) -> Family:
        labels = rows.targets.classes
        assert labels is not None
        return ClassesOrCounts(Bernoulli() if len(labels) == 2 else Categorical())

"""Learning from groups: what is asked of the data, and what is passed on."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skcml.estimators._groups import learn_groups
from skcml.estimators._inputs import Rows, Targets
from skcml.estimators._meta_state import GroupsState
from skcml.likelihoods import Bernoulli, Categorical, Poisson
from skcml.selection.families import ClassesOrCounts, Numbers
from tests.estimators import grouped, labelled, quick, quick_classifier

X, Y, GROUPS = grouped()
SHARED = labelled(n_classes=3)
FAST = {"hidden_layer_sizes": (), "meta_max_iter": 0, "early_stopping": False}


def rows(x=X, y=Y, groups=GROUPS, weight=None, classes=None):
    if classes is None:
        return Rows(x, y[:, None], weight, groups, Targets(1, True))
    labels, codes = np.unique(y, return_inverse=True)
    return Rows(x, codes[:, None], weight, groups, Targets(1, True, labels))


def learn(given, family=None, validation=None, **params):
    classes = given.targets.classes is not None
    estimator = (quick_classifier if classes else quick)(**FAST | params)
    data = {"X": given.X, "y": given.y, "metadata": None}
    return learn_groups(estimator, family or Numbers(), given, validation, data)


def test_a_state_says_what_it_was_learned_from():
    state = learn(rows())
    assert isinstance(state, GroupsState)
    assert (state.n_groups, state.n_rows, state.metric) == (12, 72, "RMSE")
    assert state.params["hidden_layer_sizes"] == ()
    assert "random_state" not in state.params


@pytest.mark.parametrize(
    ("likelihood", "metric", "n_logits"),
    [(Bernoulli(), "log loss", 1), (Categorical(), "log loss", 3), (Poisson(), "half deviance", 1)],
)
def test_classes_and_counts_are_learned_with_their_likelihood(likelihood, metric, n_logits):
    if isinstance(likelihood, Poisson):
        given = rows(y=np.round(np.exp(0.3 * Y)))
    else:
        x, y, groups = labelled() if n_logits == 1 else SHARED
        given = rows(x, y, groups, classes=True)
    params = {} if isinstance(likelihood, Poisson) else {"prior_covariance": "diagonal"}
    state = learn(given, ClassesOrCounts(likelihood), **params)
    assert state.metric == metric
    assert len(state.learned.mixed) == n_logits
    # Classes and counts keep their unit; features have one of their own.
    assert_array_equal(state.scaling.y_scale, np.ones(n_logits))
    assert_array_equal(state.scaling.y_mean, np.zeros(n_logits))
    assert_allclose(state.scaling.x_mean, given.X.mean(0))


def test_groups_whose_rows_weigh_nothing_do_not_count():
    weight = (GROUPS > 2).astype(float)
    state = learn(rows(weight=weight))
    assert state.n_groups == 9
    without = learn(rows(X[18:], Y[18:], GROUPS[18:]))
    found, expected = (s.learned.members["mixed_model"].omega for s in (state, without))
    assert_allclose(found, expected, rtol=1e-8)


def test_groups_are_needed():
    with pytest.raises(ValueError, match=r"meta_fit needs the group of each of the n_samples = 72"):
        learn(rows(groups=None))
    with pytest.raises(ValueError, match="at least two groups"):
        learn(rows(groups=np.zeros(72)))
    with pytest.raises(ValueError, match="Each of the 72 groups has one row"):
        learn(rows(groups=np.arange(72)))


def test_groups_to_judge_by_must_be_usable():
    with pytest.raises(ValueError, match="X_val was passed without groups_val"):
        learn(rows(), validation=rows(groups=None))
    with pytest.raises(ValueError, match="Every group of groups_val has one row"):
        learn(rows(), validation=rows(groups=np.arange(72)))
    with pytest.raises(ValueError, match="groups_val has 3 labels for 72 rows"):
        learn(rows(), validation=rows(groups=[1, 2, 3]))
    state = learn(rows(), validation=rows(*grouped(seed=2)))
    assert set(state.learned.gain) == {"pooled", "per_task", "mixed_model", "final"}


def test_a_failure_of_linear_algebra_says_what_to_do(monkeypatch):
    def fail(*args):
        raise np.linalg.LinAlgError("Singular matrix")

    monkeypatch.setattr("skcml.estimators._groups.learn", fail)
    with pytest.raises(ValueError, match=r"differ too much in scale .*Singular.*rescale them\.$"):
        learn(rows())
    with pytest.raises(ValueError, match=r"rescale them, or set standardize=True\.$"):
        learn(rows(), standardize=False)


def test_the_seed_is_drawn_once():
    state = np.random.RandomState(3)
    learn(rows(), random_state=state)
    expected = np.random.RandomState(3)
    expected.randint(2**31)
    assert state.randint(1000) == expected.randint(1000)


def test_shots_beyond_every_group_are_said_where_there_are_episodes():
    with pytest.warns(UserWarning, match="n_shots=6 is more than any group can give"):
        learn(rows(), n_shots=6, early_stopping=True)
    learn(rows(), n_shots=5, early_stopping=True)
    learn(rows(), n_shots=6)  # a mixed model alone, and nobody is held out


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_learning_rate_that_is_too_high_is_said_to_be():
    with pytest.raises(ValueError, match=r"meta_learning_rate=1\d+\.0 is too high"):
        learn(rows(), hidden_layer_sizes=(4,), meta_max_iter=5, meta_learning_rate=1e10)

"""The verdict: from predictions of held-out groups to what is believed."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skcml.selection.families import Numbers
from skcml.selection.folds import Fold, Judgement
from skcml.selection.mixture import MEMBERS, Densities, moments, pruned
from skcml.selection.verdict import ADAPTIVE, best_structure, member_weights, mix, weigh


def judgement(y, linear, network, *, pooled=9.0, variance=1.0, group=None, structures=("full",)):
    """Return a judgement of one output, with constant variances."""
    y = np.asarray(y, dtype=float)[None]

    def densities(mean):
        mean = np.broadcast_to(np.asarray(mean, dtype=float), y.shape)[None]
        return Densities(mean, np.full(mean.shape, variance))

    group = np.arange(y.shape[1]) if group is None else group
    return Judgement(
        y=y,
        weight=np.ones(y.shape[1]),
        exposure=np.ones(y.shape[1]),
        group=group,
        n_groups=group.max() + 1,
        pooled=densities(pooled),
        linear={name: densities(linear) for name in structures},
        network=None if network is None else densities(network),
    )


def fold(known, unseen=None):
    """Return a fold whose groups predict 9 by themselves."""
    unseen = known if unseen is None else unseen
    per_task = np.full(known.y.shape, 9.0)
    return Fold(None, None, None, None, known, unseen, per_task)


def gains(judgements):
    return weigh(
        [fold(j) for j in judgements], "full", Numbers(), np.random.default_rng(0), reml=False
    )[2]


def test_the_structure_with_the_best_held_out_score_is_chosen():
    def scored(full, diagonal, n):
        # A density is worse by half the squared error.
        parts = judgement(np.zeros(n), 0.0, None, structures=("full", "diagonal"))
        errors = {"full": full, "diagonal": diagonal}
        for name, error in errors.items():
            parts.linear[name] = Densities(np.full((1, 1, n), error), np.ones((1, 1, n)))
        return parts

    assert best_structure([scored(1.0, 2.0, 5)], ("full", "diagonal")) == "full"
    assert best_structure([scored(2.0, 1.0, 5)], ("full", "diagonal")) == "diagonal"
    # A fold counts by its groups.
    folds = [scored(1.0, 2.0, 5), scored(2.0, 1.0, 6)]
    assert best_structure(folds, ("full", "diagonal")) == "diagonal"
    assert best_structure(folds[::-1], ("full", "diagonal")) == "diagonal"
    # A tie goes to the richer one; without a judge the richest is taken.
    assert best_structure([scored(1.0, 1.0, 5)], ("full", "diagonal")) == "full"
    assert best_structure([], ("diagonal", "intercept")) == "diagonal"


@pytest.mark.parametrize(("gains", "expected"), [((1, 1, 0), "none"), ((1, 1, -1), "intercept")])
def test_that_nothing_varies_takes_more_than_an_even_match(gains, expected):
    # Ahead by 2/3 with a standard error of 1/3, and by 1/3 with one of 2/3.
    parts = judgement(np.zeros(3), np.sqrt(2), None, structures=("intercept", "none"))
    error = np.sqrt(2 - 2 * np.array(gains, dtype=float))
    parts.linear["none"] = Densities(error[None, None], np.ones((1, 1, 3)))
    assert best_structure([parts], ("intercept", "none")) == expected
    # More groups that say the same are surer of it.
    assert best_structure([parts] * 10, ("intercept", "none")) == "none"
    assert best_structure([parts] * 10, ("intercept",)) == "intercept"


def test_without_a_network_the_linear_model_has_all_the_weight():
    rng = np.random.default_rng(0)
    folds = [judgement(np.zeros(5), 1.0, None), judgement(np.zeros(5), 1.0, None)]
    weights = member_weights(folds, "full", ADAPTIVE, rng)
    assert_array_equal(weights, [[0.0], [0.0], [1.0], [0.0]])
    assert gains(folds) == {"pooled": 9.0, "per_task": 9.0, "mixed_model": 1.0, "final": 1.0}


def test_no_group_has_a_say_in_its_own_verdict():
    # In the first fold the network is right, in the second the linear model: each fold is
    # predicted with the weights of the other, and so wrongly.
    rng = np.random.default_rng(0)
    folds = [judgement(np.zeros(50), 4.0, 0.0), judgement(np.zeros(50), 0.0, 4.0)]
    gain = gains(folds)
    assert gain["final"] == pytest.approx(4.0)
    assert gain["mixed_model"] == pytest.approx(np.sqrt(8.0))
    # All weights together are undecided.
    weights = member_weights(folds, "full", ADAPTIVE, rng)
    assert_allclose(weights[2:], 0.5, atol=0.15)
    # Alone, a fold can but judge itself.
    gain = gains(folds[:1])
    assert gain["final"] == pytest.approx(0.0, abs=1e-12)


def test_groups_of_two_folds_are_not_the_same_groups():
    # 2 groups in each fold; as one, their rows would be weighed together.
    rng = np.random.default_rng
    group = np.repeat([0, 1], 25)
    folds = [
        judgement(np.zeros(50), 1.0, 0.0, group=group),
        judgement(np.zeros(50), 0.0, 1.0, group=group),
    ]
    spread = [member_weights(folds, "full", ADAPTIVE, rng(s))[2, 0] for s in range(10)]
    joined = judgement(
        np.zeros(100),
        np.repeat([1.0, 0.0], 50),
        np.repeat([0.0, 1.0], 50),
        group=np.repeat([0, 1, 2, 3], 25),
    )
    same = [member_weights([joined], "full", ADAPTIVE, rng(s))[2, 0] for s in range(10)]
    assert_allclose(spread, same)


def test_errors_are_standardised_by_the_mixtures_own_moments():
    # Two members that disagree: their mixture knows that it does not know.
    rng = np.random.default_rng(0)
    y = rng.choice([-2.0, 2.0], 3_000) + rng.normal(size=3_000)
    mixture, _, _ = mix([judgement(y, -2.0, 2.0)], "full", ADAPTIVE, Numbers(), rng)
    weights, shape = mixture.weights[2:], mixture.shape
    assert_allclose(weights, 0.5, atol=0.05)
    mean, variance = moments(np.array([[[-2.0]], [[2.0]]]), np.ones((2, 1, 1)), weights)
    z = abs((y - mean.item()) / np.sqrt(variance.item()))
    assert shape.ppf(np.array([0.95])).item() == pytest.approx(np.quantile(z, 0.9), rel=0.03)


def test_gains_are_root_mean_squared_errors_over_groups():
    one = judgement([0.0, 0.0, 0.0], [1.0, 2.0, 3.0], None)
    one = dataclasses.replace(one, weight=np.array([1.0, 0.5, 0.5]))
    assert gains([one])["mixed_model"] == pytest.approx(np.sqrt((1 + 2 + 4.5) / 2))
    # Outputs count the same: an average, not a sum.
    densities = Densities(np.array([[[1.0] * 3, [7.0] * 3]]), np.ones((1, 2, 3)))
    both = dataclasses.replace(
        one, y=np.zeros((2, 3)), pooled=densities, linear={"full": densities}
    )
    rng = np.random.default_rng(0)
    known, unseen, gain, _ = weigh([fold(both)], "full", Numbers(), rng, reml=False)
    assert gain["mixed_model"] == gain["final"] == pytest.approx(5.0)
    assert known.shape.ratio.shape[0] == unseen.shape.ratio.shape[0] == 2


def test_unseen_groups_have_a_mixture_of_their_own():
    # Where rows are known the network is right, where none is a pooled model, of either kind.
    y = np.zeros(50)
    known, unseen = judgement(y, 4.0, 0.0, pooled=3.0), judgement(y, 4.0, None, pooled=0.0)
    rng = np.random.default_rng(0)
    mixture, prior, _, _ = weigh([fold(known, unseen)], "full", Numbers(), rng, reml=False)
    assert_array_equal(mixture.weights, [[0.0], [0.0], [0.0], [1.0]])
    assert_array_equal(prior.weights, [[1.0], [0.0], [0.0], [0.0]])
    assert (mixture.share("networks"), prior.share("pooled")) == (1.0, 1.0)
    unseen = dataclasses.replace(
        unseen, pooled=unseen.linear["full"], pooled_networks=unseen.pooled
    )
    _, prior, _, _ = weigh([fold(known, unseen)], "full", Numbers(), rng, reml=False)
    assert_array_equal(prior.weights, [[0.0], [1.0], [0.0], [0.0]])
    # A REML fit stays what it is, and a group with rows is never left to the pooled model.
    _, prior, _, _ = weigh(
        [fold(judgement(y, 4.0, None), judgement(y, 4.0, None, pooled=0.0))],
        "full",
        Numbers(),
        rng,
        reml=True,
    )
    assert_array_equal(prior.weights, [[0.0], [0.0], [1.0], [0.0]])
    assert "pooled" in MEMBERS
    assert "pooled" not in ADAPTIVE


def test_the_mean_of_numbers_is_guarded():
    # The network is right but in two of three rows of each tenth group, which the linear model
    # covers: the log score prefers the network, and its mean is much worse.
    rng, group = np.random.default_rng(0), np.repeat(np.arange(100), 3)
    odd = (group % 5 == 0) & (np.arange(300) % 3 > 0)
    network = np.where(odd, 8.0, 0.1 * rng.normal(size=300))
    parts = judgement(np.zeros(300), rng.normal(size=300), network, group=group, variance=1.0)
    parts.network.variance[...] = 0.01
    weights = member_weights([parts], "full", ADAPTIVE, rng)
    assert_allclose(weights.sum(0), 1.0)
    assert_array_equal(weights[:2], 0.0)
    squares = ((weights[2] * parts.linear["full"].mean[0] + weights[3] * network) ** 2).sum()
    assert squares <= 1.02 * (parts.linear["full"].mean ** 2).sum() * (1 + 1e-12)
    assert (network**2).sum() > 3 * squares


def test_small_shares_are_dropped():
    assert_allclose(pruned(np.array([[0.01, 0.5], [0.99, 0.5]])), [[0.0, 0.5], [1.0, 0.5]])

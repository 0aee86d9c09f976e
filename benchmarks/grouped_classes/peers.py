"""The methods of the grouped classification benchmark, the same for every table.

A method is a function ``(train, support, query) -> probabilities``, (n_query, n_classes). It
estimates on the training groups and then conditions on the support rows of the held-out groups.
GPBoost and the model with an indicator for each group have the support rows among their training
rows, which favours them. A method raises ImportError where the software it needs is not installed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.special import expit
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from benchmarks.grouped.peers import _design, _join, _varying_columns
from benchmarks.grouped.protocol import Rows
from benchmarks.grouped_classes.glmer import estimate

Method = Callable[[Rows, Rows, Rows], np.ndarray]


def skcml_head(train: Rows, support: Rows, query: Rows) -> np.ndarray:
    """CMLClassifier: learned over the training groups, adapted to all held-out groups at once."""
    from skcml import CMLClassifier

    estimator = CMLClassifier(random_state=0).meta_fit(train.X, train.y, groups=train.groups)
    estimator.fit(support.X, support.y, groups=support.groups)
    return estimator.predict_proba(query.X, groups=query.groups)


def logistic(train: Rows, support: Rows, query: Rows) -> np.ndarray:
    """One logistic regression for all groups; the support rows are not used."""
    return LogisticRegression(max_iter=1000).fit(train.X, train.y).predict_proba(query.X)


def boosting(train: Rows, support: Rows, query: Rows) -> np.ndarray:
    """Boosted trees for all groups; the support rows are not used."""
    model = HistGradientBoostingClassifier(random_state=0)
    return model.fit(train.X, train.y).predict_proba(query.X)


def logistic_per_group(train: Rows, support: Rows, query: Rows) -> np.ndarray:
    """One logistic regression per held-out group on its support rows.

    The class shares of the training rows count as one more support row: five rows say too little
    by themselves, and the probability of a class missing among them would be zero.
    """
    shares = np.bincount(train.y) / len(train.y)
    probabilities = np.empty((len(query.y), len(shares)))
    for group in np.unique(query.groups):
        mine, asked = support[support.groups == group], query.groups == group
        found = np.zeros((asked.sum(), len(shares)))
        seen = np.unique(mine.y)
        if len(seen) > 1:
            model = LogisticRegression(max_iter=1000).fit(mine.X, mine.y)
            found[:, seen] = model.predict_proba(query.X[asked])
        else:
            found[:, seen] = 1.0
        probabilities[asked] = (len(mine.y) * found + shares) / (len(mine.y) + 1)
    return probabilities


def logistic_indicators(train: Rows, support: Rows, query: Rows) -> np.ndarray:
    """One logistic regression with an indicator for each group; fitted on the support rows too.

    Its L2 penalty makes it the mode of a model whose intercepts vary with standard deviation one,
    which has group effects for three or more classes too.
    """
    rows = _join(train, support)
    names = np.unique(rows.groups)

    def design(rows: Rows) -> np.ndarray:
        return np.column_stack([rows.X, rows.groups[:, None] == names])

    model = LogisticRegression(max_iter=1000).fit(design(rows), rows.y)
    return model.predict_proba(design(query))


def glmer(train: Rows, support: Rows, query: Rows) -> np.ndarray:
    """glmer of the R package lme4 with a random intercept."""
    beta, sd = estimate(train)
    return _both(condition(beta, sd, support, query))


def gpboost_intercept(train: Rows, support: Rows, query: Rows) -> np.ndarray:
    """GPBoost's logistic mixed model with a random intercept; fitted on the support rows too."""
    return _gpboost_linear(train, support, query, [])


def gpboost_slopes(train: Rows, support: Rows, query: Rows) -> np.ndarray:
    """The same with independent random slopes of the columns that vary within groups."""
    return _gpboost_linear(train, support, query, _varying_columns(train))


def gpboost_trees(train: Rows, support: Rows, query: Rows) -> np.ndarray:
    """GPBoost's trees with a random intercept; fitted on the support rows too.

    Small trees, as in the grouped regression benchmark: larger ones learn groups by heart.
    """
    import gpboost

    rows = _join(train, support)
    model = gpboost.GPModel(
        group_data=rows.groups, likelihood="bernoulli_logit", num_parallel_threads=1
    )
    booster = gpboost.train(
        params={"verbose": -1, "num_threads": 1, "max_depth": 4, "min_data_in_leaf": 10},
        train_set=gpboost.Dataset(rows.X, rows.y),
        gp_model=model,
    )
    found = booster.predict(data=query.X, group_data_pred=query.groups, pred_latent=False)
    return _both(found["response_mean"])


def gpboost_trees_one_vs_rest(train: Rows, support: Rows, query: Rows) -> np.ndarray:
    """GPBoost's trees for each class against the rest, scaled to sum to one.

    GPBoost has no multinomial model. With two classes this is `gpboost_trees`.
    """
    found = []
    for c in range(train.y.max() + 1):
        parts = [replace(part, y=(part.y == c).astype(int)) for part in (train, support, query)]
        found.append(gpboost_trees(*parts)[:, 1])
    probabilities = np.column_stack(found)
    return probabilities / probabilities.sum(axis=1, keepdims=True)


METHODS: dict[str, Method] = {
    "skcml": skcml_head,
    "logistic": logistic,
    "boosting": boosting,
    "logistic_per_group": logistic_per_group,
    "logistic_indicators": logistic_indicators,
    "glmer": glmer,
    "gpboost_intercept": gpboost_intercept,
    "gpboost_slopes": gpboost_slopes,
    "gpboost_trees": gpboost_trees,
    "gpboost_trees_one_vs_rest": gpboost_trees_one_vs_rest,
}
TWO_CLASSES_ONLY = ("glmer", "gpboost_intercept", "gpboost_slopes", "gpboost_trees")


def condition(beta: np.ndarray, sd: float, support: Rows, query: Rows) -> np.ndarray:
    """Probability of class 1 of the query rows given the support rows of the same groups.

    The model is logit p = [1, X] beta + b with b ~ N(0, sd²) in each group; b is integrated out
    over its posterior on a fine grid.
    """
    if sd == 0:
        return expit(_design(query.X) @ beta)
    grid = np.linspace(-8 * sd, 8 * sd, 401)
    probabilities = np.empty(len(query.y))
    for group in np.unique(query.groups):
        mine, asked = support[support.groups == group], query.groups == group
        signs = 2 * mine.y - 1
        latent = _design(mine.X) @ beta + grid[:, None]
        log_posterior = -np.logaddexp(0, -signs * latent).sum(axis=1) - grid**2 / (2 * sd**2)
        weights = np.exp(log_posterior - log_posterior.max())
        latent = _design(query.X[asked]) @ beta + grid[:, None]
        probabilities[asked] = weights @ expit(latent) / weights.sum()
    return probabilities


def _gpboost_linear(train: Rows, support: Rows, query: Rows, slopes: list[int]) -> np.ndarray:
    """Fit GPBoost's logistic mixed model on training and support rows; predict the query rows."""
    import gpboost

    rows = _join(train, support)
    model = gpboost.GPModel(
        group_data=rows.groups,
        group_rand_coef_data=rows.X[:, slopes] if slopes else None,
        ind_effect_group_rand_coef=[1] * len(slopes) if slopes else None,
        likelihood="bernoulli_logit",
        num_parallel_threads=1,
    )
    model.fit(y=rows.y, X=_design(rows.X))
    found = model.predict(
        group_data_pred=query.groups,
        group_rand_coef_data_pred=query.X[:, slopes] if slopes else None,
        X_pred=_design(query.X),
        predict_response=True,
    )
    return _both(found["mu"])


def _both(probability: np.ndarray) -> np.ndarray:
    """Probabilities of both classes from those of class 1."""
    return np.column_stack([1 - probability, probability])

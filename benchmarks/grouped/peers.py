"""The methods of the grouped regression benchmark: skcml and its peers, the same for every table.

A method is a function ``(train, support, query) -> Prediction``. It estimates on the training
groups and then conditions on the support rows of the held-out groups; only GPBoost has the support
rows among its training rows, which favours it. A method raises ImportError where the software it
needs is not installed. `METHODS` is the one list of them.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import norm
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, cross_val_predict

from benchmarks.grouped.protocol import COVERAGE, Prediction, Rows

Method = Callable[[Rows, Rows, Rows], Prediction]


def skcml_head(train: Rows, support: Rows, query: Rows) -> Prediction:
    """CMLRegressor: learned over the training groups, adapted to all held-out groups at once."""
    from skcml import CMLRegressor

    estimator = CMLRegressor(random_state=0).meta_fit(train.X, train.y, groups=train.groups)
    estimator.fit(support.X, support.y, groups=support.groups)
    tails = [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2]
    lower, upper = estimator.predict_quantiles(query.X, q=tails, groups=query.groups).T
    return Prediction(estimator.predict(query.X, groups=query.groups), lower, upper)


def ridge(train: Rows, support: Rows, query: Rows) -> Prediction:
    """One ridge regression for all groups; the support rows are not used."""
    model = Ridge().fit(train.X, train.y)
    variance = np.mean((train.y - model.predict(train.X)) ** 2)
    return _gaussian(model.predict(query.X), variance)


def ridge_per_group(train: Rows, support: Rows, query: Rows) -> Prediction:
    """One ridge regression per held-out group on its support rows; no training rows."""
    mean = np.empty_like(query.y)
    for group in np.unique(query.groups):
        mine, asked = support[support.groups == group], query.groups == group
        mean[asked] = Ridge().fit(mine.X, mine.y).predict(query.X[asked])
    return Prediction(mean)


def boosting_offset(train: Rows, support: Rows, query: Rows) -> Prediction:
    """Pooled boosting, plus the mean support residual of the group, shrunk towards zero.

    The shrinkage is that of a random intercept, with the variances of the residuals between and
    within groups: out-of-fold ones (folds over groups), since a group's own residuals are too
    small for a model that has seen it.
    """
    model = HistGradientBoostingRegressor(random_state=0)
    folds = GroupKFold(min(5, len(np.unique(train.groups))))
    fitted = cross_val_predict(model, train.X, train.y, groups=train.groups, cv=folds)
    between, within = _variance_components(train.y - fitted, train.groups)
    model.fit(train.X, train.y)
    residuals = Rows(support.X[:, :0], support.y - model.predict(support.X), support.groups)
    offset = MixedModel(np.zeros(1), [], np.array([[between]]), within).condition(
        residuals, Rows(query.X[:, :0], query.y, query.groups)
    )
    mean = model.predict(query.X)
    return Prediction(mean + offset.mean, mean + offset.lower, mean + offset.upper)


def mixedlm(train: Rows, support: Rows, query: Rows) -> Prediction:
    """MixedLM of statsmodels, with random slopes where that converges, else an intercept.

    Its `predict` gives the fixed part only, so the support rows are conditioned on by hand.
    """
    from statsmodels.regression.mixed_linear_model import MixedLM

    for slopes in (_varying_columns(train), []):
        model = MixedLM(
            train.y, _design(train.X), train.groups, exog_re=_design(train.X[:, slopes])
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # convergence is asked for below
            try:
                result = model.fit()
            except np.linalg.LinAlgError:
                if not slopes:
                    raise
                continue
        # an intercept of variance zero counts as not converged, and is right all the same
        if result.converged or not slopes:
            break
    return MixedModel(result.fe_params, slopes, result.cov_re, result.scale).condition(
        support, query
    )


def gpboost_slopes(train: Rows, support: Rows, query: Rows) -> Prediction:
    """GPBoost's linear mixed model with independent random slopes; fitted on the support too."""
    return _gpboost_linear(train, support, query, _varying_columns(train))


def gpboost_intercept(train: Rows, support: Rows, query: Rows) -> Prediction:
    """GPBoost's linear mixed model with a random intercept; fitted on the support rows too."""
    return _gpboost_linear(train, support, query, [])


def gpboost_trees(train: Rows, support: Rows, query: Rows) -> Prediction:
    """GPBoost's trees with a random intercept; fitted on the support rows too."""
    return _gpboost_trees(train, support, query)


def gpboost_small_trees(train: Rows, support: Rows, query: Rows) -> Prediction:
    """The same with smaller trees: the defaults learn the groups by heart where they can."""
    return _gpboost_trees(train, support, query, max_depth=4, min_data_in_leaf=10)


def lme4_slopes(train: Rows, support: Rows, query: Rows) -> Prediction:
    """lmer of the R package lme4 with random slopes."""
    return _lmer(train, _varying_columns(train)).condition(support, query)


def lme4_intercept(train: Rows, support: Rows, query: Rows) -> Prediction:
    """lmer of the R package lme4 with a random intercept."""
    return _lmer(train, []).condition(support, query)


METHODS: dict[str, Method] = {
    "skcml": skcml_head,
    "ridge": ridge,
    "ridge_per_group": ridge_per_group,
    "boosting_offset": boosting_offset,
    "mixedlm": mixedlm,
    "lme4_slopes": lme4_slopes,
    "lme4_intercept": lme4_intercept,
    "gpboost_slopes": gpboost_slopes,
    "gpboost_intercept": gpboost_intercept,
    "gpboost_trees": gpboost_trees,
    "gpboost_small_trees": gpboost_small_trees,
}
LINEAR_MIXED_MODELS = (
    "mixedlm",
    "lme4_slopes",
    "lme4_intercept",
    "gpboost_slopes",
    "gpboost_intercept",
)


@dataclass(frozen=True)
class MixedModel:
    """An estimated linear mixed model, y = [1, X] beta + Z b + noise with Z = [1, X[:, slopes]].

    The coefficients b of a group are N(0, covariance), the noise is N(0, noise_variance).
    """

    beta: np.ndarray
    slopes: list[int]
    covariance: np.ndarray
    noise_variance: float

    def condition(self, support: Rows, query: Rows) -> Prediction:
        """Predict the query rows given the support rows of the same groups (the BLUP).

        With V = Z G Zᵀ + σ² I on the support rows, b has the mean G Zᵀ V⁻¹ (y − [1, X] beta) and
        the covariance G − G Zᵀ V⁻¹ Z G. The uncertainty of beta is left out, as it is small.
        """
        mean = _design(query.X) @ self.beta
        variance = np.empty_like(mean)
        for group in np.unique(query.groups):
            mine, asked = support[support.groups == group], query.groups == group
            Z, Z_query = _design(mine.X[:, self.slopes]), _design(query.X[asked][:, self.slopes])
            GZ = self.covariance @ Z.T
            V = Z @ GZ + self.noise_variance * np.eye(len(Z))
            weights = np.linalg.solve(V, GZ.T).T
            mean[asked] += Z_query @ weights @ (mine.y - _design(mine.X) @ self.beta)
            posterior = self.covariance - weights @ GZ.T
            variance[asked] = np.sum(Z_query @ posterior * Z_query, axis=1) + self.noise_variance
        return _gaussian(mean, variance)


_LMER = """
if (!requireNamespace("lme4", quietly = TRUE)) quit(status = 3)
folder <- commandArgs(trailingOnly = TRUE)[1]
rows <- read.csv(file.path(folder, "rows.csv"))
formula <- readLines(file.path(folder, "formula.txt"))
fit <- lme4::lmer(as.formula(formula), data = rows)
save <- function(x, name)
  write.table(x, file.path(folder, name), col.names = FALSE, row.names = FALSE, sep = ",")
save(lme4::fixef(fit, add.dropped = TRUE), "beta.csv")
save(unclass(lme4::VarCorr(fit)$group)[, , drop = FALSE], "covariance.csv")
save(sigma(fit)^2, "noise_variance.csv")
"""


def _lmer(train: Rows, slopes: list[int]) -> MixedModel:
    """Estimate by lmer in a process of its own; tables travel as CSV files."""
    if shutil.which("Rscript") is None:
        raise ImportError("there is no Rscript on the path")
    names = [f"x{column}" for column in range(train.X.shape[1])]
    formula = (
        f"y ~ {' + '.join(['1', *names])} + "
        f"({' + '.join(['1', *(names[column] for column in slopes)])} | group)"
    )
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        table = np.column_stack([train.y, train.groups, train.X])
        header = ",".join(["y", "group", *names])
        np.savetxt(folder / "rows.csv", table, "%.17g", ",", header=header, comments="")
        (folder / "formula.txt").write_text(formula)
        (folder / "lmer.R").write_text(_LMER)
        run = subprocess.run(
            ["Rscript", "--vanilla", folder / "lmer.R", folder], capture_output=True, text=True
        )
        if run.returncode == 3:
            raise ImportError("the R package lme4 is not installed")
        if run.returncode != 0:
            raise ValueError(f"lmer failed: {run.stderr.strip().splitlines()[-1:]}")
        beta, covariance, noise_variance = (
            np.loadtxt(folder / f"{name}.csv", delimiter=",", ndmin=2)
            for name in ("beta", "covariance", "noise_variance")
        )
    # a column that lmer dropped as a combination of others comes back as NA
    return MixedModel(np.nan_to_num(beta[:, 0]), slopes, covariance, noise_variance.item())


def _gpboost_linear(train: Rows, support: Rows, query: Rows, slopes: list[int]) -> Prediction:
    """Fit GPBoost's linear mixed model on training and support rows; predict the query rows."""
    import gpboost

    rows = _join(train, support)
    model = gpboost.GPModel(
        group_data=rows.groups,
        group_rand_coef_data=rows.X[:, slopes] if slopes else None,
        ind_effect_group_rand_coef=[1] * len(slopes) if slopes else None,
        num_parallel_threads=1,
    )
    model.fit(y=rows.y, X=_design(rows.X))
    found = model.predict(
        group_data_pred=query.groups,
        group_rand_coef_data_pred=query.X[:, slopes] if slopes else None,
        X_pred=_design(query.X),
        predict_var=True,
    )
    return _gaussian(found["mu"], found["var"])


def _gpboost_trees(train: Rows, support: Rows, query: Rows, **params: int) -> Prediction:
    """Boost GPBoost's trees on training and support rows; predict the query rows."""
    import gpboost

    rows = _join(train, support)
    model = gpboost.GPModel(group_data=rows.groups, num_parallel_threads=1)
    booster = gpboost.train(
        params={"verbose": -1, "num_threads": 1, **params},
        train_set=gpboost.Dataset(rows.X, rows.y),
        gp_model=model,
    )
    found = booster.predict(
        data=query.X, group_data_pred=query.groups, predict_var=True, pred_latent=False
    )
    return _gaussian(found["response_mean"], found["response_var"])


def _design(X: np.ndarray) -> np.ndarray:
    """Put a column of ones in front."""
    return np.column_stack([np.ones(len(X)), X])


def _join(first: Rows, second: Rows) -> Rows:
    """The rows of both."""
    parts = ((getattr(rows, name) for rows in (first, second)) for name in ("X", "y", "groups"))
    return Rows(*(np.concatenate(list(part)) for part in parts))


def _gaussian(mean: np.ndarray, variance: np.ndarray | float) -> Prediction:
    """A prediction whose interval is the central one of a normal distribution."""
    half = norm.ppf((1 + COVERAGE) / 2) * np.sqrt(variance)
    return Prediction(mean, mean - half, mean + half)


def _varying_columns(train: Rows) -> list[int]:
    """Columns that vary within at least half of the groups: those that get a random slope."""
    _, groups = np.unique(train.groups, return_inverse=True)
    varies = np.zeros((groups.max() + 1, train.X.shape[1]), dtype=bool)
    for group in range(len(varies)):
        varies[group] = np.ptp(train.X[groups == group], axis=0) > 0
    return np.flatnonzero(varies.mean(axis=0) >= 0.5).tolist()


def _variance_components(residuals: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """Variances between and within groups, by the moments of the analysis of variance."""
    _, groups = np.unique(groups, return_inverse=True)
    sizes = np.bincount(groups)
    means = np.bincount(groups, weights=residuals) / sizes
    n_rows, n_groups = len(residuals), len(sizes)
    within = np.sum((residuals - means[groups]) ** 2) / (n_rows - n_groups)
    # expectation of the sum of squares between groups, solved for the variance between
    spread = np.sum(sizes * (means - residuals.mean()) ** 2) - (n_groups - 1) * within
    between = spread / (n_rows - np.sum(sizes**2) / n_rows)
    return max(float(between), 0.0), float(within)

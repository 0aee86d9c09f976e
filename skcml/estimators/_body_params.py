"""Parameters ``body__...``: arguments of the class or function that ``body`` is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Self

from sklearn.base import BaseEstimator

PREFIX = "body__"


class BodyParamsMixin(BaseEstimator):
    """Stores, shows and changes the parameters ``body__...`` of an estimator.

    Which ones there are is not known to its class: they are the attributes of that name. Its
    ``__init__`` ends in ``**body__params``, a name that is good for one of them: scikit-learn's
    checks pass a value by each name of the signature.
    """

    body: Any

    def _store_body_params(self, params: dict[str, Any]) -> None:
        """Store what ``__init__`` was given beyond its signature, or refuse it by name."""
        for name in params:
            if not is_body_param(name):
                raise TypeError(_no_parameter(type(self).__name__, name, self._get_param_names()))
        self.__dict__.update(params)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, with the arguments of ``body`` among them.

        Parameters
        ----------
        deep : bool, default=True
            Whether to return parameters of estimators among the parameters too.

        Returns
        -------
        params : dict of str to object
            Values by name.

        Examples
        --------
        >>> import torch
        >>> from skcml import CMLRegressor
        >>> class Hidden(torch.nn.Sequential):
        ...     def __init__(self, width):
        ...         super().__init__(torch.nn.Linear(1, width), torch.nn.Tanh())
        >>> est = CMLRegressor(body=Hidden, body__width=8)
        >>> est.get_params()["body__width"]
        8
        """
        return {**super().get_params(deep=deep), **body_params(self)}

    def set_params(self, **params: Any) -> Self:
        """Change parameters, arguments of ``body`` among them.

        Parameters
        ----------
        **params : object
            New values by name; ``body__width=32`` is the argument ``width`` of ``body``.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            If a name is none of a parameter.

        Examples
        --------
        >>> import torch
        >>> from skcml import CMLRegressor
        >>> class Hidden(torch.nn.Sequential):
        ...     def __init__(self, width):
        ...         super().__init__(torch.nn.Linear(1, width), torch.nn.Tanh())
        >>> est = CMLRegressor(body=Hidden, body__width=8)
        >>> est.set_params(body__width=4, prior_strength=2.0).body__width
        4
        """
        own = {name: value for name, value in params.items() if name.startswith(PREFIX)}
        if PREFIX in own:
            raise ValueError(
                f"{PREFIX!r} names no argument of body; write it behind the underscores, as in "
                "body__width=32."
            )
        super().set_params(**{name: value for name, value in params.items() if name not in own})
        self.__dict__.update(own)
        return self

    def _validate_params(self) -> None:
        super()._validate_params()
        check_body_params(self)


def body_params(estimator: Any) -> dict[str, Any]:
    """Return the parameters ``body__...`` of an estimator, by their whole names."""
    return {name: value for name, value in vars(estimator).items() if is_body_param(name)}


def body_arguments(estimator: Any) -> dict[str, Any]:
    """Return what ``body`` is called with."""
    return {name.removeprefix(PREFIX): value for name, value in body_params(estimator).items()}


def check_body_params(estimator: Any) -> None:
    """Refuse arguments for a body that is not made, or has been made already."""
    names = list(body_params(estimator))
    if not names:
        return
    from torch import nn

    are, them = ("is an argument", "it") if len(names) == 1 else ("are arguments", "them")
    body = estimator.body
    if body is not None and not isinstance(body, nn.Module):
        return
    what = "None" if body is None else f"a {type(body).__name__} that has been made already"
    raise ValueError(
        f"{', '.join(names)} {are} of the class or function that body is, and body is {what}: pass "
        f"the class of a torch.nn.Module as body, or make a new estimator without {them}."
    )


def is_body_param(name: str) -> bool:
    """Tell whether a parameter of this name is an argument of ``body``."""
    return name.startswith(PREFIX) and name != PREFIX


def without_body_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that are none of ``body``."""
    return {name: value for name, value in params.items() if not is_body_param(name)}


def _no_parameter(kind: str, name: str, names: Iterable[str]) -> str:
    """Return the sentence about a parameter that an estimator does not have."""
    near = get_close_matches(name, names)
    if name.startswith("body_") and name.strip("_") != "body":
        near = [PREFIX + name.removeprefix("body_").lstrip("_"), *near]
    if near:
        return f"{kind} has no parameter {name!r}; near it there is {' and '.join(near)}."
    return (
        f"{kind} has no parameter {name!r}; it has {', '.join(names)}, and for each argument of "
        "body one whose name begins with body__."
    )

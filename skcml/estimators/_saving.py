"""`save_pretrained` and `from_pretrained`: a fitted estimator in a folder, without pickle."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from typing import Any, Self

from skcml.estimators._card import card_of
from skcml.estimators._stored import (
    arguments_of_body,
    bare,
    body_like,
    encoded,
    kept_of_body,
    restore,
)
from skcml.persistence import (
    CONFIG,
    checked,
    path_of,
    read_arrays,
    read_config,
    write_folder,
)

MAX_BYTES = 2**31


class SavingMixin:
    """Saving to a folder, and loading from it."""

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Save what was learned, and what `fit` has made of it, to a folder.

        There are three files: ``model.safetensors`` has the arrays, ``config.json`` all else, and
        ``README.md`` says in words what this is. No row of the data is among it; but the names of
        columns and classes are and, after `fit` with groups, the labels of these and what was
        learned of each. To pass on what `meta_fit` learned and nothing of `fit`, save a clone:
        ``clone(est).save_pretrained(folder)``. Callbacks and metadata requests are not saved, nor
        is the code of ``body``.

        Parameters
        ----------
        folder : str or path
            Made, if it is not there. Of what was saved there before, each file is replaced at once.

        Raises
        ------
        ValueError
            If the folder is a file, or holds files of these names that skcml has not written, or if
            nothing has been learned yet (a `NotFittedError`), or a parameter has a value that it
            may not have. What is in the folder stays.
        TypeError
            If the folder is no path, or a parameter or a label is of a type that cannot be saved.
        OSError
            If the folder cannot be made, or written to.

        See Also
        --------
        from_pretrained : Load it again.

        Examples
        --------
        >>> import os, tempfile
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> X, y, person = load_grouped("sleepstudy", return_X_y=True)
        >>> est = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> est = est.meta_fit(X, y, groups=person)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     est.save_pretrained(folder)
        ...     files = sorted(os.listdir(folder))
        ...     loaded = CMLRegressor.from_pretrained(folder)
        >>> files
        ['README.md', 'config.json', 'model.safetensors']
        >>> bool((loaded.predict(X) == est.predict(X)).all())
        True
        """
        import skcml

        path = path_of(folder)
        config, arrays = encoded(self)
        config = {"skcml": skcml.__version__, "class": type(self).__name__, **config}
        write_folder(folder, config, arrays, card_of(self, path.resolve().name))

    @classmethod
    def from_pretrained(
        cls,
        folder: str | os.PathLike[str],
        *,
        body: Any = None,
        device: str | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> Self:
        """Load what `save_pretrained` has saved; it predicts and adapts with the same bits.

        Nothing in the files is run, and nothing is taken for what it should be: sizes, checksums,
        types and shapes are looked at first.

        Parameters
        ----------
        folder : str or path
        body : torch.nn.Module, or a class or function that makes one, optional
            For an estimator that had one: a network with the same layers, or what makes it, which
            is called with the parameters ``body__...`` that there were. It is not changed; the
            estimator's ``body`` is a copy with the weights from the file.
        device : str, optional
            Where torch is to run ``body``, if not where it did.
        max_bytes : int, default=2**31
            A larger ``model.safetensors`` is not read.

        Returns
        -------
        estimator : CMLRegressor or CMLClassifier
            As it was saved, after `meta_fit` or after `fit`.

        Raises
        ------
        ValueError
            If a file is not there, is cut off, damaged, changed, too large, of another class or of
            a later version of skcml, or if ``body`` is lacking or is another network.

        See Also
        --------
        save_pretrained : Save it.

        Examples
        --------
        >>> import tempfile
        >>> from skcml import CMLRegressor
        >>> from skcml.datasets import load_grouped
        >>> X, y, person = load_grouped("sleepstudy", return_X_y=True, as_frame=False)
        >>> est = CMLRegressor(hidden_layer_sizes=(), meta_max_iter=0, early_stopping=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     est.meta_fit(X, y, groups=person).save_pretrained(folder)
        ...     loaded = CMLRegressor.from_pretrained(folder)
        >>> new_person = loaded.fit([[0], [1], [2]], [300.0, 310.0, 340.0])
        >>> new_person.predict([[9]]).round()
        array([414.])
        """
        if not isinstance(max_bytes, Integral) or isinstance(max_bytes, bool) or max_bytes < 0:
            raise ValueError(f"max_bytes must be an integer, zero or more; got {max_bytes!r}.")
        if not isinstance(device, (str, type(None))):
            raise TypeError(f"device must be a name that torch knows, or None; got {device!r}.")
        config = read_config(folder)
        path = Path(folder) / CONFIG
        _check_class(cls, checked(config, "class", str, path), path)
        _check_body(config, body, path)
        if device is not None and body is None:
            raise ValueError(
                f"device={device!r} is where torch runs a body, and {path} is of an estimator "
                "without one: leave device out."
            )
        arrays = read_arrays(folder, config, int(max_bytes))
        with _about(path):
            estimator = bare(cls, config, arrays, device)
            arguments = arguments_of_body(config, arrays)
            kept = None if body is None else kept_of_body(config, arrays)
        if kept is not None:
            estimator.body = body_like(estimator, body, arguments, kept)
        with _about(path):
            restore(estimator, config, arrays)
        loaded: Self = estimator
        return loaded


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """Say of any error in what a file holds that it does."""
    try:
        yield
    except Exception as error:  # what constructors say to arguments that are not theirs
        reason = str(error).rstrip(".") or type(error).__name__
        raise ValueError(
            f"{path} does not hold an estimator as skcml saves it: {reason}."
        ) from error


def _check_class(cls: type, saved: str, path: Path) -> None:
    if saved != cls.__name__:
        raise ValueError(
            f"{path} is of a {saved:.60}, and not of a {cls.__name__}: call "
            f"{saved:.60}.from_pretrained."
        )


def _check_body(config: dict[str, Any], body: Any, path: Path) -> None:
    had_body = config.get("body") is not None
    if had_body == (body is not None):
        return
    if had_body:
        raise ValueError(
            f"{path} is of an estimator with a network of its own, of which the weights are saved "
            "and the code is not: pass body=, a torch.nn.Module with the same layers."
        )
    raise ValueError(f"{path} is of an estimator without a body: leave body out.")

"""The files of a folder: what is in them, and that it is what was written.

``model.safetensors`` has the arrays, ``config.json`` all else, with the size and the SHA-256 of the
former and of itself, and ``README.md`` is for people.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

# The version of the format that is written; see the docstring of the package.
FORMAT = 1
CONFIG, ARRAYS, CARD = "config.json", "model.safetensors", "README.md"
# Bytes of a configuration at most; it holds no arrays, but the labels of groups.
MAX_CONFIG = 2**26
# Of which arrays what is not finite is no mistake: masks of a user's own network hold infinities.
MAY_BE_INFINITE = "body."


def write_folder(
    folder: str | os.PathLike[str],
    config: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    card: str,
) -> None:
    """Write the three files, and replace those that stand there, each at once.

    Parameters
    ----------
    folder : str or path
        Made, if it is not there.
    config : dict
        As JSON has it.
    arrays : dict of str to ndarray
    card : str

    Raises
    ------
    ValueError
        If the folder is a file, or holds a file of one of the names that is not ours, or if an
        array is not finite. What is in the folder stays as it is.
    """
    from safetensors.numpy import save

    path = path_of(folder)
    for name, array in arrays.items():
        _check_finite(array, name, "The array")
    data = save(dict(arrays), metadata={"format": "np"})
    config = {
        "format": FORMAT,
        **config,
        "arrays": {name: _layout(array) for name, array in sorted(arrays.items())},
        ARRAYS: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()},
    }
    # A line for each part, so that one can read it.
    text = ",\n".join(
        f"{json.dumps(key)}: {json.dumps(value)}"
        for key, value in {**config, "sha256": digest(config)}.items()
    )
    contents = {ARRAYS: data, CONFIG: f"{{\n{text}\n}}\n".encode(), CARD: card.encode()}
    if len(contents[CONFIG]) > MAX_CONFIG:
        raise ValueError(
            f"{CONFIG} would have {len(contents[CONFIG])} bytes, and may have {MAX_CONFIG}. It "
            "holds the labels of groups: make them shorter, or save clone(estimator), which knows "
            "none."
        )
    _check_target(path)
    path.mkdir(parents=True, exist_ok=True)
    _replace(path, contents)


def read_config(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what `write_folder` put into ``config.json``.

    Raises
    ------
    ValueError
        If it is not there, is too large, is no JSON, has been changed, or is of a later format.
    """
    path = path_of(folder) / CONFIG
    data = _read(path, MAX_CONFIG)
    try:
        config = json.loads(data, parse_constant=_refuse, parse_float=_float)
        found = digest(config) if isinstance(config, dict) else ""
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON that skcml has written: {error}.") from error
    version = checked(config, "format", int, path)
    if version > FORMAT:
        by = f", by skcml {config['skcml']!r:.20}" if "skcml" in config else ""
        raise ValueError(
            f"{path} has the format {version}, written by a later version of skcml{by}; this one "
            f"reads formats up to {FORMAT}. Upgrade skcml."
        )
    if version < 1:
        raise ValueError(f"{path} has the format {version}; there is none below 1.")
    if checked(config, "sha256", str, path) != found:
        raise ValueError(
            f"{path} has been changed since it was saved: its contents do not have the SHA-256 "
            "that it names. Save the estimator again, or take the file as it was."
        )
    return config


def read_arrays(
    folder: str | os.PathLike[str], config: Mapping[str, Any], max_bytes: int
) -> dict[str, np.ndarray]:
    """Return the arrays that a configuration names.

    Parameters
    ----------
    folder : str or path
    config : dict
        As `read_config` gave it.
    max_bytes : int
        Of the file, at most.

    Raises
    ------
    ValueError
        If the file is not there, is too large, or is not the one that was saved with the
        configuration, or if arrays are not of the types and shapes it names, or not finite.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = path_of(folder) / ARRAYS
    saved = checked(config, ARRAYS, dict, path_of(folder) / CONFIG)
    size = checked(saved, "bytes", int, path_of(folder) / CONFIG)
    if size < 0:
        raise ValueError(f"{path_of(folder) / CONFIG} has {size} as the size of {ARRAYS}.")
    if size > max_bytes:
        raise ValueError(
            f"{path} has {size} bytes, and max_bytes is {max_bytes}: if you trust it, pass "
            f"max_bytes={size}."
        )
    data = _read(path, size)
    if len(data) != size:
        raise ValueError(f"{path} has {len(data)} bytes, where {size} were saved: it is cut off.")
    if hashlib.sha256(data).hexdigest() != saved.get("sha256"):
        raise ValueError(
            f"{path} is not the file that was saved with {CONFIG}: it has another SHA-256. It was "
            "damaged or changed, or belongs to another estimator."
        )
    try:
        # Copies, which may be written to, and lie in memory as numpy would have them.
        arrays = {name: array.copy() for name, array in load(data).items()}
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is no file of safetensors: {error}.") from error
    layouts = checked(config, "arrays", dict, path_of(folder) / CONFIG)
    if set(layouts) != set(arrays):
        name = min(set(layouts) ^ set(arrays))
        raise ValueError(f"{path} and {CONFIG} do not agree whether there is an array {name!r}.")
    for name, array in arrays.items():
        if _layout(array) != layouts[name]:
            raise ValueError(
                f"{path} holds {name!r} as {_layout(array)}, where {CONFIG} names "
                f"{layouts[name]!r:.80}."
            )
        _check_finite(array, name, f"{path}: the array")
    return arrays


def checked(config: Any, key: str, kind: type, path: Path) -> Any:
    """Return an entry of a configuration that must be there, and of a type."""
    if not isinstance(config, dict) or key not in config:
        raise ValueError(f"{path} has no entry {key!r}: it is nothing that skcml has saved.")
    value = config[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(
            f"{path} has {value!r:.60} as its entry {key!r}, where there must be a {kind.__name__}."
        )
    return value


def digest(config: Mapping[str, Any]) -> str:
    """Return the SHA-256 of what a configuration says, but for that itself."""
    contents = {key: value for key, value in config.items() if key != "sha256"}
    text = json.dumps(contents, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def path_of(folder: Any) -> Path:
    """Return the path of a folder, or refuse what is none."""
    if not isinstance(folder, (str, os.PathLike)) or not os.fspath(folder):
        raise TypeError(
            f"folder must be the path of a folder, as a string or a path; got {folder!r}."
        )
    return Path(folder)


def _read(path: Path, at_most: int) -> bytes:
    """Return what is in a file, which is looked at no further than it may be long."""
    if not path.is_file():
        raise ValueError(
            f"{path} is not there; pass a folder that save_pretrained has written, with "
            f"{CONFIG} and {ARRAYS} in it."
        )
    with path.open("rb") as file:
        data = file.read(at_most + 1)
    if len(data) > at_most:
        raise ValueError(f"{path} has more than {at_most} bytes, and may not have more.")
    return data


def _check_target(path: Path) -> None:
    """Refuse to write over what is not ours."""
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file; pass the path of a folder.")
    found = [name for name in (CONFIG, ARRAYS, CARD) if os.path.lexists(path / name)]
    if not found:
        return
    config = path / CONFIG
    start = b""
    if config.is_file():
        with config.open("rb") as file:
            start = file.read(100)
    if b'"skcml"' not in start or any((path / name).is_dir() for name in found):
        raise ValueError(
            f"{path} holds {', '.join(found)}, which skcml has not written; pass another folder."
        )


def _replace(path: Path, contents: Mapping[str, bytes]) -> None:
    """Write all files beside those that stand there, then put each in its place."""
    mark = uuid.uuid4().hex
    written = {name: path / f".{name}.{mark}" for name in contents}
    try:
        for name, beside in written.items():
            with beside.open("xb") as file:
                file.write(contents[name])
                file.flush()
                os.fsync(file.fileno())
        for name, beside in written.items():
            beside.replace(path / name)
    finally:
        for beside in written.values():
            beside.unlink(missing_ok=True)


def _layout(array: np.ndarray) -> dict[str, Any]:
    return {"dtype": array.dtype.name, "shape": list(array.shape)}


def _check_finite(array: np.ndarray, name: str, what: str) -> None:
    if array.dtype.kind != "f":
        return
    is_bad = np.isnan(array) if name.startswith(MAY_BE_INFINITE) else ~np.isfinite(array)
    if is_bad.any():
        raise ValueError(f"{what} {name!r} holds numbers that are not finite.")


def _refuse(text: str) -> Any:
    raise ValueError(f"it holds {text}")


def _float(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"it holds {text:.60}")
    return number

"""What `Encoder` made of a tree, as the tree again; whatever it is not is refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from math import isfinite
from typing import Any

import numpy as np

from skcml.persistence._types import TIMES, fits, hints_of, parameters_of

PLAIN = (type(None), bool, int, float, str)


class Decoder:
    """Turns back what `Encoder` made.

    Parameters
    ----------
    parts : dict of class or function to callable, or None
        What is allowed, and for a class what tells whether the parts of an object go together.
    arrays : dict of str to ndarray
    given : dict of str to object, optional
        What was not kept.
    instead : dict of str to object, optional
        Arguments of constructors that are other now, by their names.
    """

    def __init__(
        self,
        parts: Mapping[Any, Callable[[Any], bool] | None],
        arrays: Mapping[str, np.ndarray],
        given: Mapping[str, Any] | None = None,
        instead: Mapping[str, Any] | None = None,
    ) -> None:
        self._parts = {part.__name__: part for part in parts}
        self._checks = dict(parts)
        self._arrays, self._given, self._instead = arrays, dict(given or {}), dict(instead or {})
        self._seen: dict[str, Any] = {}

    def decode(self, node: Any, path: str, hint: Any = Any) -> Any:
        """Return the value of which JSON is, at a path.

        Raises
        ------
        ValueError
            If it is nothing that `Encoder` makes, or not what ``hint`` says.
        """
        value = self._decode(node, path)
        if not fits(value, hint) or (hint is float and not isfinite(value)):
            shown = getattr(hint, "__name__", None) or str(hint)
            raise ValueError(
                f"{path} is of type {type(value).__name__}, {value!r:.60}, where there must be "
                f"{shown}"
            )
        return value

    def _decode(self, node: Any, path: str) -> Any:
        if isinstance(node, PLAIN):
            return node
        if isinstance(node, list):
            return [self._decode(item, f"{path}.{i}") for i, item in enumerate(node)]
        if not isinstance(node, dict) or len(node) != 1:
            raise ValueError(f"{path} must have one key that says what it is; it is {node!r:.60}")
        ((tag, content),) = node.items()
        if tag in self._parts:
            return self._decode_part(self._parts[tag], content, path)
        read = getattr(self, f"_decode_{tag}", None) if tag in TAGS else None
        if read is None:
            raise ValueError(f"{path} is a {tag!r:.60}, which is nothing that is kept")
        return read(content, path)

    def _decode_part(self, part: Any, content: Any, path: str) -> Any:
        """Return an allowed function, or call an allowed class."""
        if inspect.isfunction(part):
            return part
        names = parameters_of(part)
        unknown = sorted(set(_checked(content, dict, path)) - set(names))
        if unknown:
            raise ValueError(
                f"{path} is a {part.__name__}, which has no {unknown[0]!r:.60}; a later version "
                "of skcml may"
            )
        hints = hints_of(part)
        fields = {
            name: self.decode(node, f"{path}.{name}", hints.get(name, Any))
            for name, node in content.items()
        }
        fields |= {name: value for name, value in self._instead.items() if name in fields}
        lacking = [name for name, is_needed in names.items() if is_needed and name not in fields]
        if lacking:
            raise ValueError(f"{path} is a {part.__name__} without {lacking[0]}")
        made, check = part(**fields), self._checks[part]
        if check is not None and not check(made):
            raise ValueError(f"{path} is a {part.__name__} whose arrays do not go together")
        self._seen[path] = made
        return made

    def _decode_array(self, content: Any, path: str) -> np.ndarray:
        name = _checked(content, str, path)
        if name not in self._arrays:
            raise ValueError(f"{path} is the array {name!r:.60}, which there is not")
        return self._arrays[name]

    def _decode_labels(self, content: Any, path: str) -> np.ndarray:
        kind, items = _pair(content, path)
        values = self._decode(_checked(items, list, path), path)
        if kind == "str" and all(isinstance(value, str) for value in values):
            return np.array(values, dtype=str)
        if kind == "object":
            # fromiter, since np.array would make a matrix of tuples.
            return np.fromiter(values, dtype=object, count=len(values))
        if TIMES.fullmatch(_checked(kind, str, path)) and all(fits(v, int) for v in values):
            return np.array(values, dtype=np.int64).astype(kind)
        raise ValueError(f"{path} does not hold labels of the type {kind!r:.60}")

    def _decode_tuple(self, content: Any, path: str) -> tuple[Any, ...]:
        return tuple(self._decode(_checked(content, list, path), path))

    def _decode_dict(self, content: Any, path: str) -> dict[Any, Any]:
        pairs = [_pair(pair, path) for pair in _checked(content, list, path)]
        keys = [self._decode(key, path) for key, _ in pairs]
        return {
            key: self._decode(node, f"{path}.{key}")
            for key, (_, node) in zip(keys, pairs, strict=True)
        }

    def _decode_float(self, content: Any, path: str) -> float:
        if content not in ("inf", "-inf", "nan"):
            raise ValueError(f"{path} is no number: {content!r:.60}")
        return float(content)

    def _decode_date(self, content: Any, path: str) -> date:
        return date.fromisoformat(_checked(content, str, path))

    def _decode_datetime(self, content: Any, path: str) -> datetime:
        return datetime.fromisoformat(_checked(content, str, path))

    def _decode_timedelta(self, content: Any, path: str) -> timedelta:
        return timedelta(*_checked(content, list, path))

    def _decode_same(self, content: Any, path: str) -> Any:
        if _checked(content, str, path) not in self._seen:
            raise ValueError(f"{path} is the same as {content:.60}, which does not come before it")
        return self._seen[content]

    def _decode_given(self, content: Any, path: str) -> Any:
        if _checked(content, str, path) not in self._given:
            raise ValueError(f"{path} is {content:.60}, which was not given")
        return self._given[content]


TAGS = frozenset(
    name.removeprefix("_decode_") for name in vars(Decoder) if name.startswith("_decode_")
) - {"part"}


def _checked(content: Any, kind: type, path: str) -> Any:
    """Return what must be of a type of JSON."""
    if not isinstance(content, kind):
        raise ValueError(f"{path} is {content!r:.60}, where there must be a {kind.__name__}")
    return content


def _pair(content: Any, path: str) -> list[Any]:
    if len(_checked(content, list, path)) != 2:
        raise ValueError(f"{path} has {len(content)} items where there must be two")
    pair: list[Any] = content
    return pair

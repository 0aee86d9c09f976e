"""Types of arguments, and whether a value is what its annotation says."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

# Names of dtypes of dates and durations.
TIMES = re.compile(r"(datetime64|timedelta64)\[(Y|M|W|D|h|m|s|ms|us|ns)\]")
MISSING = object()


@cache
def parameters_of(part: Any) -> dict[str, bool]:
    """Return the names of a constructor's arguments, and whether each is needed."""
    parameters = inspect.signature(part).parameters.values()
    return {p.name: p.default is p.empty for p in parameters}


@cache
def hints_of(part: Any) -> dict[str, Any]:
    """Return the types of a constructor's arguments: those of fields, or of `__init__`."""
    return get_type_hints(part) or get_type_hints(part.__init__)


def fits(value: Any, hint: Any) -> bool:
    """Return whether a value is of a type, as deep as the annotation of the type goes.

    Parameters
    ----------
    value : object
    hint : type, or a generic of `typing`
        An integer is a float too, but a boolean is no integer. Of a protocol, the names of all
        members must be there.
    """
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(fits(value, arg) for arg in args)
    if hint is float or hint is int:
        is_number = isinstance(value, int) or (hint is float and isinstance(value, float))
        return is_number and not isinstance(value, bool)
    if origin is tuple:
        return isinstance(value, tuple) and _all_fit(value, args)
    if origin is list or origin is Sequence:
        is_list = isinstance(value, list) or (origin is Sequence and isinstance(value, tuple))
        return is_list and all(fits(item, args[0]) for item in value)
    if origin is dict or origin is Mapping:
        return isinstance(value, dict) and all(
            fits(key, args[0]) and fits(item, args[1]) for key, item in value.items()
        )
    if getattr(hint, "_is_protocol", False):
        # Without asking properties for their values, which may take long.
        return all(
            inspect.getattr_static(value, name, MISSING) is not MISSING for name in _members(hint)
        )
    return isinstance(value, origin or hint)


def _all_fit(values: tuple[Any, ...], args: tuple[Any, ...]) -> bool:
    """Return whether the items of a tuple are what its annotation says, one by one or all alike."""
    if args[1:] == (...,):
        return all(fits(value, args[0]) for value in values)
    return len(values) == len(args) and all(map(fits, values, args))


def _members(protocol: type) -> set[str]:
    """Return the names that a protocol asks for."""
    asked = {
        name
        for base in protocol.__mro__
        if getattr(base, "_is_protocol", False)
        for name in (*vars(base), *getattr(base, "__annotations__", {}))
    }
    return {name for name in asked if not name.startswith("_") or name == "__call__"}

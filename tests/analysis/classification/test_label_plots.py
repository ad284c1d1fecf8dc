from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from trainyard.analysis.classification import label_plots
from trainyard.analysis.classification.calibration import reliability
from trainyard.analysis.classification.decisions import Decision
from trainyard.analysis.classification.differences import ClassFlips
from trainyard.analysis.classification.metrics import per_class
from trainyard.analysis.classification.threshold_report import table

HOSTILE = ["$x^2$", "日本語", "", "\udcff\x00", "x" * 200, "two\nlines"]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures behind the pictures, laid out."""
    figures: list[Figure] = []
    print_png = FigureCanvasAgg.print_png

    def keep(self: FigureCanvasAgg, *args: object, **kwargs: object) -> None:
        figures.append(self.figure)
        print_png(self, *args, **kwargs)

    monkeypatch.setattr(FigureCanvasAgg, "print_png", keep)
    return figures


def picture(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    image.load()
    assert image.format == "PNG"
    assert image.info.keys() <= {"dpi"}
    assert max(image.size) < 6000
    return image


def test_bars_of_f1(drawn: list[Figure]) -> None:
    rng = np.random.default_rng(0)
    rows = per_class(rng.integers(0, 6, 60), rng.integers(0, 6, 60), HOSTILE)
    png = label_plots.per_class(rows, "run")
    picture(png)
    [axes] = drawn[0].axes
    assert [bar.get_width() for bar in axes.patches] == [row["f1_score"] for row in rows]
    assert axes.yaxis_inverted(), "the first at the top"
    assert label_plots.per_class(rows, "run") == png


def test_a_panel_a_label_with_the_stored_threshold_marked(drawn: list[Figure]) -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.random((40, 6), dtype=np.float32), rng.random((40, 6)) < 0.3
    rows = table(Decision("per_class", (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)), scores, labels, HOSTILE)
    picture(label_plots.thresholds(rows, scores, labels, "run"))
    panels = [axes for axes in drawn[0].axes if axes.get_visible()]
    assert len(panels) == 6
    for row, axes in zip(rows, panels, strict=True):
        curve, _, best, stored, point = axes.lines
        assert stored.get_xdata()[0] == row.threshold
        assert (point.get_xdata()[0], point.get_ydata()[0]) == (row.threshold, row.f1)
        assert best.get_ydata()[0] == row.best_f1 == pytest.approx(max(curve.get_ydata()))
        x, y = np.asarray(curve.get_xdata()), np.asarray(curve.get_ydata())
        assert y[np.flatnonzero(x >= row.threshold)[-1]] == pytest.approx(row.f1), "the curve goes through the mark"
    without = table(Decision("top_k", k=2), scores, labels, HOSTILE)
    picture(label_plots.thresholds(without, scores, labels, "run"))


def test_the_diagram_of_reliability(drawn: list[Figure]) -> None:
    rng = np.random.default_rng(0)
    bins = reliability(rng.random((40, 6)) ** 3, rng.random((40, 6)) < 0.3, bins=10)
    picture(label_plots.reliability(bins, "run", "ECE 0.1"))
    upper, lower = drawn[0].axes
    filled = [row for row in bins if row["count"]]
    assert list(upper.lines[1].get_ydata()) == [row["share"] for row in filled]
    assert [bar.get_height() for bar in lower.patches] == [row["count"] for row in filled]
    texts = [label.get_text() for label in lower.get_yticklabels()]
    assert all(text.replace(",", "").isdigit() for text in texts), texts


def test_flips_to_both_sides(drawn: list[Figure]) -> None:
    rows = [ClassFlips(name, 10, at, 2 * at) for at, name in enumerate(HOSTILE)]
    picture(label_plots.flips(rows, "a → b"))
    [axes] = drawn[0].axes
    assert [bar.get_width() for bar in axes.patches] == [-row.broken for row in rows] + [row.fixed for row in rows]
    assert all("-" not in label.get_text() for label in axes.get_xticklabels())
    picture(label_plots.flips([ClassFlips("only", 0, 0, 0)], "nothing"))


def test_of_very_many_labels_the_first_are_drawn(drawn: list[Figure]) -> None:
    names = [f"c{at}" for at in range(500)]
    rng = np.random.default_rng(0)
    rows = per_class(rng.integers(0, 500, 60), rng.integers(0, 500, 60), names)
    picture(label_plots.per_class(rows, "run"))
    assert len(drawn[0].axes[0].get_yticks()) < 200
    assert "of 500" in drawn[0]._suptitle.get_text()  # type: ignore[attr-defined]

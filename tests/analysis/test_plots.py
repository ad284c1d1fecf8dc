from __future__ import annotations

import io
import math
import subprocess
import sys
from itertools import pairwise

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from trainyard.analysis.plots import confusion_matrix, learning_curves

HOSTILE = [
    'comma, "quote"',
    "two\nlines",
    "$x^2$ $",
    "日本語",
    "日本",
    "😀",
    "🫠 melting",
    "",
    "\udcff\x00",
    "x" * 200,
    "עברית",
]


def history(epochs: int, splits: tuple[str, ...] = ("train", "val")) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for epoch in range(1, epochs + 1):
        rows.append({"step": 10 * epoch - 5, "epoch": epoch - 0.5, "split": "train", "step_loss": 9.0})
        if "train" in splits:
            rows.append({"step": 10 * epoch, "epoch": epoch, "split": "train", "loss": 2 / epoch})
        if "val" in splits:
            loss = 2 / epoch + 0.05 * epoch
            rows.append({"step": 10 * epoch, "epoch": epoch, "split": "val", "loss": loss, "accuracy": 1 - 0.5 / epoch})
    return rows


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
    assert image.info.keys() <= {"dpi"}  # no time stamp, no version
    return image


def test_the_losses_and_the_metric_are_drawn_with_the_best_epoch_marked(drawn: list[Figure]) -> None:
    picture(learning_curves(history(12), "run"))
    left, right = drawn[0].axes
    lines = {line.get_label(): line for line in left.lines}
    assert list(lines["train"].get_xdata()) == list(range(1, 13))
    np.testing.assert_allclose(lines["train"].get_ydata(), [2 / epoch for epoch in range(1, 13)])
    assert [line.get_label() for line in right.lines if not line.get_label().startswith("_")] == ["val"]
    assert right.get_title("left") == "Accuracy"
    best = min(range(1, 13), key=lambda epoch: 2 / epoch + 0.05 * epoch)
    assert left.get_title("right").startswith(f"best: epoch {best}, ")
    assert right.get_title("right") == f"best: epoch {best}, {1 - 0.5 / best:.4g}"


def test_the_metric_and_the_best_epoch_can_be_named(drawn: list[Figure]) -> None:
    rows = [{"epoch": epoch, "split": "val", "loss": 1.0, "f1_macro": 0.1 * epoch} for epoch in (1, 2, 3)]
    learning_curves(rows, "run", metric="f1_macro", best_epoch=2)
    assert drawn[0].axes[1].get_title("left") == "F1 macro"
    assert drawn[0].axes[1].get_title("right") == "best: epoch 2, 0.2"
    learning_curves(rows, "run")
    assert drawn[1].axes[1].get_title("left") == "F1 macro"


@pytest.mark.parametrize(
    "rows",
    [
        [],
        history(1),
        history(2),
        history(300),
        history(5, splits=("train",)),
        history(5, splits=("val",)),
        [{**row, "loss": math.nan} for row in history(3)],
        [{**row, "loss": math.nan if row["epoch"] == 2 else 1.0} for row in history(4)],
        [{**row, "loss": math.inf, "accuracy": -math.inf} for row in history(3)],
        [{**row, "accuracy": None} for row in history(3)],
        [{"step": 1, "epoch": None, "split": "val", "loss": 1.0}],
        [{"epoch": 1, "split": "val", "loss": 1e-300}, {"epoch": 2, "split": "val", "loss": 1e300}],
        [{"epoch": 1, "split": "val", "loss": 0.0}, {"epoch": 2, "split": "val", "loss": 0.0}],
    ],
)
def test_any_history_can_be_drawn(rows: list[dict[str, object]]) -> None:
    picture(learning_curves(rows, "run"))


def test_values_that_are_not_finite_leave_a_gap(drawn: list[Figure]) -> None:
    rows = [
        {"epoch": epoch, "split": "val", "loss": loss}
        for epoch, loss in enumerate([1.0, math.nan, 0.5, math.inf, 0.7], 1)
    ]
    learning_curves(rows, "run")
    left = drawn[0].axes[0]
    np.testing.assert_array_equal(left.lines[0].get_ydata(), [1.0, math.nan, 0.5, math.nan, 0.7])
    assert left.get_title("right") == "best: epoch 3, 0.5"


def test_of_several_rows_for_an_epoch_the_last_counts(drawn: list[Figure]) -> None:
    learning_curves([{"epoch": 1, "split": "val", "loss": loss} for loss in (3.0, 2.0)], "run")
    np.testing.assert_array_equal(drawn[0].axes[0].lines[0].get_ydata(), [2.0])


@pytest.mark.parametrize("title", [*HOSTILE, "$", "a_b $c", "\\frac{"])
def test_any_title_and_class_name_can_be_drawn(title: str) -> None:
    picture(learning_curves(history(2), title))
    picture(confusion_matrix(np.eye(2), ["a", title], title))


def test_names_that_cannot_be_drawn_are_told_apart_by_their_number(drawn: list[Figure]) -> None:
    names = ["plain", "", "\ue000", "\ue000 tail", "line\nbreak", "a" * 20 + "b" * 20]
    confusion_matrix(np.eye(6), names, "t")
    shown = [label.get_text() for label in drawn[0].axes[0].get_yticklabels()]
    assert shown == ["plain", "class 1", "class 2", "3: tail", "line break", "aaaaaaaaaaaaaaaa…bbbbbbb"]


@pytest.mark.parametrize(
    ("n", "name", "count"),
    [
        *[(1, "{}", 3), (2, "class {}", 10**7), (3, "{}", 0), (10, "{}", 40), (11, "a rather long name {}", 1000)],
        *[(30, "a rather long name {}", 99999), (30, "{}", 1), (31, "class {}", 5), (60, "class {}", 5)],
        *[(61, "class {}", 5), (200, "a rather long name {}", 5)],
    ],
)
def test_nothing_in_a_confusion_matrix_overlaps(drawn: list[Figure], n: int, name: str, count: int) -> None:
    matrix = np.full((n, n), count // 7)
    np.fill_diagonal(matrix, count)
    names = [name.format(index) for index in range(n)]
    image = picture(confusion_matrix(matrix, names, "a project / a model with a long name · test"))
    assert max(image.size) < 4000
    figure = drawn[0]
    axes = figure.axes[0]
    whole = figure.bbox
    ticks = [*axes.get_xticklabels(), *axes.get_yticklabels()]
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        boxes = [label.get_window_extent() for label in labels]
        for first, second in pairwise(boxes):
            assert not first.overlaps(second)
    for text in [
        *ticks,
        *axes.texts,
        axes.xaxis.label,
        axes.yaxis.label,
        axes.title,
        *axes.child_axes[0].get_yticklabels(),
    ]:
        box = text.get_window_extent()
        assert whole.x0 <= box.x0
        assert box.x1 <= whole.x1
        assert whole.y0 <= box.y0
        assert box.y1 <= whole.y1
    cell = axes.get_window_extent().width / n
    counts = [text for text in axes.texts if text.get_text().isdigit()]
    assert len(counts) == (np.count_nonzero(matrix) if n <= 30 else 0)
    assert all(text.get_window_extent().width < cell for text in counts)


def test_colours_are_shares_of_the_row_and_cells_hold_counts(drawn: list[Figure]) -> None:
    confusion_matrix([[8, 2, 0], [0, 0, 0], [1, 0, 1]], ["a", "b", "c"], "t")
    axes = drawn[0].axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.8, 0.2, 0], [0, 0, 0], [0.5, 0, 0.5]])
    counts = {(t.get_position(), t.get_text()) for t in axes.texts if t.get_text().isdigit()}
    assert counts == {((0, 0), "8"), ((1, 0), "2"), ((0, 2), "1"), ((2, 2), "1")}
    assert "Accuracy 75.0 % · 12 items" in [text.get_text() for text in axes.texts]


def test_a_matrix_that_does_not_fit_its_classes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"3 classes .* \(2, 2\)"):
        confusion_matrix(np.eye(2), ["a", "b", "c"], "t")
    with pytest.raises(ValueError, match="0 classes"):
        confusion_matrix(np.zeros((0, 0)), [], "t")


def test_same_input_same_bytes_whatever_the_users_style() -> None:
    curves, matrix = learning_curves(history(3), "run"), confusion_matrix(np.eye(3), ["a", "b", "c"], "run")
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "lines.linewidth": 9, "savefig.dpi": 10}):
        assert learning_curves(history(3), "run") == curves
        assert confusion_matrix(np.eye(3), ["a", "b", "c"], "run") == matrix
    assert dict(matplotlib.rcParams) == before
    code = (
        "import sys; import numpy as np; from trainyard.analysis.plots import confusion_matrix\n"
        "sys.stdout.buffer.write(confusion_matrix(np.eye(3), ['a', 'b', 'c'], 'run'))\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == matrix

from __future__ import annotations

import io
import logging
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from trainyard.analysis.classification.scoring import SingleLabel
from trainyard.errors import BadNameError
from trainyard.runs import BestStep, RunReader
from trainyard.runs.events import Progressed
from trainyard.training.evaluate import Predictions
from trainyard.training.events import EpochEnded, Sink, StepLogged
from trainyard.training.progress import Best
from trainyard.training.sinks import ConsoleSink, HistorySink, LogSink, epoch_line

HEADLINE = SingleLabel(("a", "b")).headline
VAL = {"loss": 0.5, "accuracy": 0.75, "f1_macro": 0.7, "precision_macro": 0.6}


def epoch_ended(epoch: int = 1, **changes: Any) -> EpochEnded:
    nothing = np.zeros(0, dtype=np.int64)
    values: dict[str, Any] = {
        "step": epoch * 10,
        "epoch": epoch,
        "epochs": 12,
        "train": {"loss": 0.25, "learning_rate": 0.1},
        "val": VAL,
        "best": Best(0.5, epoch * 10, epoch),
        "improved": True,
        "predictions": Predictions(nothing, nothing, {}, VAL),
        "seconds": 2.0,
        "waited_s": 0.5,
    }
    return EpochEnded(**{**values, **changes})


def emit_all(sink: Sink, *events: Any) -> None:
    for event in events:
        sink.emit(event)
    sink.close()


def test_the_history_gets_every_value_and_the_journal_each_epoch(new_run) -> None:
    run = new_run()
    written: list[tuple[Progressed, bool]] = []
    sink = HistorySink(run, "val_loss", lambda *told: written.append(told))
    steps = StepLogged(5, 0.5, {"step_loss": 0.3, "learning_rate": 0.1})
    emit_all(sink, steps, epoch_ended(), epoch_ended(2, checkpoint_follows=True))
    run.sync_history()
    rows = [{k: v for k, v in row.items() if k != "time"} for row in RunReader(run.yard, run.home).history()]
    assert rows[:3] == [
        {"step": 5, "epoch": 0.5, "split": "train", "step_loss": 0.3, "learning_rate": 0.1},
        {"step": 10, "epoch": 1.0, "split": "train", "loss": 0.25, "learning_rate": 0.1},
        {"step": 10, "epoch": 1.0, "split": "val", **VAL},
    ]
    assert len(rows) == 5
    assert run.snapshot.step == 0, "the journal waits for whoever writes behind"
    assert [follows for _, follows in written] == [False, True]
    for event, _ in written:
        run.event(event)
    assert (run.snapshot.step, run.snapshot.epoch) == (20, 2)
    assert run.snapshot.metrics == {"train_loss": 0.25, "train_learning_rate": 0.1} | {
        f"val_{k}": v for k, v in VAL.items()
    }
    assert run.snapshot.best == BestStep(20, 2, 0.5, "val_loss")


def test_without_a_best_epoch_the_journal_has_none(new_run) -> None:
    run = new_run()
    HistorySink(run, "val_loss", lambda event, _: run.event(event)).emit(epoch_ended(best=Best(), improved=False))
    assert run.snapshot.best is None


def test_a_metric_with_the_name_of_a_column_is_refused(new_run) -> None:
    with pytest.raises(BadNameError) as caught:
        HistorySink(new_run(), "val_loss", lambda *_: None).emit(StepLogged(1, 0.1, {"step": 1.0}))
    assert caught.value.value == "step"


def test_the_log_has_a_line_an_epoch_and_steps_for_those_who_look(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("test-sinks")
    with caplog.at_level(logging.DEBUG, "test-sinks"):
        emit_all(LogSink(logger, HEADLINE), StepLogged(5, 0.5, {"step_loss": 0.3}), epoch_ended())
    (step, epoch) = caplog.records
    assert step.levelno == logging.DEBUG
    assert step.getMessage() == "step 5  step_loss 0.3"
    assert epoch.levelno == logging.INFO
    assert epoch.getMessage() == epoch_line(epoch_ended(), HEADLINE)


def test_the_line_of_an_epoch() -> None:
    assert epoch_line(epoch_ended(), HEADLINE) == (
        "epoch  1/12  step 10  train_loss 0.2500  val_loss 0.5000  val_accuracy 0.7500  val_f1_macro 0.7000  "
        "2.0 s (25% waiting for data)  *"
    )
    assert not epoch_line(epoch_ended(improved=False), HEADLINE).endswith("*")
    assert "0% waiting" in epoch_line(epoch_ended(seconds=0.0, waited_s=0.0), HEADLINE)
    assert "val_" not in epoch_line(epoch_ended(val={}), HEADLINE)


def test_a_line_has_room_for_the_headline_of_the_task_alone() -> None:
    line = epoch_line(epoch_ended(val={"auc": 1.0, "wer": 0.25, "loss": 2.0}), ("loss", "wer", "cer"))
    assert "  val_loss 2.0000  val_wer 0.2500  2.0 s" in line
    assert "auc" not in line
    assert "cer" not in line


def test_plain_lines_where_there_is_no_terminal() -> None:
    out = io.StringIO()
    sink = ConsoleSink(Console(file=out, width=60), HEADLINE, 10, 12)
    emit_all(sink, StepLogged(5, 0.5, {"step_loss": 0.3}), epoch_ended(), epoch_ended(2))
    assert out.getvalue().splitlines() == [epoch_line(epoch_ended(), HEADLINE), epoch_line(epoch_ended(2), HEADLINE)]


def test_a_bar_on_a_terminal_that_starts_where_a_resumed_run_stands() -> None:
    out = io.StringIO()
    sink = ConsoleSink(Console(file=out, width=100, force_terminal=True), HEADLINE, 10, 12, start=110)
    emit_all(sink, StepLogged(115, 11.5, {"step_loss": 0.3}), epoch_ended(12))
    assert "step 110/120" in out.getvalue()
    assert "epoch 12/12" in out.getvalue()


def test_markup_in_names_is_printed_as_it_is() -> None:
    out = io.StringIO()
    sink = ConsoleSink(Console(file=out, width=60), HEADLINE, 10, 12)
    emit_all(sink, epoch_ended(val={"loss": 1.0}))
    assert "[" not in out.getvalue()

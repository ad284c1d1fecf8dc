"""Checkpoints: what ten of them take on disk, and how long training stands still for one.

* disk: ten checkpoints of one text classifier (DistilBERT-shaped, 35 M parameters) of which only the head (1 %
  of the weights, as with LoRA or a linear probe) or the last layer and the head (10 %) is trained, all kept; in
  multiples of the model's own weights, hard links counted once. With optimizer state in each (both tools'
  default), and with it in the newest only (Trainyard `keep_optimizer=last`, HF Trainer `save_only_model=True`).
* stall: 16 M parameters, all trained, with AdamW: 192 MB a checkpoint. `stands still` is the time in the call.
  `added` is what a stretch of training steps with one checkpoint near its beginning takes longer than the same
  stretch without, measured one after the other: a background writer that steals time from the steps pays for it
  here. HF Trainer and plain `torch.save` leave it to the operating system when the bytes reach the disk. Each
  stretch begins with clean buffers.

Beside us: torch.save and safetensors, synchronous; torch.distributed.checkpoint.async_save, PyTorch's own
background writer (its files are fsynced); HF Trainer's own saving.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import (
    US,
    Column,
    Measure,
    Tool,
    arguments,
    begin,
    chosen,
    disk_bytes,
    interleave,
    show,
    sync_tree,
)

CHECKPOINTS = 10
STEPS_BEFORE, STEPS_AFTER = 3, 25


def encoder(trained: str) -> Any:
    """A DistilBERT-shaped classifier with random weights; `trained` is head or layer."""
    import torch
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    torch.manual_seed(0)
    model = DistilBertForSequenceClassification(
        DistilBertConfig(dim=512, hidden_dim=2048, n_layers=6, n_heads=8, vocab_size=30522, num_labels=28)
    )
    for name, parameter in model.named_parameters():
        parameter.requires_grad = "distilbert" not in name or (trained == "layer" and "layer.5." in name)
    return model


def weight_bytes(model: Any) -> int:
    return sum(p.numel() * p.element_size() for p in model.state_dict().values())


def one_step(model: Any, optimizer: Any) -> None:
    """Changes the trained weights and makes their optimizer state."""
    import torch

    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn_like(parameter) * 1e-3
    optimizer.step()


def keeper(model: Any, optimizer: Any, *, keep: int | None, optimizer_in: str) -> tuple[Callable[[int], None], Any]:
    """Trainyard's own checkpointing as its training loop uses it: (save at this step, the checkpointer)."""
    import torch

    from trainyard.layouts import load_layout
    from trainyard.metric import VAL_LOSS
    from trainyard.retention import KeepPolicy
    from trainyard.runs import Yard, create_run
    from trainyard.training.checkpoint.capture import Capture, Trainee
    from trainyard.training.checkpoint.checkpointer import Checkpointer
    from trainyard.training.loop import SaveRequest
    from trainyard.training.process import start
    from trainyard.training.progress import Progress

    run = create_run(
        Yard("yard", create=True), load_layout("grouped"), project="bench", dataset="none", model="encoder"
    )
    process = start("cpu")
    trainee = Trainee(model, optimizer, None, torch.amp.GradScaler("cpu", enabled=False), process.device, {}, {})
    checkpointer = Checkpointer(
        run,
        Capture(trainee, run.yard.objects),
        process,
        KeepPolicy(last=keep, optimizer=optimizer_in),
        monitor="val_loss",
        mode="min",
    )

    def save(step: int) -> None:
        progress = Progress(step=step, epoch=step)
        checkpointer.save(SaveRequest(progress, float(step), {VAL_LOSS: 1.0}, False, improved=False))

    return save, checkpointer


# -- disk


def disk_trainyard(trained: str) -> Measure:
    import torch

    def measure() -> dict[str, float]:
        values = {}
        for quantity, optimizer_in in (("with", "all"), ("newest", "last")):
            shutil.rmtree("yard", ignore_errors=True)
            model = encoder(trained)
            optimizer = torch.optim.AdamW(p for p in model.parameters() if p.requires_grad)
            save, checkpointer = keeper(model, optimizer, keep=None, optimizer_in=optimizer_in)
            for step in range(1, CHECKPOINTS + 1):
                one_step(model, optimizer)
                save(step)
            checkpointer.wait()
            checkpointer.close()
            kept = list(Path("yard").rglob("checkpoint-*"))
            if len(kept) != CHECKPOINTS:
                raise RuntimeError(f"{len(kept)} checkpoints instead of {CHECKPOINTS}")
            # What retention set aside can be emptied at any time, and is what the other tool deletes at once.
            shutil.rmtree("yard/.yard/trash", ignore_errors=True)
            values[quantity] = disk_bytes(Path("yard")) / weight_bytes(model)
        return values

    return measure


def disk_hf(trained: str) -> Measure:
    import torch
    from transformers import Trainer, TrainingArguments

    def measure() -> dict[str, float]:
        values = {}
        for quantity, only_model in (("with", False), ("newest", True)):
            shutil.rmtree("hf", ignore_errors=True)
            model = encoder(trained)
            items = [{"input_ids": torch.arange(1, 9), "labels": torch.tensor(n % 28)} for n in range(8)]
            trainer = Trainer(
                model=model,
                args=TrainingArguments(
                    output_dir="hf",
                    max_steps=CHECKPOINTS,
                    per_device_train_batch_size=1,
                    save_strategy="steps",
                    save_steps=1,
                    save_total_limit=None,
                    save_only_model=only_model,
                    report_to="none",
                    disable_tqdm=True,
                    use_cpu=True,
                    logging_strategy="no",
                ),
                train_dataset=items,
            )
            trainer.train()
            values[quantity] = disk_bytes(Path("hf")) / weight_bytes(model)
        shutil.rmtree("hf")
        return values

    return measure


# -- stall


class Training:
    """Steps of a real training to interrupt: 16 M parameters, about 20 ms a step."""

    def __init__(self) -> None:
        import torch

        torch.manual_seed(0)
        width = 2000
        self.model = torch.nn.Sequential(*[torch.nn.Linear(width, width) for _ in range(4)])
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)
        self.batch = torch.randn(16, width)

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.optimizer.zero_grad(set_to_none=True)
            self.model(self.batch).square().mean().backward()
            self.optimizer.step()

    def state(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}


def stretch(training: Training, save: Callable[[int], None], finish: Callable[[], None]) -> Measure:
    """Steps without and with a checkpoint; `finish` waits for a background writer and makes room."""
    number = iter(range(1, 1_000_000))
    training.steps(5)

    def measure() -> dict[str, float]:
        os.sync()  # what others left in the buffers of the disk is not for this one to write
        start = time.perf_counter()
        training.steps(STEPS_BEFORE + STEPS_AFTER)
        undisturbed = time.perf_counter() - start
        start = time.perf_counter()
        training.steps(STEPS_BEFORE)
        asked = time.perf_counter()
        save(next(number))
        returned = time.perf_counter()
        training.steps(STEPS_AFTER)
        added = time.perf_counter() - start - undisturbed
        finish()
        return {"stall_s": returned - asked, "added_s": added}

    return measure


def stall_trainyard() -> Measure:
    training = Training()
    save, checkpointer = keeper(training.model, training.optimizer, keep=1, optimizer_in="all")

    def finish() -> None:
        checkpointer.wait()
        shutil.rmtree("yard/.yard/trash", ignore_errors=True)

    return stretch(training, save, finish)


def stall_files(how: str, fsync: bool) -> Measure:
    import torch
    from safetensors.torch import save_file

    training = Training()
    target = Path("checkpoint").resolve()

    def save(_: int) -> None:
        staged = target.with_suffix(".new")
        staged.mkdir()
        if how == "safetensors":
            save_file(training.model.state_dict(), staged / "model.safetensors")
            torch.save(training.optimizer.state_dict(), staged / "optimizer.pt")
        else:
            torch.save(training.state(), staged / "checkpoint.pt")
        if fsync:
            sync_tree(staged)
        shutil.rmtree(target, ignore_errors=True)
        staged.rename(target)

    return stretch(training, save, lambda: None)


def stall_dcp() -> Measure:
    import torch.distributed.checkpoint as dcp

    training = Training()
    pending: list[Any] = []

    def save(step: int) -> None:
        pending.append(dcp.async_save(training.state(), checkpoint_id=f"dcp-{step}", no_dist=True))

    def finish() -> None:
        pending.pop().result()
        for path in sorted(Path().glob("dcp-*"))[:-1]:
            shutil.rmtree(path)

    return stretch(training, save, finish)


def stall_hf() -> Measure:
    from transformers import Trainer, TrainingArguments

    training = Training()
    trainer = Trainer(
        model=training.model,
        args=TrainingArguments(output_dir="hf", report_to="none", disable_tqdm=True, use_cpu=True, save_total_limit=1),
        optimizers=(training.optimizer, None),
    )
    trainer.create_scheduler(num_training_steps=1000)

    def save(step: int) -> None:
        trainer.state.global_step = step
        trainer._save_checkpoint(training.model, trial=None)  # what train() calls when a save is due

    def finish() -> None:
        for path in sorted(Path("hf").glob("checkpoint-*"), key=lambda p: p.stat().st_mtime)[:-1]:
            shutil.rmtree(path)

    return stretch(training, save, finish)


REFERENCE = "torch.save + fsync"


def main() -> None:
    parser = arguments(__doc__, repeats=5)
    options = begin(parser, "torch", "transformers", "safetensors")
    for trained, share in (("head", "1 %"), ("layer", "10 %")):
        tools = [Tool(US, disk_trainyard, {"trained": trained}), Tool("HF Trainer", disk_hf, {"trained": trained})]
        show(
            f"ten checkpoints of a model with {share} of its weights trained, x the weights of one",
            interleave(tools, 1, warm_up=0),
            [
                Column("with", "optimizer state in each", "x", 1, ratio=False),
                Column("newest", "in the newest (HF: in none)", "x", 1, ratio=False),
            ],
            US,
        )
    tools = [
        Tool(REFERENCE, stall_files, {"how": "torch", "fsync": True}),
        Tool("safetensors + fsync", stall_files, {"how": "safetensors", "fsync": True}),
        Tool("torch.save, not durable", stall_files, {"how": "torch", "fsync": False}),
        Tool("HF Trainer, not durable", stall_hf),
        Tool("DCP async_save", stall_dcp),
        Tool(US, stall_trainyard),
    ]
    results = interleave(chosen(tools, options.only), options.repeats)
    show(
        "one checkpoint of 192 MB during training",
        results,
        [Column("stall_s", "stands still", "ms", 1e3, 0), Column("added_s", "added to the stretch", "ms", 1e3, 0)],
        REFERENCE,
    )


if __name__ == "__main__":
    main()

"""The training loop: 784-453-10, or a four-layer transformer; batch 64, AdamW, 1,000 images held out each epoch.

`bare` is what a person writes by hand over tensors in memory; everyone gets the same work: the same
model, fused AdamW (`unfused` shows what fusing is worth), no clipping, one validation an epoch. Peers
are measured lean (no logger, no checkpoints) and as Trainyard always runs (metrics logged every 50
steps, a checkpoint with optimizer state each epoch; Trainyard once more with `checkpoint.every=auto`). Timed from
the first step to the end of training, the last checkpoint on disk, without imports, data loading and set-up. The
network with 784 inputs sees 10,000 images an epoch, the transformer 2,000, as 28 tokens of 28.

The trainings have 20 epochs, a few seconds; BENCHMARK_EPOCHS=4 shows how much of a training shorter than a second is
its end, with the final checkpoint.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from benchmarks.common import US, Column, Measure, Tool, arguments, begin, chosen, interleave, show

HELD_OUT, BATCH, LOG_EVERY = 1_000, 64, 50
EPOCHS = int(os.environ.get("BENCHMARK_EPOCHS", "20"))  # inherited by the processes of the tools
ITEMS = {"mlp": 10_000, "transformer": 2_000}
NETWORK = os.environ.get("BENCHMARK_NETWORK", "mlp")
STEPS = EPOCHS * -(-ITEMS[NETWORK] // BATCH)


def images() -> tuple[Any, Any, Any, Any]:
    """Learnable stand-ins for 28 x 28 photographs: uint8 [N, 28, 28] and int64 labels, train then validation."""
    import numpy as np

    rng = np.random.default_rng(0)
    prototypes = rng.uniform(0, 255, (10, 28, 28))
    labels = rng.integers(0, 10, ITEMS[NETWORK] + HELD_OUT)
    pictures = np.clip(prototypes[labels] * 0.5 + rng.normal(64, 48, (len(labels), 28, 28)), 0, 255).astype("uint8")
    items = ITEMS[NETWORK]
    return pictures[:items], labels[:items], pictures[items:], labels[items:]


def tensors() -> tuple[Any, Any, Any, Any]:
    """The images as float32 [N, 784] in [0, 1], ready in memory: the best case for everyone."""
    import torch

    x, y, val_x, val_y = images()
    flat = [torch.from_numpy(part).reshape(len(part), -1).float().div_(255) for part in (x, val_x)]
    return flat[0], torch.from_numpy(y), flat[1], torch.from_numpy(val_y)


def network() -> Any:
    import torch

    torch.manual_seed(0)
    if NETWORK == "mlp":
        return torch.nn.Sequential(torch.nn.Linear(784, 453), torch.nn.ReLU(), torch.nn.Linear(453, 10))

    class Transformer(torch.nn.Module):
        """Four layers of width 128 over the 28 rows of an image."""

        def __init__(self) -> None:
            super().__init__()
            self.embed = torch.nn.Linear(28, 128)
            self.positions = torch.nn.Parameter(torch.zeros(28, 128))
            layer = torch.nn.TransformerEncoderLayer(128, 4, 256, dropout=0.0, batch_first=True)
            self.layers = torch.nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
            self.head = torch.nn.Linear(128, 10)

        def forward(self, x: Any) -> Any:
            tokens = self.embed(x.reshape(len(x), 28, 28)) + self.positions
            return self.head(self.layers(tokens).mean(dim=1))

    return Transformer()


def timed(run: Callable[[], float]) -> Measure:
    """Seconds a step of `run`, which returns its seconds of training."""
    return lambda: {"step_s": run() / STEPS}


class Together:
    """Rows of two tensors, fetched a batch at a time: spares peers the cost of collating 64 items one by one."""

    def __init__(self, x: Any, y: Any, names: tuple[str, str] | None = None) -> None:
        self.x, self.y, self.names = x, y, names

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> Any:
        x, y = self.x[indices], self.y[indices]
        return {self.names[0]: x, self.names[1]: y} if self.names else (x, y)


def unchanged(batch: Any) -> Any:
    return batch


def loader(x: Any, y: Any, *, shuffle: bool) -> Any:
    import torch

    return torch.utils.data.DataLoader(Together(x, y), batch_size=BATCH, shuffle=shuffle, collate_fn=unchanged)


# -- by hand


def bare(fused: bool) -> Measure:
    import torch

    x, y, val_x, val_y = tensors()

    def run() -> float:
        model = network()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=fused)
        loss_of = torch.nn.functional.cross_entropy
        start = time.perf_counter()
        for _ in range(EPOCHS):
            model.train()
            for indices in torch.randperm(len(y)).split(BATCH):
                optimizer.zero_grad(set_to_none=True)
                loss_of(model(x[indices]), y[indices]).backward()
                optimizer.step()
            model.eval()
            with torch.inference_mode():
                logits = model(val_x)
                float(loss_of(logits, val_y)), float((logits.argmax(1) == val_y).float().mean())
        return time.perf_counter() - start

    return timed(run)


# -- peers


def hf_trainer(full: bool) -> Measure:
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    x, y, val_x, val_y = tensors()

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network()

        def forward(self, x: Any, labels: Any) -> dict[str, Any]:
            logits = self.network(x)
            return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}

    class Clock(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.start = time.perf_counter()

        def on_train_end(self, *_: Any, **__: Any) -> None:
            self.seconds = time.perf_counter() - self.start

    def accuracy(prediction: Any) -> dict[str, float]:
        return {"accuracy": float((prediction.predictions.argmax(1) == prediction.label_ids).mean())}

    def run() -> float:
        clock = Clock()
        trainer = Trainer(
            model=Classifier(),
            args=TrainingArguments(
                output_dir="hf",
                num_train_epochs=EPOCHS,
                per_device_train_batch_size=BATCH,
                per_device_eval_batch_size=HELD_OUT,
                learning_rate=1e-3,
                weight_decay=0.01,
                max_grad_norm=0.0,
                lr_scheduler_type="constant",
                optim="adamw_torch_fused",
                eval_strategy="epoch",
                use_cpu=True,
                save_strategy="epoch" if full else "no",
                save_total_limit=3,
                logging_strategy="steps" if full else "no",
                logging_steps=LOG_EVERY,
                remove_unused_columns=False,
                report_to="tensorboard" if full else "none",
                disable_tqdm=True,
                dataloader_pin_memory=False,
            ),
            train_dataset=Together(x, y, ("x", "labels")),
            eval_dataset=Together(val_x, val_y, ("x", "labels")),
            data_collator=unchanged,
            compute_metrics=accuracy,
            callbacks=[clock],
        )
        trainer.train()
        return clock.seconds

    return timed(run)


def lightning(full: bool) -> Measure:
    import logging

    import lightning
    import torch
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.loggers import TensorBoardLogger

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    x, y, val_x, val_y = tensors()

    class Classifier(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = network()

        def training_step(self, batch: Any) -> Any:
            loss = torch.nn.functional.cross_entropy(self.network(batch[0]), batch[1])
            if full:
                self.log("train_loss", loss)
            return loss

        def validation_step(self, batch: Any) -> None:
            logits = self.network(batch[0])
            self.log("val_loss", torch.nn.functional.cross_entropy(logits, batch[1]))
            self.log("val_accuracy", (logits.argmax(1) == batch[1]).float().mean())

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=1e-3, fused=True)

    class Clock(lightning.Callback):
        def on_train_start(self, *_: Any) -> None:
            self.start = time.perf_counter()

        def on_train_end(self, *_: Any) -> None:
            self.seconds = time.perf_counter() - self.start

    def run() -> float:
        clock = Clock()
        trainer = lightning.Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=EPOCHS,
            log_every_n_steps=LOG_EVERY,
            num_sanity_val_steps=0,
            logger=TensorBoardLogger("lightning") if full else False,
            enable_checkpointing=full,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[clock, ModelCheckpoint(save_top_k=3, monitor="val_loss")] if full else [clock],
        )
        held_out = torch.utils.data.DataLoader(Together(val_x, val_y), batch_size=HELD_OUT, collate_fn=unchanged)
        trainer.fit(Classifier(), loader(x, y, shuffle=True), held_out)
        return clock.seconds

    return timed(run)


def accelerate(full: bool) -> Measure:
    import torch
    from accelerate import Accelerator

    x, y, val_x, val_y = tensors()

    def run() -> float:
        accelerator = Accelerator(cpu=True, log_with="tensorboard" if full else None, project_dir="accelerate")
        if full:
            accelerator.init_trackers("bench")
        model = network()
        model, optimizer, batches = accelerator.prepare(
            model, torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True), loader(x, y, shuffle=True)
        )
        loss_of = torch.nn.functional.cross_entropy
        step = 0
        start = time.perf_counter()
        for epoch in range(EPOCHS):
            model.train()
            for inputs, labels in batches:
                optimizer.zero_grad(set_to_none=True)
                loss = loss_of(model(inputs), labels)
                accelerator.backward(loss)
                optimizer.step()
                step += 1
                if full and step % LOG_EVERY == 0:
                    accelerator.log({"train_loss": loss.item()}, step=step)
            model.eval()
            with torch.inference_mode():
                logits = model(val_x)
                values = {
                    "val_loss": float(loss_of(logits, val_y)),
                    "val_accuracy": float((logits.argmax(1) == val_y).float().mean()),
                }
            if full:
                accelerator.log(values, step=step)
                accelerator.save_state(f"accelerate/checkpoint-{epoch}")
        seconds = time.perf_counter() - start
        accelerator.end_training()
        return seconds

    return timed(run)


# -- ours


def trainyard(every_epoch: bool) -> Measure:
    """`trainyard.fit` as it comes: history, log, TensorBoard, durable checkpoints.

    Timed from entering the loop until the last checkpoint is on disk.

    Args:
        every_epoch: a checkpoint each epoch; otherwise as often as they are worth it.
    """
    import trainyard
    from trainyard.running import attempt

    x, y, val_x, val_y = tensors()
    fit, seconds = attempt.fit, []

    def timed_fit(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        progress = fit(*args, **kwargs)
        kwargs["save"].__self__.wait()
        seconds.append(time.perf_counter() - start)
        return progress

    attempt.fit = timed_fit

    def run() -> float:
        trainyard.fit(
            network(),
            train=(x, y),
            val=(val_x, val_y),
            yard="yard",
            epochs=EPOCHS,
            batch_size=BATCH,
            learning_rate=1e-3,
            log_every=LOG_EVERY,
            plots=False,
            quiet=True,
            **({"every_epochs": 1} if every_epoch else {}),
        )
        return seconds.pop()

    return timed(run)


def main() -> None:
    parser = arguments(__doc__, repeats=7)
    parser.epilog = "BENCHMARK_NETWORK=transformer measures the four-layer transformer."
    options = begin(parser, "torch", "transformers", "accelerate", "lightning")
    tools = [
        Tool("bare loop, fused AdamW", bare, {"fused": True}),
        Tool("bare loop, AdamW unfused", bare, {"fused": False}),
        Tool(f"{US}, log + checkpoints", trainyard, {"every_epoch": False}),
        Tool(f"{US}, log + a checkpoint each epoch", trainyard, {"every_epoch": True}),
        Tool("Accelerate, lean", accelerate, {"full": False}),
        Tool("Accelerate, log + checkpoints", accelerate, {"full": True}),
        Tool("Lightning, lean", lightning, {"full": False}),
        Tool("Lightning, log + checkpoints", lightning, {"full": True}),
        Tool("HF Trainer, lean", hf_trainer, {"full": False}),
        Tool("HF Trainer, log + checkpoints", hf_trainer, {"full": True}),
    ]
    results = interleave(chosen(tools, options.only), options.repeats)
    show(
        f"training loop, {NETWORK}, time a step ({STEPS} steps a repeat)",
        results,
        [Column("step_s", "step", "ms", 1e3, 3)],
        "bare loop, fused AdamW",
    )


if __name__ == "__main__":
    main()

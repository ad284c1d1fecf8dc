#!/bin/sh
# How yard-0.1.tar.xz was made, by the first version: runs of every layout and kind of data, four of them killed.
# killed.py N runs a command and kills it, by SIGKILL, after its N-th checkpoint.
cat > killed.py <<'P'
import os, signal, sys
from trainyard.training.checkpoint.checkpointer import Checkpointer
at=int(sys.argv.pop(1)); seen=0
original=Checkpointer.save
def save(self, request):
    global seen
    original(self, request); seen+=1
    if seen==at:
        self.wait(); os.kill(os.getpid(), signal.SIGKILL)
Checkpointer.save=save
from trainyard.cli.main import main
main()
P
T="python -m trainyard train"
Y="--yard y"
D="digits model=mlp model.hidden=[8] outputs.plots=false training.log_every=10 tracker=none"
X="data.sentences=200 model.hidden_size=16 model.num_layers=1 model.num_heads=2 model.ffn_size=16 model.vocabulary=200 outputs.plots=false tracker=none"
S="data.speakers=4 data.takes=1 data.clip_seconds=1 model.hidden_size=16 model.num_layers=2 model.num_heads=2 model.ffn_size=16 model.method=lora outputs.plots=false tracker=none"
for l in grouped shared dated trials files; do $T $D training.epochs=3 layout=$l run.name=done_$l $Y; done
$T spectrogram data.speakers=4 data.takes=1 data.clip_seconds=1 data.n_mels=16 data.sample_rate=8000 training.epochs=2 model=cnn 'model.channels=[4]' training.distillation.enabled=false outputs.plots=false tracker=none run.name=sound layout=grouped $Y
$T emotions $X training.epochs=2 run.name=texts layout=grouped $Y
$T vocalizations $S training.epochs=2 run.name=speech layout=grouped $Y
K="python killed.py"
for l in grouped trials; do $K 5 train $D training.epochs=4 layout=$l run.name=killed_$l checkpoint.every_steps=7 $Y; done
$K 3 train emotions $X training.epochs=3 run.name=killed_texts layout=files checkpoint.every_steps=3 outputs.artifacts=false $Y
$K 3 train vocalizations $S training.epochs=4 run.name=killed_speech layout=grouped $Y
python - <<'P'
import trainyard, torch
with trainyard.start_run(project="own", config={"lr": 0.1}, name="loop", yard="y") as run:
    for step in range(1, 6): run.log({"loss": 1/step}, step=step)
    run.save_checkpoint({"model": {"w": torch.arange(3.)}, "optimizer": {"lr": .1}}, step=5, metrics={"val_loss": .2}, best=True)
    run.save_predictions(["a","b"],[0,1],[[.9,.1],[.3,.7]],["cat","dog"])
    run.summary(test_accuracy=1.0)
P

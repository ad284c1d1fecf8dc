import os, signal, sys
from trainyard.training.checkpointing import Checkpointer

at = int(sys.argv.pop(1))
seen = 0
original = Checkpointer.save


def save(self, request):
    global seen
    original(self, request)
    seen += 1
    if seen == at:
        self.wait()
        os.kill(os.getpid(), signal.SIGKILL)


Checkpointer.save = save
from trainyard.cli.main import main

main()

"""What a fresh process has imported after a statement, for tests of what starts without heavy libraries."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = (
    "torch",
    "transformers",
    "pandas",
    "matplotlib",
    "sklearn",
    "numpy",
    "scipy",
    "PIL",
    "safetensors",
    "tensorboardX",
)
SCRIPT = """
import json, sys
statement, arguments = json.loads(sys.argv[1])
sys.argv = ["trainyard", *arguments]
try:
    exec(statement)
except SystemExit as end:
    assert not end.code, end.code
finally:
    sys.stdout.flush()
    print("\\n" + json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
MAIN = "from trainyard.cli.main import main; main()"


def imported(statement: str, *arguments: str) -> set[str]:
    """The top-level modules in a fresh process after the statement."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps([statement, arguments])],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))

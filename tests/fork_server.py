"""Run scripts in forks of a process that has imported torch and lightning already.

Importing them takes ten seconds of CPU, more than the work of most commands that tests run. A fork
is a process of its own: it has its folder, environment, output, signals and exit code.
"""

import atexit
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

PRELOADED = [
    "attention_atlas.cli.app",
    "attention_atlas.pipeline.baseline",
    "attention_atlas.pipeline.evaluate",
    "attention_atlas.pipeline.train",
    "matplotlib.pyplot",
]
LONGEST = 600  # seconds


class ForkServer:
    """A process that forks for each script; it ends with the process that started it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, arguments: list[str], folder: Path, environment: dict[str, str]
    ) -> "subprocess.CompletedProcess[str]":
        """Run a script to its end, as `subprocess.run` does."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with tempfile.TemporaryDirectory() as outputs:
            out, errors = Path(outputs, "out"), Path(outputs, "errors")
            request = [arguments, str(folder), environment, str(out), str(errors)]
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            code = int(self._process.stdout.readline())
            command = [sys.executable, *arguments]
            return subprocess.CompletedProcess(command, code, out.read_text(), errors.read_text())


def serve() -> None:
    """Fork for each request, and answer with the exit code; negative for a signal."""
    for name in PRELOADED:
        importlib.import_module(name)
    for request in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(_run(*json.loads(request)))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run(
    arguments: list[str], folder: str, environment: dict[str, str], out: str, errors: str
) -> int:
    signal.alarm(LONGEST)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for target, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, out, os.O_WRONLY | os.O_CREAT),
        (2, errors, os.O_WRONLY | os.O_CREAT),
    ):
        os.dup2(os.open(path, flags), target)
    sys.argv = arguments
    sys.path.insert(0, os.path.dirname(arguments[0]))
    code = 0
    try:
        runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    serve()

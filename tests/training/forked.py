"""Runs commands in processes that are forked from one that has imported everything.

A command takes seconds to import its libraries, and a test that kills dozens of them has not so
much time. A forked process is a process of its own: what kills it kills nothing else.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

_SERVER = """
import atexit, json, os, sys
sys.path.insert(0, {here!r})
import pole
from throughtime import tasks
tasks.register(pole.Pole)
from throughtime.cli.main import main
import throughtime.inspection.report, throughtime.training.fit
import throughtime.training.evolution, throughtime.training.gradient, throughtime.training.reinforce
from torch.utils.tensorboard.writer import SummaryWriter
for line in sys.stdin:
    words, out = json.loads(line)
    number = os.fork()
    if not number:
        file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1), os.dup2(file, 2)
        sys.argv = ["throughtime", *words]
        status = main(words)
        # A process may not end in the usual way here. Lightning imports onnxruntime if it is there,
        # which starts a thread and waits for it when the process ends; a fork copies no threads.
        atexit._run_exitfuncs()
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(status)
    print(number, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]), flush=True)
"""


class Forked:
    """A process that runs one command after the other, each in a process of its own.

    Attributes:
        said: what the last command printed.
    """

    def __init__(self, folder):
        code = _SERVER.format(here=str(Path(__file__).parent))
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._server = subprocess.Popen([sys.executable, "-c", code], **pipes)
        self._out, self.said = folder / "said", ""

    def run(self, words, signal=None, seconds=0.0):
        """Runs a command; returns its status as subprocess does.

        Args:
            signal: that is sent to the command if it has not ended after the seconds.
        """
        self._server.stdin.write(json.dumps([words, str(self._out)]) + "\n")
        self._server.stdin.flush()
        number = int(self._server.stdout.readline())
        if signal is not None:
            time.sleep(seconds)
            try:
                os.kill(number, signal)
            except ProcessLookupError:
                # The command has ended before the signal.
                pass
        status = int(self._server.stdout.readline())
        self.said = self._out.read_text()
        return status

    def close(self):
        """Ends the server."""
        self._server.stdin.close()
        self._server.wait(60)
        self._server.stdout.close()

"""A worker as its supervisor sees it: a process group with a pipe in, a pipe out and a log."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fer_sweep.agent.messages import Event, Order, decode, encode

MARK = "FERSWEEP_WORKER"
"""In the environment of a worker and of everything below it; unique to each start."""


class WorkerProcess:
    """Starts a worker and reports what it says and how it ends.

    The worker gets a session of its own, so that a Ctrl-C in the terminal reaches only the supervisor.
    It is never sent SIGTERM or SIGINT: wandb-core, its child, dies of both and takes the run's record
    along. Orders go through its stdin; SIGKILL is the last resort.

    Args:
        command: What to execute.
        env: Its whole environment.
        log: Where its stderr goes; appended to, with a header line.
        on_event: Called with each event, from a thread.
        on_exit: Called once with the return code (negative: minus the signal), from the same thread,
            after everything the worker said.
    """

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        log: Path,
        on_event: Callable[[Event], None],
        on_exit: Callable[[int], None],
    ) -> None:
        self.started = time.monotonic()
        self._mark = uuid.uuid4().hex
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stderr:
            stderr.write(f"--- worker started {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
            stderr.flush()
            self._process = subprocess.Popen(
                list(command),
                env={**env, MARK: self._mark},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
            )
        self._on_event = on_event
        self._on_exit = on_exit
        self._reader = threading.Thread(target=self._read, name=f"worker-{self.pid}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Of the worker, and of its session and group."""
        return self._process.pid

    def send(self, order: Order) -> None:
        """Order something; a worker that is gone reports so by its exit."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._process.stdin.write(encode(order))
            self._process.stdin.flush()

    def kill(self) -> None:
        """SIGKILL the worker and all that it started."""
        self._kill_family()

    def join(self, timeout_s: float) -> None:
        """Wait until ``on_exit`` was called."""
        self._reader.join(timeout_s)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                event = decode(line)
                if event is not None:
                    self._on_event(event)
        # Still a zombie here, so its number cannot yet belong to another process group.
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        self._kill_family()
        code = self._process.wait()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._on_exit(code)

    def _kill_family(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        for pid in marked_processes(self._mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def marked_processes(mark: str) -> list[int]:
    """Living processes whose environment holds ``mark``, whoever their parent is by now.

    A dead worker's children have been handed to init, and wandb-core and its monitor (which lives on for
    5 s, measured) have sessions of their own; the environment is what they all keep. Empty where there is
    no ``/proc``.
    """
    line = f"{MARK}={mark}\0".encode()
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # somebody else's, or gone meanwhile
            if line in environ.read_bytes():
                found.append(int(environ.parent.name))
    return found


def describe_exit(code: int) -> str:
    """How a process ended, for people.

    Example:
        >>> describe_exit(-9), describe_exit(1)
        ('killed by SIGKILL (often the kernel, out of memory: see `dmesg`)', 'exited with code 1')
    """
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hints = {
        "SIGKILL": " (often the kernel, out of memory: see `dmesg`)",
        "SIGSEGV": " (a crash in native code)",
        "SIGABRT": " (native code gave up)",
    }
    return f"killed by {name}{hints.get(name, '')}"

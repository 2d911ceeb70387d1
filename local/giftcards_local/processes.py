"""Background processes: start with a log, find again in a later command, stop reliably."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil
from pydantic import BaseModel

POLL_SECONDS = 0.05
START_TIMEOUT_SECONDS = 300
"""For very busy machines; a process that exits early is noticed at once."""


class LocalError(Exception):
    """The local service cannot start, stop or deploy. The text is one line for the user."""


class Process(BaseModel):
    """A process in its own session, which Ctrl-C in this terminal does not reach.

    Attributes
    ----------
    started
        Seconds since the epoch; distinguishes the process from a later one with the same pid.
    port
        Its port on 127.0.0.1.
    """

    pid: int
    started: float
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_running(self) -> bool:
        return self._find() is not None

    def stop(self, *, within_seconds: float = 60.0) -> None:
        """Terminate the process; after the timeout, kill it and its children."""
        process = self._find()
        if process is None:
            return
        family = [process, *process.children(recursive=True)]
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
        # Do not wait until it is reaped: in a container, its new parent may never do that.
        wait_for(lambda: not _is_alive(process), within_seconds=within_seconds)
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        wait_for(lambda: not any(map(_is_alive, family)), within_seconds=5)
        psutil.wait_procs(family, timeout=0)  # reaps the children of this process

    def _find(self) -> psutil.Process | None:
        try:
            process = psutil.Process(self.pid)
            is_same = process.create_time() == self.started
        except psutil.Error:
            return None
        return process if is_same and _is_alive(process) else None


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.is_running()
    except psutil.Error:
        return False


def start(
    command: Sequence[str],
    *,
    port: int,
    log: Path,
    environment: Mapping[str, str],
    ready: Callable[[], bool],
) -> Process:
    """Start a process and wait until it is ready.

    Parameters
    ----------
    port
        The port on which it will listen.
    log
        File for its output; the stem is the name of the process in messages.
    environment
        All of its environment variables.
    ready
        Called until it returns True or the process exits, for at most ``START_TIMEOUT_SECONDS``.

    Raises
    ------
    LocalError
        If the process exits or is not ready in time; the message names the log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
        )
    process = Process(pid=child.pid, started=psutil.Process(child.pid).create_time(), port=port)
    is_ready = False
    try:
        is_ready = (
            wait_for(lambda: not process.is_running or ready(), within_seconds=START_TIMEOUT_SECONDS)
            and process.is_running
        )
    finally:
        if not is_ready:  # also after Ctrl-C: leave no process behind
            process.stop()
    if not is_ready:
        raise LocalError(f"the {log.stem} did not start; see its log: {log}")
    return process


def wait_for(condition: Callable[[], bool], *, within_seconds: float, every_seconds: float = POLL_SECONDS) -> bool:
    """Poll until a condition holds or the time is over. Return whether it holds."""
    deadline = time.monotonic() + within_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_seconds)
    return True


def free_port(preferred: int | None = None) -> int:
    """Return a free port on 127.0.0.1: the preferred one if possible."""
    for port in (preferred, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port or 0))
            return int(probe.getsockname()[1])
    raise LocalError("there is no free port on 127.0.0.1; stop other programs and try again")

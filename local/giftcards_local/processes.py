"""Background processes that belong to a folder: started with a log, found again, and stopped for sure."""

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
"""For a machine so busy that half a second takes minutes; a process that ends is noticed at once."""


class LocalError(Exception):
    """Something on this machine stands in the way. The text is one clear line for the user."""


class Process(BaseModel):
    """A process that was started in a session of its own, so that Ctrl-C in this one does not reach it.

    Attributes
    ----------
    pid
        Of the process.
    started
        When, in seconds since the epoch: with the pid, it tells the process from a later one of the same pid.
    port
        Where it listens on 127.0.0.1.
    """

    pid: int
    started: float
    port: int

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_running(self) -> bool:
        """Whether it is alive."""
        return self._find() is not None

    def stop(self, *, within_seconds: float = 60.0) -> None:
        """End the process and its children: asked first, killed when the time is over."""
        process = self._find()
        if process is None:
            return
        family = [process, *process.children(recursive=True)]
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
        # Not until it is reaped: whoever adopted it, in a container for example, may never do that.
        wait_for(lambda: not _is_alive(process), within_seconds=within_seconds)
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        wait_for(lambda: not any(map(_is_alive, family)), within_seconds=5)
        psutil.wait_procs(family, timeout=0)  # reaps those that are this process's own

    def _find(self) -> psutil.Process | None:
        try:
            process = psutil.Process(self.pid)
            is_it = process.create_time() == self.started
        except psutil.Error:
            return None
        return process if is_it and _is_alive(process) else None


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
    command
        What to run.
    port
        Where it will listen.
    log
        File that takes its output, and is called as a person calls the process.
    environment
        All that it gets.
    ready
        Asked again and again while the process lives, for `START_TIMEOUT_SECONDS`.

    Raises
    ------
    LocalError
        If it ends or is not ready in time; the message names the log.
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
        if not is_ready:  # Ctrl-C too: nothing that was started is left behind
            process.stop()
    if not is_ready:
        raise LocalError(f"the {log.stem} did not start; see its log: {log}")
    return process


def wait_for(condition: Callable[[], bool], *, within_seconds: float) -> bool:
    """Ask until the condition holds or the time is over, and return whether it holds."""
    deadline = time.monotonic() + within_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def free_port(preferred: int | None = None) -> int:
    """Return a port of 127.0.0.1 that nobody listens on: the preferred one if it is free."""
    for port in (preferred, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port or 0))
            return int(probe.getsockname()[1])
    raise LocalError("no free port on 127.0.0.1")

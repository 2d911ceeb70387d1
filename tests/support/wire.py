"""A local server that behaves badly on the wire."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

import httpx

from support.supplier import answered

Behaviour = Callable[[socket.socket, threading.Event], None]


def on_the_wire(response: httpx.Response) -> bytes:
    head = f"HTTP/1.1 {response.status_code} -\r\nContent-Length: {len(response.content)}\r\nX-Of: the supplier\r\n\r\n"
    return head.encode() + response.content


class Wire:
    """A local server: each connection gets the next behaviour, and all after the last get the last."""

    def __init__(self, *behaviours: Behaviour) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._behaviours = list(behaviours)
        self._is_over = threading.Event()
        self._sockets: list[socket.socket] = []
        self.connections: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def _accept(self) -> None:
        while not self._is_over.is_set():
            connection, _ = self._listening.accept()
            behaviour = self._behaviours.pop(0) if len(self._behaviours) > 1 else self._behaviours[0]
            self._sockets.append(connection)
            self.connections.append(threading.Thread(target=self._behave, args=(behaviour, connection)))
            self.connections[-1].start()

    def _behave(self, behaviour: Behaviour, connection: socket.socket) -> None:
        with connection, suppress(OSError):  # the other side may hang up
            behaviour(connection, self._is_over)

    def stop(self) -> None:
        self._is_over.set()
        with socket.create_connection(self._listening.getsockname()):
            self._accepting.join()
        for connection in self._sockets:
            with suppress(OSError):  # it is closed already
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self.connections:
            thread.join()
        self._listening.close()


def dripping(content: bytes, from_byte: int, seconds_a_byte: float) -> Behaviour:
    """Send the start at once and the rest byte by byte."""

    def drip(connection: socket.socket, is_over: threading.Event) -> None:
        connection.recv(65_536)
        connection.sendall(content[:from_byte])
        for index in range(from_byte, len(content)):
            if is_over.wait(seconds_a_byte):
                return
            connection.sendall(content[index : index + 1])

    return drip


def silent(connection: socket.socket, is_over: threading.Event) -> None:
    connection.recv(65_536)
    is_over.wait()


def answering(connection: socket.socket, _is_over: threading.Event) -> None:
    while connection.recv(65_536):
        connection.sendall(on_the_wire(answered()))


def hanging_up(connection: socket.socket, _is_over: threading.Event) -> None:
    connection.recv(65_536)
    connection.sendall(on_the_wire(answered()))


HEAD = on_the_wire(answered()).index(b"\r\n\r\n") + 4

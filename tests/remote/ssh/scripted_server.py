"""A host played by paramiko: it asks for passwords, for which sshd would need PAM, and hangs where it is told to."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko
from paramiko.common import AUTH_FAILED, AUTH_PARTIALLY_SUCCESSFUL, AUTH_SUCCESSFUL, OPEN_SUCCEEDED


class ScriptedServer(paramiko.ServerInterface):
    """Runs every command by saying that it ended well."""

    def __init__(self, methods: str, password: str, *, then: str, key: Path | None, hang_at: str) -> None:
        self._methods, self._password, self._then = methods, password, then
        self._key = paramiko.PKey.from_path(str(key)) if key else None
        self._hang_at, self._closing = hang_at, threading.Event()
        self._host_key = paramiko.ECDSAKey.generate()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.passwords: list[str] = []
        self._transports: list[paramiko.Transport] = []

    name = property(lambda self: f"[127.0.0.1]:{self.port}")
    host_key = property(lambda self: f"{self._host_key.get_name()} {self._host_key.get_base64()}")

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                transport = paramiko.Transport(connection)
                transport.add_server_key(self._host_key)
                self._transports.append(transport)
                with contextlib.suppress(paramiko.SSHException, EOFError):
                    transport.start_server(server=self)

    def _reach(self, step: str) -> None:
        if step == self._hang_at:
            self._closing.wait(10)

    def close(self) -> None:
        self._closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for transport in self._transports:
            transport.close()

    def get_allowed_auths(self, username: str) -> str:  # noqa: ARG002 - paramiko's
        return self._methods

    def check_auth_password(self, username: str, password: str) -> int:  # noqa: ARG002 - paramiko's
        self._reach("login")
        self.passwords.append(password)
        right = password == self._password and "password" in self._methods
        return AUTH_SUCCESSFUL if right else AUTH_FAILED

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:  # noqa: ARG002 - paramiko's
        if key != self._key:
            return AUTH_FAILED
        self._methods = self._then
        return AUTH_PARTIALLY_SUCCESSFUL

    def check_auth_interactive(self, username: str, submethods: str) -> int | paramiko.InteractiveQuery:  # noqa: ARG002 - paramiko's
        return paramiko.InteractiveQuery("", "", ("Password: ", False))

    def check_auth_interactive_response(self, responses: list[str]) -> int:
        self.passwords.extend(responses)
        return AUTH_SUCCESSFUL if responses == [self._password] else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:  # noqa: ARG002 - paramiko's
        self._reach("session")
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:  # noqa: ARG002 - paramiko's
        self._reach("command")
        threading.Timer(0.01, channel.send_exit_status, (0,)).start()
        return True


@contextmanager
def running_scripted_server(
    methods: str = "password", password: str = "", *, then: str = "", key: Path | None = None, hang_at: str = ""
) -> Iterator[ScriptedServer]:
    server = ScriptedServer(methods, password, then=then, key=key, hang_at=hang_at)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()

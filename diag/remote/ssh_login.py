"""How do we prove to a host who we are, and what is said when it does not believe us?"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import NamedTuple, Protocol

from diag.errors import NodeError
from diag.remote.ssh_identities import Identity, Keyring, Unusable, identities
from diag.remote.ssh_settings import SshSettings

PASSWORDS = ("password", "keyboard-interactive")


class Lost(Exception):  # noqa: N818 - the host's decision, told as part of the whole attempt
    """The host ended the connection during the login; its words."""


class Step(NamedTuple):
    """What one attempt led to. ``methods``: what the host accepts next, None where it did not say."""

    logged_in: bool
    methods: tuple[str, ...] | None = None


class Door(Protocol):
    """A connection that is not logged in yet. Every method raises Lost."""

    def offer_key(self, user: str, identity: Identity) -> Step: ...
    def offer_password(self, user: str, password: str, method: str) -> Step: ...
    def ask_methods(self, user: str) -> Step: ...


def log_in(door: Door, settings: SshSettings, keyring: Keyring, password: Callable[[], str] | None) -> tuple[str, ...]:
    """Advice on the keys that the user named. Raises NodeError(ssh_auth_failed) that names what was tried."""
    attempt = _Attempt(door, settings)
    try:
        if not attempt.with_keys(keyring) and not attempt.with_password(password):
            raise attempt.failed("")
    except Lost as lost:
        raise attempt.failed(str(lost)) from lost
    return attempt.advice()


class _Attempt:
    """What was tried on one host so far, and what the host said."""

    def __init__(self, door: Door, settings: SshSettings) -> None:
        self._door, self._settings = door, settings
        self._tried: list[str] = []
        self._unusable: dict[str, Unusable] = {}
        self._methods: tuple[str, ...] | None = None

    def with_keys(self, keyring: Keyring) -> bool:
        for identity in identities(self._settings, keyring, self._unusable):
            self._tried.append(f"key {identity.label}")
            if self._took(self._door.offer_key(self._settings.user, identity)):
                return True
            if self._methods is not None and "publickey" not in self._methods:
                break
        return False

    def with_password(self, password: Callable[[], str] | None) -> bool:
        """The same password for each method that the host asks for, each once."""
        user = self._settings.user
        if self._methods is None and self._took(self._door.ask_methods(user)):
            return True
        left = list(PASSWORDS) if password else []
        while method := next((name for name in left if name in (self._methods or ())), None):
            assert password is not None, "left is empty without one"
            left.remove(method)
            self._tried.append(method)
            before = self._methods
            if self._took(self._door.offer_password(user, password(), method)):
                return True
            if self._methods == before:
                return False
        return False

    def _took(self, step: Step) -> bool:
        self._methods = step.methods if step.methods is not None else self._methods
        return step.logged_in

    def advice(self) -> tuple[str, ...]:
        """Another key was good enough; the user believes that it was the named one."""
        asked = self._settings.identities_asked
        return tuple(f"named key not used: {note}" for path, note in self._unusable.items() if path in asked)

    def failed(self, ended: str) -> NodeError:
        settings = self._settings
        said = [f"tried {', '.join(self._tried)}" if self._tried else "there was nothing to try"]
        said += [str(unusable) for unusable in self._unusable.values()]
        said += [f"sshd accepts {', '.join(self._methods)}"] if self._methods else []
        said += [f"sshd ended the connection: {ended}"] if ended else []
        what = f"{settings.address} does not let {settings.user} in: {'; '.join(said)}"
        return NodeError(settings.name, "ssh_auth_failed", what, do=self._what_to_do())

    def _what_to_do(self) -> str:
        for unusable in self._unusable.values():
            if unusable.do:
                return unusable.do
        if "password" not in self._tried and {*PASSWORDS} & {*(self._methods or ())}:
            return "install a key with ssh-copy-id, or give a password: --ask-pass"
        ssh, *rest = self._settings.by_hand
        return f"try: {shlex.join((ssh, '-v', *rest, 'true'))}"

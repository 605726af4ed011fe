"""What may a node be asked, and what comes back? The agent knows these verbs, not topics."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from diag.facts.record import NotMeasured

T = TypeVar("T")


class Ask(msgspec.Struct, frozen=True, tag_field="verb", tag="ask"):
    """Call ``function`` (``module:name`` of diag/node) with keyword ``arguments``; answers JSON."""

    function: str
    arguments: dict[str, Any] = {}


class Read(msgspec.Struct, frozen=True, tag_field="verb", tag="read"):
    """Read files by glob, at most ``limit_bytes`` each; answers ``{path: text}``; unreadable ones are left out."""

    globs: tuple[str, ...]
    limit_bytes: int = 65536


class Run(msgspec.Struct, frozen=True, tag_field="verb", tag="run"):
    """Run a tool; answers ``{"status", "stdout", "stderr"}``. The tool is found on the node's PATH."""

    argv: tuple[str, ...]
    env: dict[str, str] = {}
    limit_bytes: int = 65536


Verb = Ask | Read | Run


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A named verb with its own deadline on the node."""

    name: str
    verb: Verb
    deadline_s: float = 8.0


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a node answered to one request: a value, or ``why`` there is none."""

    name: str
    value: Any = None
    why: str | None = None
    seconds: float = 0.0

    def decode(self, kind: type[T]) -> T:
        """The value as ``kind``; raises NotMeasured when the node gave none or something else."""
        if self.why is not None:
            raise NotMeasured(self.why)
        try:
            return msgspec.convert(self.value, kind, strict=False)
        except msgspec.ValidationError as error:
            raise NotMeasured(f"unexpected answer to {self.name}: {error}: {str(self.value)[:80]!r}") from error

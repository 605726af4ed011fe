"""How is it told which raw answers a run kept, and what they say?"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from diag.inventory import fold
from diag.report.ink import Ink
from diag.units import size

INDENT, TOPIC = 2, 20


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """One text, of all ``nodes`` that said just that. ``size_bytes``: before any cut."""

    topic: str
    nodes: tuple[str, ...]
    sha256: str
    size_bytes: int


def listed_lines(kept: Iterable[Kept], ink: Ink) -> list[str]:
    """A line for each topic and each different text."""
    lines: list[str] = []
    for one in kept:
        lines += ink.field(one.topic, f"{fold(one.nodes)}  {size(one.size_bytes)}", indent=TOPIC)
    return lines


def raw_lines(texts: Iterable[tuple[Kept, bytes]], ink: Ink) -> list[str]:
    """Each under its nodes' names; what would steer a terminal is shown."""
    lines: list[str] = []
    for one, raw in texts:
        lines += [ink.rule(f"{fold(one.nodes)}: {one.topic}"), *(ink(line) for line in _words(raw))]
        if len(raw) < one.size_bytes:
            lines.append(ink(f"(cut: it had {size(one.size_bytes)})", "dim"))
    return lines


def _words(raw: bytes) -> Iterator[str]:
    text = raw.decode("utf-8", "replace")
    try:
        answers = json.loads(text)
    except ValueError:  # what was printed, or an answer that was cut
        answers = None
    if not isinstance(answers, dict):
        yield from text.splitlines()
        return
    for name, answer in answers.items():
        yield f"{name}:"
        yield from (" " * INDENT + line for line in _lines(answer))


def _lines(answer: Any) -> list[str]:
    """A tool's output as it was printed, all else as JSON."""
    if isinstance(answer, dict) and set(answer) == {"status", "stdout", "stderr"}:
        ended = [] if answer["status"] == 0 else [f"(status {answer['status']})"]
        return [*str(answer["stdout"]).splitlines(), *str(answer["stderr"]).splitlines(), *ended]
    if isinstance(answer, dict) and answer and all(isinstance(text, str) and "\n" in text for text in answer.values()):
        return [line for name, text in answer.items() for line in (f"{name}:", *text.splitlines())]  # files
    return (answer if isinstance(answer, str) else json.dumps(answer, indent=1, ensure_ascii=False)).splitlines()

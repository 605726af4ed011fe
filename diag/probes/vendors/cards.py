"""What do rocm-smi and its descendant hy-smi say as JSON? ``{"card0": {"VRAM Total Memory (B)": "…"}, "system": {}}``.

Keys differ by version and by vendor in capitals, in words (GPU, DCU, HCU) and in the unit of memory; they are compared
without the first and the last two. hy-smi forgets commas between members (seen with ``--showpower`` of DTK 26.04 in a
public monitor's captured sample): they are put back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from diag.facts.record import NotMeasured
from diag.probes.vendors.vendor import MIB, Found, figure, not_understood

Card = Mapping[str, str]
"""Lower-case key -> value, both text."""
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')
OPENS, CLOSES = ("{", "[", ":", ","), ("}", "]", ":", ",")
UNITS = {"b": 1, "kib": 1024, "mib": MIB, "gib": 1024**3, "mb": MIB}


def cards(found: Found, *commands: str) -> dict[int, Card]:
    """What all ``commands`` say together, by card. Raises NotMeasured where the first one says nothing of any."""
    together: dict[int, Card] = {}
    for place, command in enumerate(commands):
        try:
            rows = _rows(found, command)
        except NotMeasured:
            if not place:
                raise
            continue
        for index, row in rows.items():
            together[index] = {**together.get(index, {}), **row}
    return together


def _rows(found: Found, command: str) -> dict[int, dict[str, str]]:
    printed = found.text(command)
    try:
        parsed = json.loads(with_commas(printed[printed.index("{") :]))
        rows = {int(key[4:]): value for key, value in parsed.items() if re.fullmatch(r"card\d+", key)}
        if rows:
            return {index: {key.strip().lower(): str(said) for key, said in row.items()} for index, row in rows.items()}
    except (ValueError, AttributeError):
        pass
    raise not_understood(f"{found.tool} ({command})", printed)


def with_commas(text: str) -> str:
    """The same JSON with a comma wherever a value is followed by a key or another value."""
    written: list[str] = []
    for part in TOKEN.findall(text):
        if written and written[-1] not in OPENS and part not in CLOSES:
            written.append(",")
        written.append(part)
    return "".join(written)


def value(card: Card, pattern: str, what: str) -> str:
    """The value of the first key that ``pattern`` matches whole. Raises NotMeasured for none, and for ``N/A``."""
    for key, said in card.items():
        if re.fullmatch(pattern, key) and said.strip().lower() not in {"", "n/a", "none", "unsupported"}:
            return said.strip()
    raise NotMeasured(f"no {what} among what its tool says")


def memory_bytes(card: Card, pattern: str, what: str) -> int:
    """``pattern`` holds a group for the unit, which is a part of the key."""
    for key, said in card.items():
        read = re.fullmatch(pattern, key)
        if read and read[1] in UNITS:
            return round(figure(said, what) * UNITS[read[1]])
    raise NotMeasured(f"no {what} among what its tool says")


def megahertz(card: Card, pattern: str, what: str) -> int:
    """``(132Mhz)`` or ``1350Mhz``."""
    said = value(card, pattern, what)
    read = re.search(r"(\d+)\s*MHz", said, re.IGNORECASE)
    if read is None:
        raise not_understood(what, said)
    return int(read[1])


def processes(printed: str) -> tuple[Any, ...]:
    """Empty where no process of any card is there; else NotMeasured: it is not said which card a process holds."""
    if "No KFD PIDs currently running" in printed or re.fullmatch(r"\s*\{?\s*\}?\s*", printed):
        return ()
    if re.search(r"\bPID\s*\d+|^\s*\d+\s", printed, re.MULTILINE):
        raise NotMeasured("there are processes, and the tool does not say on which card")
    raise not_understood("the list of processes", printed)

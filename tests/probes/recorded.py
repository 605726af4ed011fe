"""How do tests get answers? As a node gave them, recorded, with what a test changes in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from diag import probes
from diag.probes.verbs import Answer

FOLDER = Path(__file__).parent.parent / "data" / "answers"


def answers(name: str = "vm", **changed: Any) -> dict[str, Answer]:
    """All answers of the node, by request; ``changed``: request (blanks as _) -> its value instead, or an Answer."""
    found = msgspec.json.decode((FOLDER / f"{name}.json").read_bytes(), type=tuple[Answer, ...])
    named = {answer.name: answer for answer in found}
    for key, value in changed.items():
        request = key.replace("_", " ")
        named[request] = value if isinstance(value, Answer) else Answer(name=request, value=value)
    return named


def silent(name: str, why: str = "no answer within 8 s") -> Answer:
    return Answer(name=name, why=why)


def read(topic: str, **changed: Any) -> Any:
    """The topic's record, or Missing, from the recorded answers and what is changed in them."""
    return probes.facts_from(tuple(answers(**changed).values()))[topic]

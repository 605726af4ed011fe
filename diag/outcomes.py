"""What did a check say of each of its subjects? Calls it, and turns what it returns or raises into verdicts."""

from __future__ import annotations

import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec
import pytest

from diag.catalogue import Applies, Check
from diag.facts.node import Node
from diag.facts.peers import Alone, Peers
from diag.facts.record import NotMeasured
from diag.facts.snapshot import Snapshot
from diag.facts.verdict import EXPECTED, FOUND, Verdict
from diag.subjects import PART_PLACE, PARTS, Part, Scene, unreached

SUMMARY_CHARACTERS = 300
UNHELD = {"failed": "failed", "broken": "is broken", "not_measured": "was not measured"}


class Unasked(NotMeasured):
    """Nobody asked for it in this run."""


class Question(msgspec.Struct, frozen=True):
    """A check as it is asked: ``call`` takes subjects by position, from their ``places`` in a scene."""

    check: Check
    applies: tuple[Applies, ...]
    call: Callable[..., object]
    places: tuple[int, ...]


class Subject(msgspec.Struct, frozen=True):
    """Whom a verdict names, and what the check is given; ``given`` None: nothing can be asked, ``why`` says so."""

    node: str | None
    part: str | None
    given: Scene | None
    outcome: str = ""
    why: str = ""
    asked: bool = True


class Hearing:
    """One Snapshot being judged, and what the checks so far said of it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.peers = Peers(snapshot)
        self.unreached = {node.name: why for node in snapshot.nodes if (why := unreached(node)) is not None}
        self.verdicts: list[Verdict] = []
        self._nodes = tuple(self._node(node) for node in snapshot.nodes)
        self._listed: dict[tuple[str | None, str], tuple[Subject, ...]] = {}
        self._parts: dict[str, str | None] = {}
        self._unheld: dict[str, dict[str | None, dict[str | None, str]]] = {}

    def _node(self, node: Node) -> Subject:
        if node.name in self.unreached:
            return Subject(node.name, None, None, "not_measured", self.unreached[node.name])
        return Subject(node.name, None, (self.snapshot, self.peers, node, None))

    def ask(self, question: Question) -> bool:
        """Judge every subject. Whether none failed and the check did not break."""
        check = question.check
        unheld: dict[str | None, dict[str | None, str]] = defaultdict(dict)
        worst = set()
        of_subject = _of_part(question) if check.part is not None else question
        for subject in self._subjects(question):
            verdict = self._judge(of_subject, subject)
            self.verdicts.append(verdict)
            if verdict.outcome in UNHELD and verdict.asked:  # who needs it was not asked for either, or can do without
                unheld[subject.node][subject.part] = verdict.outcome
                worst.add(verdict.outcome)
        self._unheld[check.id], self._parts[check.id] = unheld, check.part
        return not worst - {"not_measured"}

    def _subjects(self, question: Question) -> Iterator[Subject]:
        """Every selected node appears: with its parts, or with why it has none to ask about."""
        check = question.check
        if not check.per_node:
            yield Subject(None, None, (self.snapshot, self.peers, None, None))
        elif check.part is None:
            yield from self._nodes
        else:
            of_node = [condition for condition in question.applies if PART_PLACE not in condition.places]
            for node in self._nodes:
                yield from self._parts_of(node, check.part, of_node)

    def _parts_of(self, node: Subject, kind: str, of_node: Sequence[Applies]) -> Iterable[Subject]:
        """What does not depend on the parts is decided for the node, also where its parts are not known."""
        if node.given is None:
            return (node,)
        try:
            _require_applicable(of_node, node.given)
        except NotMeasured as why:
            return (Subject(node.node, None, None, "not_measured", str(why), not isinstance(why, Unasked)),)
        except (pytest.skip.Exception, Alone) as why:
            return (Subject(node.node, None, None, "skipped", str(why)),)
        held = (node.node, kind)
        if held not in self._listed:
            self._listed[held] = _listed(node, PARTS[kind], node.given)
        return self._listed[held]

    def _judge(self, question: Question, subject: Subject) -> Verdict:
        check, scene = question.check, subject.given
        if scene is None:
            return _verdict(check, subject, subject.outcome, subject.why, asked=subject.asked)
        try:
            for need in check.needs:
                self._require(need, check, subject)
            _require_applicable(question.applies, scene)
            _asserted(question.call(*[scene[place] for place in question.places]))
        except NotMeasured as why:
            return _verdict(check, subject, "not_measured", str(why), asked=not isinstance(why, Unasked))
        except (AssertionError, pytest.fail.Exception) as failure:
            return _failure(check, subject, str(failure))
        except (pytest.skip.Exception, Alone) as skip:
            return _verdict(check, subject, "skipped", str(skip))
        except Exception as error:  # noqa: BLE001 - a check of any author may raise anything; it is kept as broken
            return _verdict(check, subject, "broken", where(error, check.file))
        return Verdict(check=check.id, node=subject.node, subject=subject.part, outcome="passed")

    def _require(self, need: str, check: Check, subject: Subject) -> None:
        """Raise where the needed check does not hold for this subject; one that was not selected is taken to hold."""
        unheld = self._unheld.get(need)
        if not unheld:
            return
        outcomes = dict(unheld.get(None, {}))
        for name in unheld if subject.node is None else (subject.node,):
            outcomes |= unheld.get(name, {})
        if check.part is not None and self._parts[need] == check.part:
            outcomes = {part: outcome for part, outcome in outcomes.items() if part in (subject.part, None)}
        if outcomes:
            raise NotMeasured(f"needs {need}, which {UNHELD[next(iter(outcomes.values()))]}")


def _of_part(question: Question) -> Question:
    """What is left to ask of each part: conditions that name no part were met by its node."""
    of_part = tuple(condition for condition in question.applies if PART_PLACE in condition.places)
    return msgspec.structs.replace(question, applies=of_part)


def _listed(node: Subject, part: Part, scene: Scene) -> tuple[Subject, ...]:
    """The parts of a node, or why there is none to ask about."""
    snapshot, peers, whole, _ = scene
    assert whole is not None
    try:
        parts = part.of(whole, snapshot)
        if parts:
            return tuple(Subject(node.node, part.label(each), (snapshot, peers, whole, each)) for each in parts)
    except NotMeasured as why:
        return (Subject(node.node, None, None, "not_measured", str(why)),)
    return (Subject(node.node, None, None, "skipped", part.absent),)


def _require_applicable(applies: Iterable[Applies], scene: Scene) -> None:
    """What is not there is not applicable, asked for or not; what nobody asked for may be unknown for any reason."""
    unasked = ""
    try:
        for condition in applies:
            if not condition.predicate(*[scene[place] for place in condition.places]):
                if not condition.asks:
                    pytest.skip(condition.reason)
                unasked = unasked or condition.reason
    except NotMeasured:
        if not unasked:
            raise
    if unasked:
        raise Unasked(unasked)


def _asserted(answer: object) -> None:
    """``return free > 0`` asserts nothing, so it would always pass."""
    if answer is not None:
        raise TypeError(f"returned {answer!r}: a check asserts, and returns nothing")


def _verdict(check: Check, subject: Subject, outcome: str, summary: str, *, asked: bool = True) -> Verdict:
    return Verdict(
        check=check.id,
        node=subject.node,
        subject=subject.part,
        outcome=outcome,
        summary=summary[:SUMMARY_CHARACTERS],
        asked=asked,
    )


def _failure(check: Check, subject: Subject, message: str) -> Verdict:
    found, expected = split(message)
    summary = f"found {found}; expected {expected}" if expected else found
    return Verdict(
        check=check.id,
        node=subject.node,
        subject=subject.part,
        outcome="advice" if check.advice else "failed",
        found=found if expected else None,
        expected=expected,
        summary=summary[:SUMMARY_CHARACTERS],
    )


def split(message: str) -> tuple[str, str | None]:
    """Found and expected of ``finding()`` without what pytest adds to it; else the whole on one line, None."""
    head, _, _ = message.partition("\nassert ")
    first, _, rest = head.partition("\n")
    second = rest.lstrip()
    if first.startswith(FOUND) and second.startswith(EXPECTED):
        return first.removeprefix(FOUND), " ".join(second.removeprefix(EXPECTED).split())
    return " ".join(message.split()) or "the assertion does not hold", None


def where(error: BaseException, file: str) -> str:
    """``checks/gpus.py:41: ZeroDivisionError: division by zero``: the deepest line in the check's own file."""
    frames = traceback.extract_tb(error.__traceback__)
    line = next((frame.lineno for frame in reversed(frames) if frame.filename.endswith(file)), None)
    place = f"{file}:{line}" if line else file
    return f"{place}: {type(error).__name__}: {' '.join(str(error).split())}"[:SUMMARY_CHARACTERS]

"""Are the stages run on the nodes still there, and is what came kept, whatever happens in between?

Nodes here are recorded answers of a real one behind the fake transport; real hosts are in the lab.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from diag.culprits import culprits
from diag.errors import NodeError
from diag.facts.record import is_known, peek
from diag.facts.snapshot import Snapshot
from diag.gather import gather
from diag.inventory import Host
from diag.probes.verbs import Answer
from diag.wishes import Wishes
from tests.remote.fake import HELLO, FakeTransport, Recorded, Scripted

ANSWERS = Path(__file__).parent / "data" / "answers" / "vm.json"
MODEL = "/tmp/models/Qwen3-tiny"  # as recorded


class Watcher:
    """A Progress that remembers; the end of ``interrupt`` in ``stage`` is the moment of Ctrl-C."""

    def __init__(self, interrupt: str = "", stage: str = "reach") -> None:
        self.told: list[tuple[str, ...]] = []
        self.interrupt = (stage, interrupt)
        self.at = ""

    def stage(self, name: str, nodes: Sequence[str]) -> None:
        self.told.append(("stage", name, *nodes))
        self.at = name

    def done(self, node: str, *, lost: bool = False) -> None:
        self.told.append(("lost" if lost else "done", node))
        if (self.at, node) == self.interrupt:
            raise KeyboardInterrupt

    def ended(self, note: str) -> None:
        self.told.append(("ended", note))


def node(change: Callable[[dict[str, Any]], None] = lambda _: None, hello: dict[str, Any] = HELLO) -> Scripted:
    """An agent that answers as a real one did; ``change`` alters its answers by the requests' names."""
    known = {a.name: a for a in msgspec.json.decode(ANSWERS.read_bytes(), type=tuple[Answer, ...])}
    answers = {name: answer.value for name, answer in known.items() if answer.why is None}
    change(answers)

    def reply(message: dict[str, Any]) -> Iterable[dict[str, Any]]:
        if message["do"] == "end":
            yield {"goodbye": {"left_behind": []}}
        if message["do"] == "clock":
            yield {"id": message["id"], "time": time.time()}
        if message["do"] == "answer":
            yield {"id": message["id"], "answers": [_answer(r["name"], answers) for r in message["requests"]]}

    return Scripted(reply, hello)


def _answer(name: str, answers: dict[str, Any]) -> dict[str, Any]:
    value = answers.get(name)
    if callable(value):
        value = value()
    return {"name": name, "value": value} if value is not None else {"name": name, "why": "the fake does not know"}


def visit(channels: dict[str, Recorded | NodeError], watcher: Watcher | None = None, **wishes: Any) -> Snapshot:
    return gather(
        tuple(Host(name=name) for name in channels),
        Wishes(**{"level": "passive", **wishes}),
        run_id="r1",
        transports={"ssh": FakeTransport(channels)},
        progress=watcher or Watcher(),
        store=lambda raw: hashlib.sha256(raw).hexdigest(),
    )


def test_a_node_that_cannot_be_reached_keeps_its_place_with_the_reason():
    refused = NodeError("b", "node_unreachable", "connection refused", do="start sshd")
    snapshot = visit({"a": node(), "b": refused, "c": node()})
    assert [one.name for one in snapshot.nodes] == ["a", "b", "c"]
    lost = snapshot.node("b")
    assert (lost.reach.outcome, lost.reach.do) == ("node_unreachable", "start sshd")
    assert peek(lost, "system").why == "not reached: connection refused"
    assert snapshot.node("c").system.kernel
    assert [(s.name, s.nodes_done, s.nodes_total) for s in snapshot.stages] == [("reach", 2, 3), ("facts", 2, 3)]


def met(token: str, holder: str = "") -> dict[str, Any]:
    lock = {"held": not holder, "token": holder, "why": f"another diag is at work: {holder}" if holder else ""}
    return {"hello": HELLO["hello"] | {"token": token, "lock": lock}}


def test_several_names_of_one_machine_are_told_as_such_and_not_as_another_run():
    hellos = {"n1": met("t1"), "n2": met("t2", "t1"), "n3": met("t3"), "n4": met("t4", "of another run")}
    snapshot = visit({name: node(hello=hello) for name, hello in hellos.items()}, level="quick")
    same = {one.name: one.agent.same_machine_as for one in snapshot.nodes}
    assert same == {"n1": ("n2",), "n2": ("n1",), "n3": (), "n4": ()}
    left_out = peek(snapshot, "links").why + str(peek(snapshot, "collective"))
    assert "the same machine as n1" in str(left_out)
    assert "another diag is at work: of another run" in str(left_out)


def test_links_of_one_node_that_is_left_say_why_there_are_none():
    hellos = {"n1": met("t1"), "n2": met("t2", "t1")}
    snapshot = visit({name: node(hello=hello) for name, hello in hellos.items()}, level="quick")
    assert peek(snapshot, "links").why == "fewer than two nodes can take part: n2: the same machine as n1"


def test_a_node_that_falls_silent_in_the_facts_is_named_and_the_others_are_there():
    def silent(_: dict[str, Any]) -> Iterable[dict[str, Any]]:
        return ()

    snapshot = visit({"a": node(), "b": Scripted(silent)}, deadlines_s={"facts": 1.0})
    assert snapshot.node("b").reach.outcome == "agent_silent"
    assert "stopped answering in facts" in snapshot.node("b").reach.summary
    assert snapshot.node("a").memory.total_bytes > 0


def test_an_interrupt_while_hosts_are_reached_keeps_those_that_were_and_accuses_nobody():
    silent = Recorded(*[None] * 99)
    snapshot = visit({"a": node(), "b": silent}, Watcher(interrupt="a"))
    assert snapshot.interrupted
    assert snapshot.node("a").reach.outcome == "answered"
    assert snapshot.node("b").reach.outcome == "not_tried"
    assert peek(snapshot.node("a"), "system").why == "the run was interrupted before"
    assert culprits(snapshot, (), {}) == ()
    assert [(s.name, s.nodes_done) for s in snapshot.stages] == [("reach", 1)]


def test_raw_answers_are_kept_as_evidence():
    kept: list[bytes] = []
    gather(
        (Host(name="a"), Host(name="b")),
        Wishes(level="passive"),
        run_id="r1",
        transports={"ssh": FakeTransport({"a": node(), "b": node()})},
        progress=Watcher(),
        store=lambda raw: kept.append(raw) or hashlib.sha256(raw).hexdigest(),
    )
    assert len(set(kept)) < len(kept), "what two nodes answered alike has one name"
    assert any(b"MemTotal" in raw for raw in kept)


class Disk:
    """What the nodes read: how many at once, and how much each was allowed."""

    def __init__(self) -> None:
        self.lock, self.reading, self.most = threading.Lock(), 0, 0

    def read(self) -> dict[str, Any]:
        with self.lock:
            self.reading += 1
            self.most = max(self.most, self.reading)
        time.sleep(0.05)
        with self.lock:
            self.reading -= 1
        return {"path": MODEL, "direct": True, "repetitions": [[1 << 28, 0.25], [1 << 28, 0.5]]}


@pytest.mark.parametrize(("kind", "most"), [("nfs4", range(2, 5)), ("ext4", range(5, 11))])
def test_a_shared_file_system_is_read_by_four_nodes_at_once_and_local_disks_by_all(kind, most):
    disk = Disk()

    def on(answers: dict[str, Any]) -> None:
        answers[f"filesystem model {MODEL}"] = {**answers[f"filesystem model {MODEL}"], "kind": kind}
        answers["read speed"] = disk.read
        answers["software"] = {**answers["software"], "torch": None, "packages": {}}

    snapshot = visit({f"n{number}": node(on) for number in range(10)}, level="normal", model_path=MODEL)
    speeds = [one.read_speed for one in snapshot.nodes]
    assert {speed.bytes_per_s for speed in speeds} == {0.75 * (1 << 30)}
    assert disk.most in most
    assert {speed.readers for speed in speeds} == {4 if kind == "nfs4" else 10}


@pytest.mark.parametrize("lock", [{"held": False, "pid": 812, "started": 1.0, "user": "ops", "why": "another diag"}])
def test_a_node_that_another_run_holds_is_read_and_not_loaded(lock):
    held = {"hello": {**HELLO["hello"], "lock": lock}}
    snapshot = visit({"a": node(hello=held)}, level="normal", model_path=MODEL)
    assert snapshot.node("a").memory.total_bytes > 0
    assert peek(snapshot.node("a"), "read_speed").why == "another diag"
    assert peek(snapshot, "collective").why == "another diag"
    assert [stage.name for stage in snapshot.stages] == ["reach", "facts", "measure", "collectives"]


def test_nodes_that_may_not_be_loaded_are_all_named_with_the_reason():
    lock = {"held": False, "pid": 812, "started": 1.0, "user": "ops", "why": "another diag"}
    held = {"hello": {**HELLO["hello"], "lock": lock}}
    snapshot = visit({f"n{number}": node(hello=held) for number in range(1, 4)}, level="normal")
    assert peek(snapshot, "collective").why.endswith("expected at least 2: n[1-3]: another diag")


def test_names_are_folded_also_when_the_facts_are_interrupted():
    snapshot = visit({"a": node(), "b": Scripted(lambda _: ())}, Watcher("a", "facts"))
    assert snapshot.interrupted
    assert {name for one in snapshot.resolutions for name in one.nodes} == {"a"}


def test_an_agent_that_says_no_goodbye_leaves_it_open_what_is_left():
    answering = node()._reply

    def mute(message: dict[str, Any]) -> Iterable[dict[str, Any]]:
        return () if message["do"] == "end" else answering(message)

    snapshot = visit({"a": node(), "b": Scripted(mute)})
    assert snapshot.node("a").left_behind == ()
    assert peek(snapshot.node("b"), "left_behind").why.startswith("no goodbye: no answer within")


def test_a_busy_node_is_read_and_not_loaded():
    def busy(answers: dict[str, Any]) -> None:
        answers["processes"] = [{"pid": 7, "kind": "vllm", "name": "vllm serve", "user": "ops", "age_s": 9.0}]

    snapshot = visit({"a": node(busy)}, level="normal")
    assert is_known(snapshot.node("a"), "processes")
    assert "vllm runs there (pid 7)" in snapshot.level_why
    assert "vllm runs there" in peek(snapshot, "collective").why


def test_a_node_that_falls_silent_before_the_all_reduce_leaves_the_run_with_its_cause():
    def elsewhere(answers: dict[str, Any]) -> None:
        answers["interfaces"] = msgspec.json.decode(
            msgspec.json.encode(answers["interfaces"]).replace(b"192.0.2.2/", b"192.0.2.3/")
        )

    answering = node(elsewhere)._reply

    def dies(message: dict[str, Any]) -> Iterable[dict[str, Any]]:
        gone = any(request["name"] == "free_port" for request in message.get("requests", ()))
        return () if gone else answering(message)

    def meets(answers: dict[str, Any]) -> None:
        answers["free_port"] = 20000

    snapshot = visit({"a": node(meets), "b": Scripted(dies)}, level="normal")
    assert snapshot.node("b").reach.outcome == "agent_silent"
    assert snapshot.node("b").reach.summary == "stopped answering in collectives: no answer within 8 s"
    assert [(culprit.cause, culprit.nodes) for culprit in culprits(snapshot, (), {})] == [("agent_silent", ("b",))]
    assert snapshot.node("a").reach.outcome == "answered"


def test_a_node_without_gpus_has_no_speed_and_the_stage_is_not_told():
    def bare(answers: dict[str, Any]) -> None:
        answers["software"] = {**answers["software"], "torch": None, "packages": {}}

    snapshot = visit({"a": node(bare)}, level="normal")
    assert peek(snapshot.node("a"), "speed").why == "no accelerator"
    assert "speed" not in [stage.name for stage in snapshot.stages]


def test_a_busy_node_may_be_loaded_where_that_is_named():
    def busy(answers: dict[str, Any]) -> None:
        answers["processes"] = [{"pid": 7, "kind": "vllm", "name": "vllm serve", "user": "ops", "age_s": 9.0}]

    snapshot = visit({"a": node(busy)}, level="normal", permitted=frozenset({"busy"}))
    assert snapshot.level_why == ""
    assert "vllm runs there" not in peek(snapshot.node("a"), "speed").why

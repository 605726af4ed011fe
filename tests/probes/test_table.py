from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

import diag.node
from diag import probes
from diag.facts.node import Node, Reach
from diag.facts.record import Missing, is_known
from diag.probes.verbs import Answer, Ask
from tests.probes.recorded import answers

NODE_FOLDER = Path(next(iter(diag.node.__path__)))
NAMES = ("vm", "localhost")
ASKING = {probe.topic for probe in probes.PROBES} - {"between"}
"""One topic is read from what others ask for."""
ALL = probes.requests_for(model_path="/models/Qwen3", names=NAMES)


def test_every_topic_is_a_field_of_a_node():
    fields = set(Node.__struct_fields__)
    assert set(probes.TOPICS) <= fields
    not_measured = {"name", "address", "data_interface", "reach", "agent", "evidence", "left_behind"}
    assert fields - set(probes.TOPICS) == not_measured | {"inside", "host_side", "leaf"}


def test_a_recorded_node_has_every_topic():
    topics = probes.facts_from(tuple(answers().values()))
    assert [topic for topic, found in topics.items() if isinstance(found, Missing)] == []
    node = msgspec.structs.replace(Node(name="a", address="a", reach=Reach(outcome="answered")), **topics)
    assert msgspec.json.decode(msgspec.json.encode(node), type=Node) == node


def test_requests_have_names_of_their_own_and_go_out_once():
    names = [request.name for request in ALL]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("request_", ALL, ids=lambda request: request.name)
def test_every_function_that_is_asked_for_exists(request_: probes.Request):
    if isinstance(request_.verb, Ask):
        module, _, function = request_.verb.function.partition(":")
        assert re.search(rf"^def {function}\(", (NODE_FOLDER / f"{module}.py").read_text(), re.MULTILINE)


@pytest.mark.parametrize("request_", ALL, ids=lambda request: request.name)
def test_a_silent_request_never_becomes_a_fact(request_: probes.Request):
    """Whatever a topic read from it is Missing with the reason, and other topics stay as they were."""
    model = "/tmp/models/Qwen3-tiny"
    name = request_.name.replace("/models/Qwen3", model)
    told = answers()
    whole = probes.facts_from(tuple(told.values()))
    told[name] = Answer(name=name, why="the disk is on fire")
    cut = probes.facts_from(tuple(told.values()))
    changed = {topic for topic in whole if cut[topic] != whole[topic]}
    if request_.name != "names":
        assert changed
    for topic in changed:
        assert "the disk is on fire" in msgspec.json.encode(cut[topic]).decode()


@pytest.mark.parametrize("value", [None, 7, "x", [], {"a": 1}, [[1]]], ids=repr)
@pytest.mark.parametrize("request_", ALL, ids=lambda request: request.name)
def test_an_answer_of_another_form_never_breaks_a_reader(request_: probes.Request, value: object):
    told = answers()
    name = request_.name.replace("/models/Qwen3", "/tmp/models/Qwen3-tiny")
    told[name] = Answer(name=name, value=value)
    found = probes.facts_from(tuple(told.values()))
    assert set(found) == {probe.topic for probe in probes.PROBES}
    assert [fact.why for fact in found.values() if isinstance(fact, Missing) and probes.FAULT in fact.why] == []


def test_a_reader_that_breaks_costs_its_topic_only_and_says_whose_fault_it_is(monkeypatch: pytest.MonkeyPatch):
    def breaks(_: object) -> object:
        return {}["used"]

    spoiled = tuple(
        msgspec.structs.replace(probe, read=breaks) if probe.topic == "gpus" else probe for probe in probes.PROBES
    )
    whole = probes.facts_from(tuple(answers().values()))
    monkeypatch.setattr(probes, "PROBES", spoiled)
    cut = probes.facts_from(tuple(answers().values()))
    assert {topic for topic in whole if cut[topic] != whole[topic]} == {"gpus"}
    assert cut["gpus"].why.startswith(
        f"{probes.FAULT} of gpus broke on what the node answered: KeyError: 'used' (test_"
    )


def test_without_a_model_none_is_asked_for_and_the_reason_says_so():
    assert not any("model" in request.name for request in probes.requests_for(model_path=None))
    told = tuple(answer for name, answer in answers().items() if "model" not in name)
    assert probes.facts_from(told)["model"] == Missing("no --model was named")


def test_evidence_is_the_raw_answer_of_its_topic_and_equal_where_nodes_are():
    kept = {topic: (raw, size) for topic, raw, size in probes.evidence(tuple(answers().values()))}
    assert set(kept) == ASKING
    assert b"PRETTY_NAME" in kept["system"][0]
    assert b"Qwen3-tiny" in kept["filesystems"][0]
    assert b'"groups"' in kept["model"][0]
    again = {topic: (raw, size) for topic, raw, size in probes.evidence(tuple(reversed(answers().values())))}
    assert again == kept


def test_evidence_that_is_too_long_is_cut_and_keeps_its_length():
    told = answers(settings=[["NCCL_X", "y" * 100_000, "environment"]])
    raw, size = next((raw, size) for topic, raw, size in probes.evidence(tuple(told.values())) if topic == "settings")
    assert len(raw) == probes.RAW_AT_MOST < size


def test_evidence_of_a_node_never_exceeds_its_budget_and_every_topic_keeps_its_length():
    long = dict.fromkeys(answers(), "y" * 100_000)
    kept = tuple(probes.evidence(tuple(Answer(name=name, value=value) for name, value in long.items())))
    assert sum(len(raw) for _, raw, _ in kept) == 200_000
    assert len(kept) == len(ASKING)
    assert min(size for *_, size in kept) > 100_000


def test_what_was_not_answered_leaves_no_evidence():
    told = answers(limits=Answer(name="limits", why="no"))
    assert "limits" not in {topic for topic, _, _ in probes.evidence(tuple(told.values()))}


def test_importing_a_node_knows_nothing_of_it_before_it_answers():
    node = Node(name="a", address="a", reach=Reach(outcome="answered"))
    assert not any(is_known(node, topic) for topic in probes.TOPICS)

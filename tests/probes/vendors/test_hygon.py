from __future__ import annotations

import json
from typing import Any

import pytest

from diag.facts.device import Gpu
from diag.facts.record import Missing, NotMeasured, peek
from diag.probes.vendors import cards, hygon
from diag.probes.vendors.vendor import Printed
from tests.probes.vendors.printed import found, synthetic

MIB = 1 << 20
FILES = {"memory": "memory.json", "use": "use.json", "place": "place.json", "identity": "identity.json",
         "heat": "heat.json", "power": "power-without-commas.json", "clocks": "clocks.json", "driver": "driver.txt",
         "table": "table.txt"}  # fmt: skip


def read(**changed: Any) -> tuple[Gpu, ...]:
    said: dict[str, Any] = {name: synthetic(f"hygon/{file}") for name, file in FILES.items()}
    said["processes"] = "No KFD PIDs currently running\n"
    return hygon.gpus(found("hygon", "hy-smi", said | changed))


def test_a_card_is_put_together_from_what_all_commands_say():
    idle, busy = read()
    assert (idle.index, idle.name, idle.pci_address) == (0, "Hygon BW", "0000:0a:00.0")
    assert (idle.total_bytes, idle.used_bytes, idle.free_bytes) == (65520 * MIB, 5 * MIB, 65515 * MIB)
    assert (idle.uuid, idle.driver) == ("TXX00000000001", "6.3.30-V1.4.9")
    assert (busy.utilisation, busy.temperature_c, busy.memory_temperature_c) == (0.645, 66, 60)
    assert (busy.clocks.sm, busy.clocks.memory) == (1500, 1800)
    assert (idle.processes, idle.mig, idle.power_cap_w) == ((), False, 1000.0)


def test_json_that_forgets_its_commas_is_read_all_the_same():
    idle, busy = read()
    assert (idle.power_w, busy.power_w) == (88.0, 412.0)
    with pytest.raises(json.JSONDecodeError):
        json.loads(synthetic("hygon/power-without-commas.json"))


@pytest.mark.parametrize("text", ['{"a": "b", "c": {"d": [1, 2]}}', "[]", '{"a": "x, \\" y"}', "{}"])
def test_commas_are_added_nowhere_else(text: str):
    assert json.loads(cards.with_commas(text)) == json.loads(text)


def test_older_versions_count_cards_from_one_and_memory_in_bytes():
    (card,) = read(
        memory=synthetic("hygon/dtk-22-memory.json"), use=synthetic("hygon/dtk-22-use.json"), place="", identity="",
        heat="", power="", clocks="", table=Printed(status=2, stderr="usage: hy-smi\n"),
    )  # fmt: skip
    assert (card.index, card.name, card.total_bytes, card.utilisation) == (1, "Hygon DCU", 34342961152, 0.07)
    assert peek(card, "mig") == Missing("hy-smi (table) ended with status 2: usage: hy-smi")
    assert isinstance(peek(card, "temperature_c"), Missing)


def test_a_command_that_an_older_version_refuses_costs_only_its_fields():
    idle, _ = read(power=Printed(status=2, stderr="unrecognized arguments: --showpower\n"))
    assert isinstance(peek(idle, "power_w"), Missing)
    assert idle.used_bytes == 5 * MIB


def test_a_mode_other_than_normal_is_not_taken_for_a_whole_card():
    idle, busy = read(table=synthetic("hygon/table.txt").replace("Normal   \n1", "Split    \n1"))
    assert "Split" in peek(idle, "mig").why
    assert busy.mig is False


@pytest.mark.parametrize("text", ["", "no device\n", "{", '{"system": {}}', "{card0: 1}"])
def test_what_names_no_card_is_quoted(text: str):
    with pytest.raises(NotMeasured, match=r"hy-smi \(memory\) printed what is not understood"):
        read(memory=text)

"""Does output with a cell, a word or a value that nobody foresaw become records or a reason, and nothing else?"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from diag.facts.record import NotMeasured
from diag.probes import vendors
from diag.probes.vendors.vendor import Found
from tests.probes.vendors.printed import found, synthetic

CELLS = ("", "NA", "--", "ERR! ERR!")
WORDS = ("", "NA", "-1", "²")
VALUES: tuple[Any, ...] = (None, [], {}, "", "N/A", "abc", -1, True, 10**400, [1, "x"], {"value": "N/A"}, {"pid": "²"})
FIRST = {
    "mx-smi": {"table": "metax/2.2.9-8.txt"},
    "npu-smi": {"table": "ascend/910b.txt"},
    "hy-smi": {"memory": "hygon/memory.json"},
    "rocm-smi": {"memory": "amd/rocm-smi-memory.json"},
    "amd-smi": {"static": "amd/7.1-static.json"},
}
"""Tool -> the command without whose output it says nothing."""


def broken(vendor: str, tool: str, command: str, spoiled: Iterator[str]) -> list[str]:
    """What its readers raised that is no reason."""
    said = {name: synthetic(file) for name, file in FIRST[tool].items()}
    raised = []
    for text in spoiled:
        node: Found = found(vendor, tool, {**said, command: text})
        for read in (vendors.VENDORS[vendor].gpus, vendors.VENDORS[vendor].between):
            try:
                read(node)
            except NotMeasured:
                pass
            except Exception as error:  # noqa: BLE001 - the very thing that is looked for
                raised.append(f"{read.__name__}: {error!r}")
    return sorted(set(raised))


def without_a_line(text: str) -> Iterator[str]:
    lines = text.splitlines()
    return ("\n".join(lines[:at] + lines[at + 1 :]) for at in range(len(lines)))


def other_words(text: str) -> Iterator[str]:
    """Each cell of a table, and each word, in its width."""
    for part, others in ((r"(?<=\|)[^|\n]+(?=\|)", CELLS), (r"[^\s|]+", WORDS)):
        for match in re.finditer(part, text):
            for other in others:
                yield text[: match.start()] + other.ljust(len(match[0])) + text[match.end() :]


def other_values(text: str) -> Iterator[str]:
    whole = json.loads(text)
    for path in list(paths(whole)):
        for value in VALUES:
            spoiled = copy.deepcopy(whole)
            here = spoiled
            for key in path[:-1]:
                here = here[key]
            here[path[-1]] = value
            yield json.dumps(spoiled)


def paths(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """To all that is held, as keys and places from the outside in."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, held in items:
        yield (*here, key)
        yield from paths(held, (*here, key))


@pytest.mark.parametrize(
    ("vendor", "tool", "command", "file"),
    [
        ("metax", "mx-smi", "table", "metax/2.1.6-busy.txt"),
        ("metax", "mx-smi", "table", "metax/2.1.12.txt"),
        ("metax", "mx-smi", "table", "metax/2.2.4.txt"),
        ("metax", "mx-smi", "table", "metax/2.2.6-sgpu.txt"),
        ("metax", "mx-smi", "table", "metax/2.2.9-8.txt"),
        ("metax", "mx-smi", "list", "metax/2.2.9-L.txt"),
        ("metax", "mx-smi", "ecc", "metax/count-ecc.txt"),
        ("metax", "mx-smi", "temperatures", "metax/show-temperature.txt"),
        ("metax", "mx-smi", "topology with NICs", "metax/topo-n-8.txt"),
        ("ascend", "npu-smi", "table", "ascend/910b.txt"),
        ("ascend", "npu-smi", "table", "ascend/dual.txt"),
        ("ascend", "npu-smi", "table", "ascend/310p.txt"),
        ("ascend", "npu-smi", "ecc 1", "ascend/ecc-1.txt"),
        ("ascend", "npu-smi", "ecc 0", "ascend/ecc-dual.txt"),
        ("ascend", "npu-smi", "topology", "ascend/topo.txt"),
        ("hygon", "hy-smi", "table", "hygon/table.txt"),
        ("hygon", "hy-smi", "power", "hygon/power-without-commas.json"),
        ("hygon", "hy-smi", "driver", "hygon/driver.txt"),
    ],
)
def test_a_cell_or_word_that_nobody_foresaw_breaks_no_reader(vendor: str, tool: str, command: str, file: str):
    text = synthetic(file)
    assert broken(vendor, tool, command, without_a_line(text)) == []
    assert broken(vendor, tool, command, other_words(text)) == []


@pytest.mark.parametrize(
    ("vendor", "tool", "command", "file"),
    [
        ("amd", "amd-smi", "static", "amd/7.1-static.json"),
        ("amd", "amd-smi", "static", "amd/6.0-static.json"),
        ("amd", "amd-smi", "metric", "amd/7.1-metric.json"),
        ("amd", "amd-smi", "metric", "amd/6.0-metric.json"),
        ("amd", "amd-smi", "list", "amd/7.1-list.json"),
        ("amd", "amd-smi", "process", "amd/7.1-process.json"),
        ("amd", "amd-smi", "process", "amd/6.0-process.json"),
        ("amd", "amd-smi", "topology", "amd/7.1-topology.json"),
        ("amd", "amd-smi", "topology", "amd/6.0-topology.json"),
        ("amd", "amd-smi", "bad pages", "amd/7.1-bad-pages.json"),
        ("amd", "rocm-smi", "memory", "amd/rocm-smi-memory.json"),
        ("amd", "rocm-smi", "all", "amd/rocm-smi-all.json"),
        ("hygon", "hy-smi", "memory", "hygon/memory.json"),
        ("hygon", "hy-smi", "place", "hygon/place.json"),
        ("hygon", "hy-smi", "heat", "hygon/heat.json"),
        ("hygon", "hy-smi", "clocks", "hygon/clocks.json"),
    ],
)
def test_a_value_that_nobody_foresaw_breaks_no_reader(vendor: str, tool: str, command: str, file: str):
    assert broken(vendor, tool, command, other_values(synthetic(file))) == []

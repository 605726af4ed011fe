"""How long does it take to judge and report 1,000 nodes of 8 interfaces? `python bench/judge.py`

The whole process `diag check SNAPSHOT --junit FILE` on a Snapshot made from one that was recorded on real hosts, and on
one of nodes with eight GPUs each, healthy and with faults on every tenth node. The bars are 5 s and 1 GiB.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from diag.facts.links import Links  # noqa: E402 - diag is found from the project's root
from diag.facts.network import Hostname, Interface, Resolution  # noqa: E402 - diag is found from the project's root
from diag.facts.node import Node  # noqa: E402
from diag.facts.record import peek  # noqa: E402
from diag.facts.snapshot import Snapshot, load, save  # noqa: E402

SNAPSHOTS = ROOT / "tests" / "data" / "snapshots"
CASES = (
    ("recorded", "lab/healthy.json", False, 0),
    ("gpus", "healthy-gpu.json", False, 0),
    ("gpus_faulty", "healthy-gpu.json", True, 1),
)
"""Name, Snapshot, whether with faults, exit status."""
NODES, INTERFACES, RUNS = 1000, 8, 5
BAR_S, BAR_BYTES = 5.0, 1 << 30
SLOWER = 1.2

changed = msgspec.structs.replace


def large(recorded: Snapshot, *, faulty: bool) -> Snapshot:
    """The recorded nodes over and over, each with a name and addresses of its own."""
    kinds = len(recorded.nodes)
    nodes = tuple(_node(recorded.nodes[number % kinds], number) for number in range(NODES))
    if faulty:
        nodes = tuple(_faulty(node) if number % 10 == 0 else node for number, node in enumerate(nodes))
    names = tuple(node.name for node in nodes)
    resolutions = tuple(Resolution(name=node.name, addresses=(node.address,), nodes=names) for node in nodes)
    old = recorded.collective
    ranks = [rank for rank in old.ranks if rank.node == old.nodes[0]]
    collective = changed(
        old,
        nodes=names,
        world_size=len(ranks) * NODES,
        interfaces=tuple((name, old.interface or "") for name in names),
        ranks=tuple(
            changed(rank, node=name, rank=place * len(ranks) + rank.local_rank)
            for place, name in enumerate(names)
            for rank in ranks
        ),
    )
    links = _links(recorded.links, names)
    return changed(recorded, nodes=nodes, resolutions=resolutions, collective=collective, links=links)


def _links(recorded: Links, names: tuple[str, ...]) -> Links:
    """Both directions of every pair of the ring, each as one that was recorded."""
    ways = [
        way for one, other in zip(names, (*names[1:], names[0]), strict=True) for way in ((one, other), (other, one))
    ]
    flows = tuple(
        changed(recorded.flows[place % len(recorded.flows)], source=source, target=target, round=1 + place // 2 % 2)
        for place, (source, target) in enumerate(ways)
    )
    background = tuple(changed(recorded.background[0], node=name) for name in names)
    ports = changed(recorded.ports, nodes=names)
    return changed(recorded, nodes=names, flows=flows, background=background, ports=ports)


def _node(node: Node, number: int) -> Node:
    name, address = f"n{number:04}", f"10.{64 + number // 250}.{number % 250}.1"
    interfaces = [
        _addressed(
            each, address if node.address in str(each.addresses) else f"10.{96 + place}.{number // 250}.{number % 250}"
        )
        if each.addresses and each.kind != "loopback"
        else each
        for place, each in enumerate(node.interfaces)
    ]
    spare = interfaces[1]
    while len(interfaces) < INTERFACES:
        place = len(interfaces)
        interfaces.append(
            changed(spare, name=f"eth{place}", addresses=(f"172.{place + 20}.{number // 250}.{number % 250}/16",))
        )
    return changed(
        node,
        name=name,
        address=address,
        hostname=Hostname(name=name, addresses=(address,)),
        system=changed(node.system, boot_id=f"boot-{number}"),
        interfaces=tuple(interfaces),
        settings=tuple(
            changed(each, value="10.0.0.0/8") if each.name == "no_proxy" else each for each in node.settings
        ),
    )


def _addressed(interface: Interface, address: str) -> Interface:
    return changed(interface, addresses=(f"{address}/10",))


def _faulty(node: Node) -> Node:
    """Something of every kind: a limit, a version, a part, each interface, slow GPUs and links, an odd digest."""
    speed = node.speed
    return changed(
        node,
        speed=changed(
            speed,
            gemms=tuple(
                changed(row, flops_per_s=tuple(each / SLOWER for each in row.flops_per_s)) for row in speed.gemms
            ),
            p2p=tuple(changed(row, times_s=tuple(SLOWER * each for each in row.times_s)) for row in speed.p2p),
            fingerprints=tuple(changed(row, rounded="0" * len(row.rounded)) for row in speed.fingerprints),
        ),
        limits=changed(node.limits, nofile_hard=256),
        software=changed(node.software, torch="2.7.1+cu128"),
        gpus=tuple(changed(gpu, used_bytes=peek(gpu, "total_bytes")) for gpu in node.gpus),
        interfaces=tuple(changed(each, state="down") for each in node.interfaces),
    )


def once(path: Path, folder: Path) -> tuple[float, int, int]:
    """Seconds, peak resident bytes and exit status of the whole process."""
    command = [sys.executable, "-m", "diag", "check", str(path), "--junit", str(folder / "junit.xml")]
    began = time.monotonic()
    with (folder / "page.txt").open("wb") as page:
        process = subprocess.Popen(command, stdout=page, cwd=ROOT)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return time.monotonic() - began, used.ru_maxrss * 1024, process.returncode


def say(name: str, values: list[float], unit: str, bar: float) -> None:
    middle = statistics.median(values)
    print(json.dumps({
        "name": name, "value": round(middle, 3), "unit": unit, "ratio": round(middle / bar, 3),
        "against": f"bar {bar:g} {unit}", "runs": len(values), "spread": [round(min(values), 3), round(max(values), 3)],
    }))  # fmt: skip


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, snapshot, faulty, expected in CASES:
            path = folder / f"{kind}.json"
            save(large(load(SNAPSHOTS / snapshot), faulty=faulty), path)
            runs = [once(path, folder) for _ in range(RUNS)]
            if {status for _, _, status in runs} != {expected}:
                page = (folder / "page.txt").read_text()[-3000:]
                sys.exit(f"{kind}: diag check ended with {runs[0][2]}, expected {expected}\n{page}")
            say(f"judge_{NODES}_nodes_{kind}", [seconds for seconds, _, _ in runs], "s", BAR_S)
            say(f"judge_{NODES}_nodes_{kind}_peak_rss", [float(peak) for _, peak, _ in runs], "B", BAR_BYTES)


if __name__ == "__main__":
    main()

"""What do a node's RDMA devices share: driver stack, libraries, tools, flow control? None: it has no such device."""

from __future__ import annotations

import re

import msgspec

from diag.facts.rdma import RdmaSystem
from diag.facts.record import NotMeasured
from diag.probes.perftest import IPV6_OPTION
from diag.probes.probe import Answers, Probe, always, gap, maybe, told
from diag.probes.verbs import Ask, Request

TOOL_S = 2.0
"""Each of three."""
REQUESTS = (Request(name="rdma system", verb=Ask("rdma:system", {"seconds": TOOL_S})),)
LIBRARY = re.compile(r"libibverbs\.so\.[0-9]+\.[0-9]+\.([0-9][0-9.]*)")
"""The end of its name is rdma-core's version: ``libibverbs.so.1.14.44.0``."""
SOURCE_OPTIONS = ("--bind_source_ip", "--source_ip")
"""Newer and older spelling."""


class Mtu(msgspec.Struct, frozen=True, kw_only=True):
    active_bytes: int
    max_bytes: int


class _Ran(msgspec.Struct, frozen=True):
    status: int
    stdout: str
    stderr: str


Tool = _Ran | str | None
"""What it printed; why it did not answer; None: it is not installed."""


class _Dcb(msgspec.Struct, frozen=True):
    pfc: tuple[int, ...] | None = None
    trust: str | None = None
    ecn: dict[str, tuple[int, ...]] | None = None
    why: str = ""


class _System(msgspec.Struct, frozen=True):
    absent: bool = False
    loaded: bool = False
    ofed: str | None = None
    verbs: str | None = None
    namespaces: str | None = None
    flow_control: dict[str, _Dcb] = {}
    devinfo: Tool = None
    perftest: Tool = None
    perftest_help: Tool = None


def read(answers: Answers) -> RdmaSystem | None:
    found = told(answers, "rdma system", _System)
    if found.absent:
        return None
    options = () if not isinstance(found.perftest_help, _Ran) else found.perftest_help.stdout.split()
    return RdmaSystem(
        core_loaded=found.loaded,
        ofed=found.ofed,
        rdma_core=maybe(lambda: _rdma_core(found.verbs)),
        perftest=maybe(lambda: _perftest(found.perftest)),
        perftest_cuda="--use_cuda" in options,
        perftest_ipv6=IPV6_OPTION in options,
        perftest_source_option=next((option for option in SOURCE_OPTIONS if option in options), None),
        pfc=maybe(lambda: _flow_control(found.flow_control)),
        network_namespaces=found.namespaces or gap("the kernel does not say it (RDMA_NLDEV_CMD_SYS_GET)"),
    )


def _rdma_core(file: str | None) -> str | None:
    if file is None:
        return None
    match = LIBRARY.fullmatch(file)
    if match is None:
        raise NotMeasured(f"{file} says no version")
    return match[1]


def _perftest(tool: Tool) -> str | None:
    if tool is None:
        return None
    match = re.search(r"Version: *(\S+)", "" if isinstance(tool, str) else tool.stdout)
    if match is None:
        raise NotMeasured(tool if isinstance(tool, str) else f"ib_write_bw --version: {tool.stdout[:80]!r}")
    return match[1]


def _flow_control(found: dict[str, _Dcb]) -> tuple[tuple[str, str], ...]:
    """Raises NotMeasured where no interface says anything of it."""
    said = {name: words for name, dcb in found.items() if (words := _words(dcb))}
    if not said:
        why = next((dcb.why for dcb in found.values() if dcb.why), "no interface of an RDMA device here")
        raise NotMeasured(f"PFC and ECN: {why}")
    return tuple(said.items())


def _words(dcb: _Dcb) -> str:
    """``PFC on 3, trust dscp, ECN on 3``."""
    words = []
    if dcb.pfc is not None:
        words.append(f"PFC on {_priorities(dcb.pfc)}")
    if dcb.trust is not None:
        words.append(f"trust {dcb.trust}")
    if dcb.ecn is not None:
        words += [f"ECN {point} on {_priorities(on)}" for point, on in sorted(dcb.ecn.items())]
    return ", ".join(words)


def _priorities(on: tuple[int, ...]) -> str:
    return " ".join(str(priority) for priority in on) or "none"


def mtus(answers: Answers) -> dict[tuple[str, int], Mtu]:
    """(device, port) -> its MTUs, as ``ibv_devinfo`` says. Raises NotMeasured."""
    tool = told(answers, "rdma system", _System).devinfo
    if tool is None:
        raise NotMeasured("ibv_devinfo is not installed (ibverbs-utils), and sysfs has no MTU")
    if isinstance(tool, str):
        raise NotMeasured(tool)
    found = devinfo(tool.stdout)
    if not found:
        said = (tool.stderr.strip() or tool.stdout.strip()).splitlines()
        raise NotMeasured(f"ibv_devinfo: {said[0][:80] if said else 'nothing'}")
    return found


def devinfo(text: str) -> dict[tuple[str, int], Mtu]:
    """``hca_id: mlx5_0`` … ``port: 1`` … ``active_mtu: 4096 (5)``."""
    found: dict[tuple[str, int], Mtu] = {}
    device, port, most = "", 0, 0
    for line in text.splitlines():
        name, _, value = (part.strip() for part in line.partition(":"))
        if name == "hca_id":
            device = value
        elif name == "port" and value.isdigit():
            port = int(value)
        elif name in {"max_mtu", "active_mtu"} and (first := value.split(" ")[0]).isdigit():
            if name == "max_mtu":
                most = int(first)
            else:
                found[device, port] = Mtu(active_bytes=int(first), max_bytes=most)
    return found


PROBE = Probe(topic="rdma_system", requests=always(*REQUESTS), read=read)

"""What does NCCL say of itself in its INFO log? The lines of all ranks of a node, with their prefixes or without.

Read after the format strings of NCCL 2.18 to 2.30. It knows what was said; what ought to be is for the checks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from diag.facts.speed import NcclLog, Transport

_PREFIX = re.compile(r"^.*?NCCL (INFO|WARN|TRACE) ")
_VERSION = re.compile(r"NCCL version (\d[\w.+-]*)")
_VIA = re.compile(
    r"Channel (?P<channel>\d+)(?:/\d+)? : (?P<source>\d+)\[\w+\] -> (?P<target>\d+)\[\w+\] "
    r"(?:\[(?:send|receive)\] )?via (?P<via>.+)$"
)
_NET = re.compile(r"NET/(?P<name>[^/]+)/(?P<number>\d+)(?:\(\d+\))?(?P<rest>.*)$")
_HCAS = re.compile(r"NET/IB ?: Using(?P<list>( \[\d+\]\S+)+)")
_HCA = re.compile(r"\[\d+\](\S+)")
_DIRECT = re.compile(r"GPU Direct RDMA (?P<how>Enabled|Disabled) for HCA \d+ '(?P<hca>[^']+)'")
_NOT_DIRECT = re.compile(r"GPU Direct RDMA Disabled for GPU (?P<gpu>\w+) / HCA (?P<hca>\w+) \((?P<why>[^)]*)\)")
_GID = re.compile(r"\bGID (-?\d+) \(")
_CHANNELS = re.compile(r"^(?P<coll>\d+) coll channels,.*?(?P<nvls>\d+) nvls channels")
_NETWORK = re.compile(r"^Using network (.+)$")
_PLUGIN = re.compile(r"NET/Plugin: Loaded net plugin (.+?) \(v\d+\)|loaded external network plugin (\S+)")
_VARIABLE = re.compile(r"^(NCCL_\w+) set (?:by environment )?to (.*?)\.?$")
_NO_NVLS = ("NVLS multicast support is not available", "Proceeding without NVLS")
WARNINGS = 8


def read(lines: Iterable[str]) -> NcclLog:
    """What is not there stays None or empty: an unknown version of NCCL says less, and nothing is guessed."""
    heard = [_without_prefix(line) for line in lines]
    said = [text for _, text in heard]
    hcas = tuple(dict.fromkeys(name for text in said for name in _hcas(text)))
    counts = [found for text in said if (found := _CHANNELS.match(text))]
    nvls = max((int(found["nvls"]) for found in counts), default=None)
    without = any(text.startswith(_NO_NVLS[0]) or _NO_NVLS[1] in text for text in said)
    return NcclLog(
        version=_first(_VERSION, said),
        network=_first(_NETWORK, said),
        plugin=_first(_PLUGIN, said),
        hcas=hcas,
        gids=tuple(sorted({int(found[1]) for text in said if (found := _GID.search(text)) and int(found[1]) >= 0})),
        gpu_direct=_gpu_direct(said),
        gpu_direct_why=tuple(dict.fromkeys(_why_not(said))),
        nvls=None if nvls is None else nvls > 0 and not without,
        channels=max((int(found["coll"]) for found in counts), default=None),
        transports=_transports(said, hcas),
        variables=tuple(dict.fromkeys((f[1], f[2]) for text in said if (f := _VARIABLE.match(text)))),
        warnings=tuple(dict.fromkeys(text for kind, text in heard if kind == "WARN"))[:WARNINGS],
    )


def _without_prefix(line: str) -> tuple[str, str]:
    """``INFO`` or ``WARN``, and what is said; a line without prefix is INFO."""
    found = _PREFIX.match(line)
    return (found[1], line[found.end() :].strip()) if found else ("INFO", line.strip())


def _first(pattern: re.Pattern[str], said: Iterable[str]) -> str | None:
    for text in said:
        if found := pattern.search(text):
            return next(group for group in found.groups() if group is not None).strip()
    return None


def _hcas(text: str) -> list[str]:
    found = _HCAS.search(text)
    return [name.rstrip(";") for name in _HCA.findall(found["list"])] if found else []


def _gpu_direct(said: Iterable[str]) -> tuple[tuple[str, bool], ...]:
    """Off on one rank is off."""
    by_hca: dict[str, bool] = {}
    for text in said:
        if found := _DIRECT.search(text):
            by_hca[found["hca"]] = by_hca.get(found["hca"], True) and found["how"] == "Enabled"
    return tuple(by_hca.items())


def _why_not(said: Iterable[str]) -> Iterator[str]:
    for text in said:
        if found := _NOT_DIRECT.search(text):
            yield f"GPU {found['gpu']} and HCA {found['hca']}: {found['why']}"


def _transports(said: Iterable[str], hcas: tuple[str, ...]) -> tuple[Transport, ...]:
    """One for each way between two ranks, with its channels; both ends of a way over the network say it."""
    channels: dict[Transport, set[str]] = {}
    for text in said:
        if found := _VIA.search(text):
            way = _way(int(found["source"]), int(found["target"]), found["via"].strip(), hcas)
            channels.setdefault(way, set()).add(found["channel"])
    counted = ((way, len(each)) for way, each in channels.items())
    ways = [_counted(way, count) for way, count in counted]
    return tuple(sorted(ways, key=lambda way: (way.source, way.target, way.kind, way.hca or "")))


def _way(source: int, target: int, via: str, hcas: tuple[str, ...]) -> Transport:
    net = _NET.match(via)
    if net is None:
        kind, _, detail = via.partition("/")
        return Transport(source=source, target=target, kind=kind, detail=detail)
    number = int(net["number"])
    known = net["name"].startswith("IB") and number < len(hcas)
    return Transport(
        source=source,
        target=target,
        kind=f"NET/{net['name']}",
        hca=hcas[number].partition(":")[0] if known else str(number),
        gpu_direct="GDRDMA" in net["rest"],
    )


def _counted(way: Transport, channels: int) -> Transport:
    return Transport(
        source=way.source,
        target=way.target,
        kind=way.kind,
        detail=way.detail,
        hca=way.hca,
        gpu_direct=way.gpu_direct,
        channels=channels,
    )

"""How is perftest started, and what do its tables say? Text only: what it calls JSON is none (4.5).

A result counts where it is of the size that was asked for; that both ends ended well is for who ran them to see.
"""

from __future__ import annotations

import re

import msgspec

from diag.facts.record import NotMeasured

GID_INDEX_AT_MOST = 64
"""perftest refuses larger ones, whatever the device has."""
LATENCY_ROUNDS = 200
IPV6_OPTION = "--ipv6-addr"
"""Of newer ones, for both ends; without it they find each other over IPv4 only."""
COLUMN = re.compile(
    r"#bytes|#iterations|BW peak\[[^\]]+\]|BW average\[[^\]]+\]|MsgRate\[[^\]]+\]|t_\w+\[usec\]"
    r"|[0-9.]+% percentile\[usec\]|tps average|CPU_Util\[%\]"
)
SCALE = {"Gb/sec": 1e9 / 8, "MB/sec": float(1 << 20), "MiB/sec": float(1 << 20)}
"""Its MB are MiB, as its own help says."""
MTU = re.compile(r"^\s*Mtu\s*:\s*([0-9]+)", re.MULTILINE)


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """``tool``: ``ib_write_bw``, ``ib_read_bw``, ``ib_send_bw``, ``ib_write_lat``, ``ib_send_lat``, …

    ``seconds``: of a bandwidth test; a latency test is LATENCY_ROUNDS long, since it tells its median only then.
    """

    tool: str
    size_bytes: int
    seconds: int = 2
    queue_pairs: int = 1

    @property
    def of_latency(self) -> bool:
        return self.tool.endswith("_lat")

    @property
    def pulls(self) -> bool:
        """Whether the bytes go from the server to the client."""
        return "_read_" in self.tool


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One end: its device and GID, ``exchange_port`` for the TCP that both exchange their addresses over.

    ``source``: the option that keeps the TCP to this node's data address, and that address; None: perftest is too old.
    ``ipv6``: whether the other end is found over IPv6. ``gpu``: whose memory is sent; None: the host's.
    """

    device: str
    port: int
    gid_index: int | None
    exchange_port: int
    source: tuple[str, str] | None = None
    ipv6: bool = False
    gpu: int | None = None


def argv(test: Trial, side: Side, server: str | None = None) -> tuple[str, ...]:
    """``server``: the address of the other end; None: this is the server. Both have to be told the same test."""
    words = [test.tool, "-F", "-d", side.device, "-i", str(side.port), "-p", str(side.exchange_port),
             "-s", str(test.size_bytes)]  # fmt: skip
    if test.of_latency:
        words += ["-n", str(LATENCY_ROUNDS)]
    else:
        words += ["-D", str(test.seconds), "-q", str(test.queue_pairs), "--report_gbits"]
    if side.gid_index is not None and side.gid_index <= GID_INDEX_AT_MOST:
        words += ["-x", str(side.gid_index)]
    words += [f"{side.source[0]}={side.source[1]}"] if side.source else []
    words += [IPV6_OPTION] if side.ipv6 else []
    words += [f"--use_cuda={side.gpu}"] if side.gpu is not None else []
    return (*words, server) if server else tuple(words)


class NothingCame(NotMeasured):
    """Both ends ran to their end, and not one message came through."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One row of its table. ``bytes_per_s`` of a bandwidth test, ``latency_s`` (half a round trip) of the others."""

    size_bytes: int
    iterations: int
    bytes_per_s: float | None = None
    latency_s: float | None = None
    mtu_bytes: int | None = None


def results(text: str) -> tuple[Result, ...]:
    """Every row of the table in what it printed; empty: there is none."""
    lines = text.splitlines()
    at = next((number for number, line in enumerate(lines) if line.lstrip().startswith("#bytes")), len(lines))
    columns = COLUMN.findall(lines[at]) if at < len(lines) else []
    mtu = MTU.search(text)
    found = []
    for line in lines[at + 1 :]:
        words = line.split()
        if len(words) == len(columns) and all(_is_number(word) for word in words):
            found.append(_result(dict(zip(columns, words, strict=True)), int(mtu[1]) if mtu else None))
    return tuple(found)


def _result(row: dict[str, str], mtu: int | None) -> Result:
    rate = next(((name, value) for name, value in row.items() if name.startswith("BW average")), None)
    latency = row.get("t_typical[usec]") or row.get("t_avg[usec]")
    return Result(
        size_bytes=int(row["#bytes"]),
        iterations=int(row["#iterations"]),
        bytes_per_s=float(rate[1]) * _scale(rate[0]) if rate else None,
        latency_s=float(latency) / 1e6 if latency else None,
        mtu_bytes=mtu,
    )


def _scale(column: str) -> float:
    unit = column[column.index("[") + 1 : -1]
    if unit not in SCALE:
        raise NotMeasured(f"perftest counts in {unit!r}, expected one of {', '.join(SCALE)}")
    return SCALE[unit]


def _is_number(word: str) -> bool:
    return re.fullmatch(r"[0-9]+(\.[0-9]+)?", word) is not None


def result(test: Trial, text: str) -> Result:
    """The row of the size that was asked for. Raises NotMeasured where there is none."""
    found = results(text)
    asked = [row for row in found if row.size_bytes == test.size_bytes]
    if not asked:
        sizes = ", ".join(str(row.size_bytes) for row in found) or "no row of its table"
        raise NotMeasured(f"{test.tool} printed {sizes}, expected one of {test.size_bytes} bytes")
    last = asked[-1]
    value = last.latency_s if test.of_latency else last.bytes_per_s
    if not value:
        raise NothingCame(f"{test.tool} ran to its end, and nothing came through")
    return last


def bare(test: Trial, text: str) -> float:
    """Of ``--output=bandwidth`` (with ``--report_gbits``) or ``--output=latency``: its one number, in bytes/s or s."""
    words = text.split()
    if len(words) != 1 or not _is_number(words[0]):
        raise NotMeasured(f"{test.tool} printed {text[:80]!r}, expected one number")
    return float(words[0]) / 1e6 if test.of_latency else float(words[0]) * SCALE["Gb/sec"]

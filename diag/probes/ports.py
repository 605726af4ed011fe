"""Which ports that engines use are taken, and which range do outgoing connections take theirs from?"""

from __future__ import annotations

from diag.facts.network import EphemeralPorts, Listener
from diag.facts.record import NotMeasured
from diag.probes.probe import Answers, Probe, always, text, told
from diag.probes.verbs import Ask, Read, Request

ENGINE_PORTS = (
    ("vllm and other OpenAI-compatible servers", 8000, 8100),
    ("ray dashboard", 8265, 8265),
    ("ray client", 10001, 10001),
    ("ray head (GCS)", 6379, 6380),
    ("ollama", 11434, 11434),
    ("lmdeploy", 23333, 23340),
    ("torchrun rendezvous", 29400, 29600),
    ("sglang", 30000, 30100),
    ("sglang and vllm data parallel", 5000, 5050),
)
"""Defaults of the engines' own command lines, and what they count up from them."""

RANGE = "/proc/sys/net/ipv4/ip_local_port_range"
RESERVED = "/proc/sys/net/ipv4/ip_local_reserved_ports"


def read_listeners(answers: Answers) -> tuple[Listener, ...]:
    found = told(answers, "listeners", tuple[Listener, ...])
    return tuple(sorted(found, key=lambda listener: (listener.port, listener.address)))


def read_ephemeral(answers: Answers) -> EphemeralPorts:
    said = text(answers, "port range", RANGE)
    low, _, high = said.strip().partition("\t")
    if not (low.isdigit() and high.isdigit()):
        raise NotMeasured(f"{RANGE}: found {said[:80]!r}, expected two ports")
    reserved = told(answers, "port range", dict[str, str]).get(RESERVED, "").strip()
    return EphemeralPorts(low=int(low), high=int(high), reserved=tuple(filter(None, reserved.split(","))))


LISTENERS = Probe(
    topic="listeners",
    requests=always(
        Request(
            name="listeners", verb=Ask("ports:listeners", {"ranges": [[low, high] for _, low, high in ENGINE_PORTS]})
        )
    ),
    read=read_listeners,
)
EPHEMERAL = Probe(
    topic="ephemeral_ports",
    requests=always(Request(name="port range", verb=Read((RANGE, RESERVED), 65536))),
    read=read_ephemeral,
)

"""Changes that make the checks of checks/ports.py fail."""

from __future__ import annotations

from diag.facts.network import EphemeralPorts, Listener
from tests.checks.changes import (
    on,
)
from tests.checks.pair import two

PAIRS = (
    two(
        "engine_ports_are_free",
        on("gpu02", listeners=(Listener(port=8000, address="0.0.0.0", process="python"),)),
        "8000 (vLLM) by python",
    ),
    two("ephemeral_ports_are_many", on("gpu02", ephemeral_ports=EphemeralPorts(low=60000, high=60999)), "1000 ports"),
    two(
        "ephemeral_ports_spare_the_engines",
        on("gpu02", ephemeral_ports=EphemeralPorts(low=10000, high=60999, reserved=("29500-29600", "11434"))),
        "23333, 30000",
    ),
)

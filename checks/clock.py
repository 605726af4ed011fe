"""Do the nodes agree what time it is?"""

import pytest

from diag.facts.node import Node
from diag.facts.peers import Peers
from diag.facts.verdict import finding
from diag.units import seconds

TOLERANCE_S = 0.5
"""A judgement: NTP keeps a few ms; beyond half a second the log lines of two nodes can no longer be put in order."""


def offset(node: Node) -> float:
    return node.clock.offset_s


@pytest.mark.cause("clock_skew")
def check_clock_agrees_with_peers(node: Node, peers: Peers) -> None:
    """Logs of the ranks cannot be put in order, certificates seem expired, and leases of schedulers end too early.

    Do: start chrony or systemd-timesyncd on the node, and look at why it lost its time source.
    $ ssh {node} 'timedatectl; chronyc tracking'
    """
    apart = offset(node) - peers.median(offset)
    uncertainty = node.clock.uncertainty_s
    direction = "ahead of" if apart > 0 else "behind"
    found = f"clock {seconds(abs(apart))} {direction} the median of all nodes, measured to ± {seconds(uncertainty)}"
    assert abs(apart) <= TOLERANCE_S + uncertainty, finding(found, f"within {seconds(TOLERANCE_S)}")

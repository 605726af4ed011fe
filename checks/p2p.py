"""Do the GPUs of a node deliver to each other what was sent, and as fast as their links allow?"""

import pytest

from diag.facts.alone import had_for_ourselves
from diag.facts.derived import has_accelerator, loads, past_quick
from diag.facts.device import Between
from diag.facts.expected import Expected, expected, pair
from diag.facts.islands import LINK, paths
from diag.facts.node import Node
from diag.facts.peers import Peers
from diag.facts.rates import models, slow_pairs
from diag.facts.record import NotMeasured
from diag.facts.speed import Lost, P2p
from diag.facts.verdict import finding
from diag.units import gb_per_s

loaded = pytest.mark.asked(loads, reason="level passive makes no load")
from_normal = pytest.mark.asked(past_quick, reason="level normal or burn measures it")
on_gpus = pytest.mark.applies(has_accelerator, reason="no accelerator")


def wedged(lost: tuple[Lost, ...]) -> list[Lost]:
    return [each for each in lost if each.topic == "p2p" and each.how == "killed"]


@loaded
@on_gpus
@from_normal
@pytest.mark.applies(lambda node: len(node.gpus) > 1, reason="one GPU")
@pytest.mark.cause("acs_iommu_breaks_p2p")
def check_gpus_send_each_other_what_they_should(node: Node) -> None:
    """Some systems say that GPUs reach each other, and deliver zeros or hang: NCCL and vLLM's all-reduce do so too.

    Do: set NCCL_P2P_DISABLE=1 and --disable-custom-all-reduce, or turn off ACS and the translating IOMMU.
    $ ssh {node} 'nvidia-smi topo -p2p r; cat /proc/cmdline'
    """
    speed = node.speed
    pairs = speed.p2p
    wrong = [f"gpu:{row.source} to gpu:{row.target}: {row.wrong}" for row in pairs if not row.verified]
    wrong += [f"gpu:{lost.gpus[0]} and gpu:{lost.gpus[1]}: {lost.why}" for lost in wedged(speed.lost)]
    more = f"; {len(wrong) - 2} more" if len(wrong) > 2 else ""
    assert not wrong, finding("; ".join(wrong[:2]) + more, "every byte as it was sent, in both directions")
    asked = {frozenset((row.source, row.target)) for row in pairs}
    count = len(node.gpus) * (len(node.gpus) - 1) // 2
    if len(asked) < count:
        raise NotMeasured(f"{len(asked)} of {count} pairs were measured")


def not_judged(node: Node) -> dict[int, str]:
    """GPU -> why its pairs are not; empty: they are."""
    found = {}
    for gpu in node.gpus:
        try:
            had_for_ourselves(gpu)
        except NotMeasured as why:
            found[gpu.index] = str(why)
        else:
            found[gpu.index] = ""
    return found


def should_carry(row: P2p, name: str, way: Between | None) -> Expected | None:
    """By what joins the two; None: nothing is published of it. Raises NotMeasured where it is not known."""
    published = expected(name, "p2p") if row.direct else None
    if published is not None and published.links and way is None:
        raise NotMeasured(f"how many links join gpu:{row.source} and gpu:{row.target} is not known")
    by_link = way is None or way.path == LINK
    return pair(name, way.links if way else 0) if published is not None and by_link else None


@loaded
@on_gpus
@from_normal
@pytest.mark.optional
@pytest.mark.applies(lambda node: len(node.gpus) > 1, reason="one GPU")
@pytest.mark.needs("check_gpus_send_each_other_what_they_should")
@pytest.mark.cause("link_slow")
def check_links_between_gpus_are_fast(node: Node, peers: Peers) -> None:
    """One slow link slows every all-reduce that crosses it, and with it each token.

    Do: look at the state and errors of the links between these two GPUs.
    $ ssh {node} 'nvidia-smi nvlink -s; nvidia-smi topo -m'
    """
    pairs = node.speed.p2p
    late = peers.once(slow_pairs).get(node.name, {})
    for (source, target), found in late.items():
        said = f"gpu:{source} to gpu:{target} {gb_per_s(found.value)}, {found.share:.1%} below"
        raise AssertionError(finding(said, f"{gb_per_s(found.others)} ({found.count} peers)"))
    names, ways, reasons, unknown = models(node), paths(node), not_judged(node), ""
    for row in pairs:
        gone = "not all that were measured are known"
        unfit = reasons.get(row.source, gone) or reasons.get(row.target, gone)
        try:
            way = ways.get(frozenset((row.source, row.target)))
            wanted = None if unfit else should_carry(row, names[row.source], way)
        except NotMeasured as why:
            unfit, wanted = str(why), None
        unknown = unfit or unknown
        assert wanted is None or row.bytes_per_s >= wanted.least, finding(
            f"gpu:{row.source} to gpu:{row.target} {gb_per_s(row.bytes_per_s)}",
            f"at least {gb_per_s(wanted.least)} ({wanted.source})" if wanted else "",
        )
    if unknown:
        raise NotMeasured(unknown)

"""Is what the GPUs compute and carry right, and are they as fast as others of their model and as is known of it?"""

import pytest

from diag.facts.alone import had_for_ourselves
from diag.facts.baseline import figures, identity
from diag.facts.derived import has_accelerator, loads, past_quick
from diag.facts.device import Gpu
from diag.facts.expected import expected, host_link
from diag.facts.lost import came_through, hung
from diag.facts.node import Node
from diag.facts.peers import Peers
from diag.facts.rates import digests, slow_copies, slow_gemms
from diag.facts.record import NotMeasured
from diag.facts.snapshot import Snapshot
from diag.facts.speed import Bandwidth, of_gpu, why_lost
from diag.facts.under_load import clocks_of, cut_by, link_told
from diag.facts.verdict import finding
from diag.units import gb_per_s, size, tflops

ALLOCATABLE_SHARE = 0.98
"""Of what was free; the rest goes to fragments of blocks."""
STILL_SHARE = 0.95
"""Of what it reached before; runs of one GPU differ by less."""
ELSEWHERE = "measured from another NUMA node only: no CPU beside the GPU may be used"
UNTOLD = "the product is not that of the reference"
"""Where a product was not verified, and what was wrong with it was not told."""

loaded = pytest.mark.asked(loads, reason="level passive makes no load")
from_normal = pytest.mark.asked(past_quick, reason="level normal or burn measures it")
on_gpus = pytest.mark.applies(has_accelerator, reason="no accelerator")


def told(*found: str) -> str:
    """One after the other, what is empty left out."""
    return "; ".join(filter(None, found))


def not_cut(node: Node, gpu: Gpu, found: str) -> None:
    """Clocks that heat or the power supply cuts fail a check of their own: one cause is one failure. NotMeasured."""
    reasons = cut_by(node, gpu, "gemm")
    if reasons:
        raise NotMeasured(f"{found}: its clocks were cut by {reasons}")


# -- products


@loaded
@on_gpus
@pytest.mark.cause("wrong_results")
def check_gpu_computes_right_products(gpu: Gpu, node: Node) -> None:
    """A GPU that multiplies wrongly makes every answer of the model wrong, in silence.

    Do: drain this GPU, and run the vendor's own diagnosis on it.
    $ ssh {node} dcgmi diag -r 3
    """
    rows = of_gpu(node.speed.gemms, gpu.index, node.speed, "gemm")
    wrong = [f"{row.dtype}: {row.wrong or UNTOLD}" for row in rows if row.wrong or not row.verified]
    assert not wrong, finding("; ".join(wrong), "every product equal to its reference, and to itself each time")


@loaded
@on_gpus
@pytest.mark.cause("gpu_hardware_fault")
def check_gpu_hangs_in_nothing_that_others_finish(gpu: Gpu, node: Node) -> None:
    """A GPU that alone comes to no end holds up every job it is part of, as a collective that hangs without a word.

    Do: drain this GPU; look for Xids, reset it, and run the vendor's own diagnosis on it.
    $ ssh {node} 'sudo dmesg --ctime | grep -i xid | tail; dcgmi diag -r 3'
    """
    killed = hung(node.speed, gpu.index)
    if not killed:
        of_gpu(node.speed.gemms, gpu.index, node.speed, "gemm")
        return
    had_for_ourselves(gpu)
    alone = [f"{each.topic}: {each.why}" for each in killed if came_through(node.speed, each, node.gpus)]
    assert not alone, finding("; ".join(alone), "its end in time, as on other GPUs of the node")
    raise NotMeasured(f"{killed[0].topic}: {killed[0].why}, and no other GPU of the node came through")


@loaded
@on_gpus
@pytest.mark.needs("check_gpu_computes_right_products")
@pytest.mark.cause("gpu_slow")
def check_gpu_is_as_fast_as_its_peers(gpu: Gpu, node: Node, peers: Peers) -> None:
    """A parallel group goes as fast as its slowest GPU: one that is 5 % slower makes all of them 5 % slower.

    Do: look at its power cap, clocks, temperature and throttle reasons, then at its cooling.
    $ ssh {node} nvidia-smi --id={subject} -q -d PERFORMANCE,POWER,CLOCK,TEMPERATURE
    """
    own = {row.dtype: row for row in of_gpu(node.speed.gemms, gpu.index, node.speed, "gemm")}
    had_for_ourselves(gpu)
    behind = peers.once(slow_gemms)
    mine = {dtype: behind.get((gpu.name, dtype), {}).get((node.name, gpu.index)) for dtype in own}
    late = {dtype: each for dtype, each in mine.items() if each is not None}
    rates = "; ".join(f"{dtype} {tflops(each.value)}, {each.share:.1%} below" for dtype, each in late.items())
    of_all = "; ".join(f"{dtype} {tflops(each.others)} ({each.count} peers)" for dtype, each in late.items())
    if late:
        not_cut(node, gpu, rates)
    assert not late, finding(told(rates, clocks_of(node, gpu, "gemm")), of_all)


def earlier_figures(cluster: Snapshot) -> dict[tuple[str, str], float]:
    """(GPU, what) -> what the run named with --baseline found."""
    found = cluster.baseline.figures if cluster.baseline is not None else ()
    return {(figure.gpu, figure.what): figure.value for figure in found}


@loaded
@on_gpus
@pytest.mark.optional
@pytest.mark.applies(lambda cluster: cluster.baseline is not None, reason="no --baseline was named")
@pytest.mark.cause("gpu_slow")
def check_gpu_is_as_fast_as_it_was(gpu: Gpu, node: Node, peers: Peers) -> None:
    """What an earlier run measured on this very GPU is the best referee: no other device, slot or cooling differs.

    Do: look for what changed since: driver, power cap, clocks, temperature, the slot.
    $ ssh {node} nvidia-smi --id={subject} -q -d PERFORMANCE,POWER,CLOCK,TEMPERATURE
    """
    then = peers.once(earlier_figures)
    of_gpu(node.speed.gemms, gpu.index, node.speed, "gemm")
    copies(node, gpu, "hbm")
    had_for_ourselves(gpu)
    name, now = identity(node.name, gpu), figures(node.speed, gpu.index)
    both = {what: (value, then[name, what]) for what, value in now.items() if (name, what) in then}
    if not both:
        raise NotMeasured("the earlier run did not measure this GPU")
    late = {what: pair for what, pair in both.items() if pair[0] < STILL_SHARE * pair[1]}
    found = "; ".join(f"{what} {1 - value / was:.1%} below" for what, (value, was) in late.items())
    if late:
        not_cut(node, gpu, found)
    assert not late, finding(found, f"at least {STILL_SHARE:.0%} of what it reached in the earlier run")


@loaded
@on_gpus
@pytest.mark.optional
@pytest.mark.needs("check_gpu_computes_right_products")
@pytest.mark.cause("gpu_slow")
def check_gpu_reaches_what_its_model_does(gpu: Gpu, node: Node) -> None:
    """When all GPUs are slow alike, none is behind its peers: a power cap, hot air, or a driver's setting.

    Do: compare power cap and clocks with the data sheet of this model.
    $ ssh {node} nvidia-smi --id={subject} -q -d POWER,CLOCK
    """
    low, known, rows = [], 0, of_gpu(node.speed.gemms, gpu.index, node.speed, "gemm")
    had_for_ourselves(gpu)
    for row in rows:
        wanted = expected(gpu.name, f"gemm {row.dtype}")
        known += wanted is not None
        if wanted is not None and row.sustained_flops_per_s < wanted.least:
            low.append((f"{row.dtype} {tflops(row.sustained_flops_per_s)}",
                        f"at least {tflops(wanted.least)} ({wanted.source})"))  # fmt: skip
    if not known:
        pytest.skip(f"nothing is published of {gpu.name}: peers and earlier runs judge it")
    rates = "; ".join(found for found, _ in low)
    if low:
        not_cut(node, gpu, rates)
    assert not low, finding(told(rates, clocks_of(node, gpu, "gemm")), "; ".join(wish for _, wish in low))


@loaded
@on_gpus
@pytest.mark.cause("wrong_results")
def check_every_gpu_computes_the_same_bits(gpu: Gpu, node: Node, peers: Peers) -> None:
    """From one seed all GPUs of a model find the same bits; the odd one corrupts data in silence.

    Do: drain this GPU (where no more than half agree, each in turn), and run the vendor's own diagnosis on it.
    $ ssh {node} dcgmi diag -r 3
    """
    (own,) = of_gpu(node.speed.fingerprints, gpu.index, node.speed, "fingerprint")
    assert own.repeated, finding("other bits each time", "the same each time")
    assert own.exact == own.expected, finding(f"sums {own.exact[:12]}", f"{own.expected[:12]}, as whole numbers give")
    alike = peers.once(digests)[own.kind]
    same, count, (common, most) = alike[own.rounded], alike.total(), alike.most_common(1)[0]
    assert len(alike) == 1 or 2 * most > count, finding(
        f"bits {own.rounded[:12]} on {same} of {count} GPUs, others on {count - same}: which is wrong nobody can tell",
        f"the same on all GPUs of {own.kind}",
    )
    expected_bits = f"those of {most} of {count} GPUs of {own.kind}"
    assert own.rounded == common, finding(f"bits {own.rounded[:12]}", expected_bits)


# -- memory and its ways


def copies(node: Node, gpu: Gpu, *kinds: str, near: bool = True) -> list[Bandwidth]:
    topic = "hbm" if kinds == ("hbm",) else "host copies"
    rows = of_gpu(node.speed.bandwidths, gpu.index, node.speed, topic)
    found = [row for row in rows if row.kind in kinds and (row.near is not False or not near)]
    if not found:
        lost = any(each.topic == topic and gpu.index in each.gpus for each in node.speed.lost)
        raise NotMeasured(ELSEWHERE if rows and not lost else why_lost(node.speed, topic, gpu.index))
    return found


@loaded
@on_gpus
@pytest.mark.cause("wrong_results")
def check_copies_arrive_unchanged(gpu: Gpu, node: Node) -> None:
    """A copy that changes data corrupts weights as they are loaded, and tokens as they leave.

    Do: drain this GPU; look for PCIe replays, corrected errors, and the riser or cable it sits on.
    $ ssh {node} 'nvidia-smi --id={subject} --query --display=ECC; sudo dmesg | grep -i aer | tail'
    """
    rows = copies(node, gpu, "hbm") + copies(node, gpu, "h2d", "d2h", "h2d_all", "d2h_all", near=False)
    wrong = sorted({row.kind for row in rows if not row.verified})
    assert not wrong, finding(f"wrong bytes in {', '.join(wrong)}", "every byte as it was sent")


def behind_peers(node: Node, gpu: Gpu, peers: Peers, rows: list[Bandwidth]) -> None:
    had_for_ourselves(gpu)
    behind = peers.once(slow_copies)
    for row in rows:
        late = behind.get((gpu.name, row.kind), {}).get((node.name, gpu.index))
        assert late is None, finding(
            f"{row.kind} {gb_per_s(row.bytes_per_s)}, {late.share:.1%} below" if late else "",
            f"{gb_per_s(late.others)} ({late.count} peers)" if late else "",
        )


@loaded
@on_gpus
@pytest.mark.needs("check_copies_arrive_unchanged")
@pytest.mark.cause("gpu_slow")
def check_gpu_memory_is_fast(gpu: Gpu, node: Node, peers: Peers) -> None:
    """Decoding reads all weights for every token: its speed is that of the GPU's memory.

    Do: look at the memory's clock, temperature and remapped rows.
    $ ssh {node} nvidia-smi --id={subject} -q -d CLOCK,TEMPERATURE,ROW_REMAPPER
    """
    rows = copies(node, gpu, "hbm")
    behind_peers(node, gpu, peers, rows)
    wanted = expected(gpu.name, "hbm")
    for row in rows if wanted else ():
        wish = f"at least {gb_per_s(wanted.least)} ({wanted.source})" if wanted else ""
        assert wanted is None or row.bytes_per_s >= wanted.least, finding(f"copies {gb_per_s(row.bytes_per_s)}", wish)


@loaded
@on_gpus
@pytest.mark.needs("check_copies_arrive_unchanged")
@pytest.mark.cause("pcie_link_slow")
def check_pcie_carries_its_width_under_load(gpu: Gpu, node: Node, peers: Peers) -> None:
    """A link that trained at half its lanes loads models and swaps caches at half the speed; idle links hide it.

    Do: reseat the card or its riser, or drain it; meanwhile plan without it: --exclude {node}:{subject}.
    $ ssh {node} nvidia-smi --id={subject} --query-gpu=pcie.link.gen.gpucurrent,pcie.link.width.current --format=csv
    """
    rows = copies(node, gpu, "h2d", "d2h")
    behind_peers(node, gpu, peers, rows)
    if gpu.pcie is None:
        return
    generation, width = gpu.pcie.generation_max, gpu.pcie.width_max
    wanted = host_link(generation, width) if generation and width else None
    for row in rows if wanted else ():
        wish = f"at least {gb_per_s(wanted.least)}: PCIe {generation} x{width}" if wanted else ""
        found = f"{row.kind} {gb_per_s(row.bytes_per_s)}"
        assert wanted is None or row.bytes_per_s >= wanted.least, finding(told(found, link_told(node, gpu)), wish)


@loaded
@on_gpus
@from_normal
@pytest.mark.optional
@pytest.mark.cause("gpu_memory_corrupts")
def check_gpu_memory_holds_what_was_written(gpu: Gpu, node: Node) -> None:
    """Memory that forgets changes weights and caches in silence; two owners of one piece of it do so too.

    Do: drain this GPU, and run the vendor's own diagnosis on it; look for corrected errors and remapped rows.
    $ ssh {node} 'nvidia-smi --id={subject} -q -d ECC,ROW_REMAPPER; dcgmi diag -r 3'
    """
    (fill,) = of_gpu(node.speed.fills, gpu.index, node.speed, "fill")
    found = f"of {size(fill.allocatable_bytes)}, not all held what was written"
    assert fill.verified, finding(found, "every byte as it was written")


@loaded
@on_gpus
@from_normal
@pytest.mark.optional
@pytest.mark.needs("check_gpu_memory_holds_what_was_written")
@pytest.mark.cause("gpu_memory_taken_by_other_process")
def check_free_gpu_memory_can_be_had(gpu: Gpu, node: Node) -> None:
    """Engines take what the driver calls free; where less can be had, they end while they start.

    Do: look for a process in another container, or a memory limit of MPS or a virtual GPU.
    $ ssh {node} nvidia-smi --id={subject} -q -d MEMORY
    """
    (fill,) = of_gpu(node.speed.fills, gpu.index, node.speed, "fill")
    enough = fill.allocatable_bytes >= ALLOCATABLE_SHARE * fill.told_bytes
    assert enough, finding(f"{size(fill.allocatable_bytes)} could be had", f"{size(fill.told_bytes)}: told to be free")

"""Who did not come through, in which phase, and why? What was heard becomes the record of a collective; pure."""

from __future__ import annotations

import signal
import statistics
from collections.abc import Mapping

from diag.facts.collective import Blocked, Collective, Rank, Step
from diag.facts.record import UNASKED
from diag.facts.speed import NcclLog
from diag.participants import Participants
from diag.probes import nccl_log
from diag.remote import hangs
from diag.remote.hearing import Hearing, Trouble
from diag.units import gb_per_s, gbit_per_s, seconds, size

WAITED_FOR = ("rank_missing", "rank_frozen")
"""What the others do not notice by themselves: they wait."""
CUT_OFF = "its node answers the controller but not the other nodes: its data network is cut"


def collective(
    heard: Hearing, *, rendezvous: str, environment: Mapping[str, str], blocked: tuple[Blocked, ...], taken_s: float
) -> Collective:
    """``taken_s``: of the whole stage; ``environment``: what diag set for every rank."""
    who = heard.who
    guilty = {} if heard.stopped_for else culprits(heard)
    steps = tuple(_step(heard, size_bytes) for size_bytes in sorted(heard.times_s) if _is_whole(heard, size_bytes))
    ranks = tuple(_rank(heard, guilty, node, rank) for node in range(len(who.places)) for rank in who.ranks_of(node))
    interfaces = {place.interface for place in who.places}
    return Collective(
        backend=who.backend,
        backend_why=who.backend_why,
        nodes=who.names,
        excluded=tuple(who.excluded.items()),
        world_size=who.world_size,
        finished=heard.all_done(),
        seconds=round(taken_s, 3),
        steps=steps,
        ranks=ranks,
        interface=interfaces.pop() if len(interfaces) == 1 else None,
        interfaces=tuple((place.node, place.interface) for place in who.places),
        interface_why=who.interface_why,
        rendezvous=rendezvous,
        interpreters=tuple((who.places[node].node, path) for node, path in sorted(heard.interpreters.items())),
        environment=tuple(sorted(environment.items())),
        effective_environment=tuple(sorted(heard.environment.items())),
        left_out_bytes=tuple(heard.left_out),
        blocked=blocked,
        stopped=_stopped(heard),
        witnesses=() if heard.stopped_for else hangs.witnesses(heard),
        summary=_summary(heard, steps, ranks, taken_s),
        library=heard.library or UNASKED,
        logs=_logs(heard) if who.backend == "nccl" else (),
    )


def _logs(heard: Hearing) -> tuple[tuple[str, NcclLog], ...]:
    """Of nodes whose ranks told any of it."""
    said = {
        name: [line for rank in heard.who.ranks_of(node) for line in heard.logs.get(rank, ())]
        for node, name in enumerate(heard.who.names)
    }
    return tuple((name, nccl_log.read(lines)) for name, lines in said.items() if lines)


def busbw(world_size: int, size_bytes: int, time_s: float) -> float:
    """Bytes per second: 2(n-1)/n · size/time, what a link of a ring carries (nccl-tests, PERFORMANCE.md)."""
    return 2 * (world_size - 1) / world_size * size_bytes / time_s


def _is_whole(heard: Hearing, size_bytes: int) -> bool:
    return len(heard.times_s[size_bytes]) == heard.who.world_size


def _step(heard: Hearing, size_bytes: int) -> Step:
    """Each repetition lasted as long as on its slowest rank."""
    times_s = tuple(max(times) for times in zip(*heard.times_s[size_bytes].values(), strict=False))
    median_s = statistics.median(times_s)
    return Step(
        size_bytes=size_bytes,
        times_s=times_s,
        algbw_bytes_per_s=size_bytes / median_s,
        busbw_bytes_per_s=busbw(heard.who.world_size, size_bytes, median_s),
        verified=size_bytes not in heard.wrong,
    )


# -- who is to blame


def culprits(heard: Hearing) -> dict[int, tuple[str, str]]:
    """Rank -> cause and words. What the board saw goes before what ranks felt: an error may be another's fault."""
    found: dict[int, tuple[str, str]] = {}
    for node, error in heard.lost.items():
        for rank in heard.who.ranks_of(node):
            found[rank] = ("agent_silent", error.what)
    if not heard.has_lost_its_board():
        found = _seen_by_board(heard) | found
    if not found:
        found = _without_board(heard)
    if not found:
        found = {rank: ("rank_died", _words(heard, rank, "")) for rank in _exited(heard)}
    if not found:
        hung = hangs.behind(heard) or hangs.unanswered(heard)
        found = {rank: ("rank_frozen", why) for rank, why in hung.items()}
    if not found:
        found = _failed_alone(heard)
    return {rank: cause for rank, cause in found.items() if not heard.is_done(rank)}


def _seen_by_board(heard: Hearing) -> dict[int, tuple[str, str]]:
    """A rank's own trouble goes before that of its launcher."""
    found: dict[int, tuple[str, str]] = {}
    for trouble in sorted(heard.troubles.values(), key=lambda trouble: trouble.who.startswith("node:")):
        if trouble.cause != "failed":
            launcher = trouble.who.startswith("node:") and trouble.cause != "rank_missing"
            about = "torchrun there: " if launcher else ""
            for rank in _ranks(heard, trouble):
                found.setdefault(rank, (trouble.cause, _words(heard, rank, about + trouble.what)))
    return found


def _ranks(heard: Hearing, trouble: Trouble) -> tuple[int, ...]:
    kind, _, number = trouble.who.partition(":")
    if kind == "rank":
        return (int(number),)
    if kind == "node":
        return tuple(heard.who.ranks_of(int(number)))
    return ()


def _without_board(heard: Hearing) -> dict[int, tuple[str, str]]:
    """Few ranks lost the board: they are cut off. Most did: the first node is, or the board is gone there too."""
    lost = heard.lost_the_board
    if not heard.has_lost_its_board():
        return {rank: ("rank_frozen", _words(heard, rank, what)) for rank, what in lost.items()}
    beside_it = heard.who.ranks_of(0)
    if not lost.keys() & set(beside_it):
        return dict.fromkeys(beside_it, ("rank_frozen", CUT_OFF))
    what = f"diag's own process there, at which the ranks meet: {next(iter(lost.values()))}"
    return dict.fromkeys(beside_it, ("agent_silent", what))


def _exited(heard: Hearing) -> list[int]:
    """Ranks that a signal ended, or that ended without a word; and all ranks of a launcher that gave up by itself."""
    exited = [rank for rank, code in heard.exit_codes.items() if code < 0 or not heard.has_spoken(rank)]
    for node in (*heard.launcher_failed, *heard.ended):
        exited += [rank for rank in heard.who.ranks_of(node) if not heard.has_spoken(rank)]
    return exited


def _failed_alone(heard: Hearing) -> dict[int, tuple[str, str]]:
    """An error on one node is that node's; the same on several is nobody's (a timeout, most often)."""
    failed = {rank for rank in heard.failed if not heard.blamed.get(rank)}
    nodes = {_node_of(heard.who, rank) for rank in failed}
    return {rank: ("rank_died", heard.failed[rank]) for rank in failed} if len(nodes) == 1 else {}


def _node_of(who: Participants, rank: int) -> int:
    return next(node for node in range(len(who.places)) if rank in who.ranks_of(node))


def _words(heard: Hearing, rank: int, seen: str) -> str:
    """Its own words, how its process ended, what others saw: whatever is there."""
    node = _node_of(heard.who, rank)
    code = heard.exit_codes.get(rank)
    ended = f"killed by signal {-code} ({_signal(-code)})" if code is not None and code < 0 else ""
    cut_off = rank in heard.lost_the_board and node != 0
    unheard = CUT_OFF if cut_off else ""
    own = heard.failed.get(rank) or heard.launcher_failed.get(node, "")
    return "; ".join(part for part in (ended, own, unheard) if part) or seen or _last_output(heard, node)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def _last_output(heard: Hearing, node: int) -> str:
    end = heard.ended.get(node)
    lines = [line for line in end.output.splitlines() if line.strip() and not line.startswith("@diag ")] if end else []
    return lines[-1].strip()[:200] if lines else "its job ended without a word"


# -- in words


def _rank(heard: Hearing, guilty: Mapping[int, tuple[str, str]], node: int, rank: int) -> Rank:
    outcome, said = guilty.get(rank, ("done" if heard.is_done(rank) else "stopped", ""))
    into, into_s = hangs.place(heard, rank)
    wrong = tuple(size_bytes for size_bytes, ranks in sorted(heard.wrong.items()) if rank in ranks)
    if wrong:
        said = f"wrong sum at {', '.join(map(size, wrong))}"
    elif outcome == "stopped":
        said = _felt(heard, rank)
    return Rank(
        rank=rank,
        node=heard.who.places[node].node,
        local_rank=rank - heard.who.ranks_of(node)[0],
        phases=tuple(heard.phases[rank]),
        outcome=outcome,
        said=said,
        missed=_missed(heard, rank),
        wrong_bytes=wrong,
        into=into,
        into_s=round(into_s, 3),
    )


def _felt(heard: Hearing, rank: int) -> str:
    """What a rank without fault said of the others, or of what it hit."""
    named = "; ".join(f"{trouble.who.replace(':', ' ')}: {trouble.what}" for trouble in heard.blamed.get(rank, ())[:3])
    return named or heard.failed.get(rank, "")


def _missed(heard: Hearing, rank: int) -> tuple[int, ...]:
    absent = [trouble for trouble in heard.blamed.get(rank, ()) if trouble.cause == "rank_missing"]
    return tuple(sorted({missing for trouble in absent for missing in _ranks(heard, trouble)} - {rank}))


def _summary(heard: Hearing, steps: tuple[Step, ...], ranks: tuple[Rank, ...], taken_s: float) -> str:
    if heard.all_done():
        return _finished(heard, steps)
    if heard.stopped_for:
        return f"stopped: {_stopped(heard)}"
    guilty = [rank for rank in ranks if rank.outcome not in ("done", "stopped")]
    if guilty:
        return _blame(heard, guilty)
    failed = [rank for rank in ranks if rank.rank in heard.failed]
    if failed:
        return (
            f"{len(failed)} of {len(ranks)} ranks failed, none before the others, {_where(failed[0])}: {failed[0].said}"
        )
    behind = min(ranks, key=lambda rank: len(rank.phases))
    where = hangs.where_all_are(ranks) or f"rank {behind.rank} on {behind.node} {_where(behind)}"
    return f"not finished after {seconds(taken_s)}, all ranks alive; {where}"


def _stopped(heard: Hearing) -> str:
    return "; ".join(f"{heard.who.names[node]}: {why}" for node, why in sorted(heard.stopped_for.items()))


def _finished(heard: Hearing, steps: tuple[Step, ...]) -> str:
    who = heard.who
    interfaces = sorted({place.interface for place in who.places})
    library = (heard.library or who.backend).partition("+")[0]
    head = f"{library}, {who.world_size} ranks, {', '.join(interfaces[:3])}"
    wrong = [size(step.size_bytes) for step in steps if not step.verified]
    if wrong:
        return f"{head}: WRONG SUMS at {', '.join(wrong)}"
    spelled = gb_per_s if who.backend == "nccl" else gbit_per_s
    rate = f", busbw {spelled(steps[-1].busbw_bytes_per_s)} at {size(steps[-1].size_bytes)}" if steps else ""
    left_out = f"; left out for lack of time: {', '.join(map(size, heard.left_out))}" if heard.left_out else ""
    return head + rate + left_out


def _blame(heard: Hearing, guilty: list[Rank]) -> str:
    """The first culprit in full, and who waits for it; of the others only who they are."""
    first = guilty[0]
    alike = [rank.rank for rank in guilty if (rank.node, rank.outcome) == (first.node, first.outcome)]
    others = sorted({rank.node for rank in guilty} - {first.node})
    numbers = f"rank {alike[0]}" if len(alike) == 1 else f"ranks {', '.join(map(str, alike))}"
    rest = f"; also on {', '.join(others)}" if others else ""
    how = first.outcome.removeprefix("rank_").replace("_", " ")
    waits = hangs.who_waits(heard, [rank.rank for rank in guilty]) if first.outcome in WAITED_FOR else ""
    return f"{first.node}: {numbers} {how} {_where(first)}: {first.said}{rest}{'; ' + waits if waits else ''}"


def _where(rank: Rank) -> str:
    if not rank.phases:
        return "before it reported anything"
    phase, at_s = rank.phases[-1]
    into = (
        f", in {hangs.into(rank.into)} since {seconds(rank.into_s)}" if rank.outcome in WAITED_FOR and rank.into else ""
    )
    return f"after phase {phase} ({seconds(at_s)}){into}"

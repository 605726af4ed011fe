"""Who waits for whom in a job that hangs, and who says so? From what its ranks and their witnesses said; pure.

A rank is behind only if it is in no collective while others wait in one that it has not entered. Where all are in the
same one, that is said, and nobody is blamed: it may be any link of the ring.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping

from diag.facts.collective import Rank, Witness
from diag.probes import ras
from diag.remote.hearing import Flight, Hearing
from diag.units import seconds, size

RAS, FLIGHT = "NCCL RAS", "torch's flight recorder"
LATE_S = 5.0
"""So long others wait before a rank that has not come is behind: less is a matter of speed."""


def numbers(ranks: Iterable[int]) -> str:
    """``rank 3``, ``ranks 0-2, 4``"""
    every = sorted(ranks)
    if len(every) == 1:
        return f"rank {every[0]}"
    runs: list[list[int]] = []
    for rank in every:
        if runs and rank == runs[-1][-1] + 1:
            runs[-1].append(rank)
        else:
            runs.append([rank])
    return "ranks " + ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def into(phase: str) -> str:
    """``size_4194304`` -> ``size 4.0 MiB``"""
    head, _, number = phase.rpartition("_")
    return f"{head.replace('_', ' ')} {size(int(number))}" if number.isdigit() else phase.replace("_", " ")


def place(heard: Hearing, rank: int) -> tuple[str, float]:
    """The phase that a rank was on its way to, and for how long when trouble came; empty: it had come to its last."""
    phase, since = heard.into.get(rank, ("", 0.0))
    if not phase or any(name == phase for name, _ in heard.phases[rank]):
        return "", 0.0
    return phase, max(0.0, (heard.troubled_at or time.monotonic()) - since)


def behind(heard: Hearing) -> dict[int, str]:
    """Rank -> why: few that are alive and in no collective, while others wait in one that they have not entered."""
    known = heard.standings
    waiting = {rank for rank, one in known.items() if one.waits_s is not None and one.waits_s > LATE_S}
    if not waiting:
        return {}
    most = max(known[rank].calls for rank in waiting)
    late = [rank for rank, one in known.items() if one.waits_s is None and one.calls < most]
    waiting = {rank for rank in waiting if known[rank].calls == most}
    if not late or len(late) * 2 >= heard.who.world_size:
        return {}
    whom = numbers(waiting)
    return {rank: f"has not entered collective {most}, in which {whom} {_verb(waiting)}" for rank in late}


def _verb(ranks: Collection[int]) -> str:
    return "waits" if len(ranks) == 1 else "wait"


def unanswered(heard: Hearing) -> dict[int, str]:
    """Rank -> why: fewer than half of all, whose processes gave NCCL's RAS no answer."""
    missing = next((one.missing for one in witnesses(heard) if one.name == RAS), ())
    few = len(missing) * 2 < heard.who.world_size
    return dict.fromkeys(missing if few else (), "its process gives NCCL's RAS no answer")


def who_waits(heard: Hearing, guilty: Iterable[int]) -> str:
    """``ranks 0-2 wait for it``: those alive that had not come through; empty: none."""
    at_fault = set(guilty)
    left = [rank for rank in heard.phases if rank not in at_fault and heard.phases[rank] and not heard.is_done(rank)]
    return f"{numbers(left)} {_verb(left)} for {'it' if len(at_fault) == 1 else 'them'}" if left and at_fault else ""


def where_all_are(ranks: Iterable[Rank]) -> str:
    """``ranks 0-2 in size 64.0 MiB since 12.1 s, rank 3 in size 4.0 MiB since 14.0 s``"""
    groups: dict[str, list[Rank]] = {}
    for rank in ranks:
        if rank.into:
            groups.setdefault(rank.into, []).append(rank)
    return ", ".join(
        f"{numbers(r.rank for r in group)} in {into(phase)} since {seconds(max(r.into_s for r in group))}"
        for phase, group in groups.items()
    )


# -- witnesses


def witnesses(heard: Hearing) -> tuple[Witness, ...]:
    """Both, wherever a job did not come through and at least one rank could ask."""
    if heard.all_done() or not (heard.flights or heard.ras):
        return ()
    return (_ras(heard), _flight(heard))


def _flight(heard: Hearing) -> Witness:
    told = {rank: flight for rank, flight in heard.flights.items() if not flight.why}
    if not told:
        return Witness(name=FLIGHT, spoke=False, said=_first_why(heard.flights))
    silent = sorted(set(heard.phases) - set(told))
    unheard = f"; {numbers(silent)} gave none" if silent else ""
    most = max(flight.enqueued for flight in told.values())
    late = {rank for rank, one in told.items() if one.enqueued < most and one.enqueued == one.completed}
    there = {rank for rank, one in told.items() if one.enqueued == most and one.completed < most}
    if not there:
        return Witness(name=FLIGHT, spoke=True, said=f"no collective is under way on {numbers(told)}{unheard}")
    one = told[min(there)]
    of = f" of {one.elements:,} elements" if one.elements else ""
    said = f"{numbers(there)} in collective {most}, {one.active or 'unnamed'}{of}"
    said += f"; {numbers(late)} not in it" if late else ""
    return Witness(name=FLIGHT, spoke=True, said=said + unheard, behind=tuple(sorted(late)))


def _ras(heard: Hearing) -> Witness:
    """The answer of one that misses most: RAS answers for all, as far as it reaches them."""
    read = []
    garbled = ""
    for told in heard.ras.values():
        try:
            read += [ras.read(told.text, heard.who.world_size)] if told.text else []
        except ValueError as error:
            garbled = str(error)
    if not read:
        none = "the collective is not NCCL's" if heard.who.backend != "nccl" else "nobody asked it"
        return Witness(name=RAS, spoke=False, said=garbled or _first_why(heard.ras) or none)
    best = max(read, key=lambda one: (len(one.missing), len(one.behind)))
    parts = [f"no answer from {numbers(best.missing)}"] if best.missing else []
    parts += [f"{numbers(best.behind)} behind operation {best.operation}"] if best.behind else []
    said = "; ".join([*parts, *best.errors]) or "all ranks answer and have launched the same"
    return Witness(name=RAS, spoke=True, said=said, behind=best.behind, missing=best.missing)


def _first_why(told: Mapping[int, Flight] | Mapping[int, object]) -> str:
    return next((why for one in told.values() if (why := getattr(one, "why", ""))), "")

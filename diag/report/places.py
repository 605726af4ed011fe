"""How are the nodes and parts that a result holds for named in a line?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from diag.facts.verdict import Verdict
from diag.inventory import fold

CLUSTER = "cluster"
PLURALS = {
    "gpu": "gpus", "port": "ports", "link": "links", "interface": "interfaces", "device": "devices",
    "filesystem": "file systems", "check": "checks",
}  # fmt: skip
SINGULARS = {"filesystem": "file system"}
MOST_CHARACTERS = 150
Place = tuple[str | None, str | None]
"""Node and subject of a verdict."""


def place(node: str | None, subject: str | None) -> str:
    """``gpu03``, ``gpu03:5`` for ``gpu:5``, ``gpu03:mlx5_0/1`` for ``port:mlx5_0/1``, ``a>b`` for ``link:a>b``."""
    if subject is None:
        return node or CLUSTER
    kind, _, part = subject.partition(":")
    return part if kind == "link" or node is None else f"{node}:{part or kind}"


def places_of(verdicts: Iterable[Verdict]) -> tuple[Place, ...]:
    return tuple((verdict.node, verdict.subject) for verdict in verdicts)


def folded(places: Sequence[Place]) -> str:
    """Names and node sets: ``gpu[01-03]``, ``gpu[01-02]:5``."""
    by_subject: dict[str | None, list[str]] = defaultdict(list)
    alone: list[str] = []
    for node, subject in places:
        if node is None or (subject or "").startswith("link:"):
            alone.append(place(node, subject))
        else:
            by_subject[subject].append(node)
    by_nodes: dict[str, list[str]] = defaultdict(list)
    for subject, nodes in by_subject.items():
        by_nodes[fold(dict.fromkeys(nodes))].append("" if subject is None else subject.partition(":")[2] or subject)
    texts = [f"{nodes}:{fold(parts)}" if any(parts) else nodes for nodes, parts in by_nodes.items()]
    return ", ".join([*dict.fromkeys(alone), *texts])


def counted(places: Sequence[Place]) -> str:
    """As few words as say it: node sets where whole nodes are meant, ``32 gpus`` where parts are."""
    subjects = [subject for _, subject in places if subject is not None]
    if not subjects or len(places) == 1:
        return shortened(places)
    kinds = dict.fromkeys(subject.partition(":")[0] for subject in subjects)
    counts = [(kind, sum(subject.startswith(kind + ":") for subject in subjects)) for kind in kinds]
    whole = len(places) - len(subjects)
    return " and ".join(
        [*(number_of(count, kind) for kind, count in counts), *([number_of(whole, "node")] * (whole > 0))]
    )


def shortened(places: Sequence[Place]) -> str:
    """Folded; what would fill the screen is cut, and the whole number said."""
    text = folded(places)
    if len(text) <= MOST_CHARACTERS:
        return text
    nodes = len({node for node, _ in places})
    return f"{text[:MOST_CHARACTERS].rsplit(',', 1)[0]},… ({number_of(nodes, 'node')})"


def number_of(count: int, kind: str) -> str:
    """``1 gpu``, ``4,000 interfaces``"""
    word = SINGULARS.get(kind, kind) if count == 1 else PLURALS.get(kind, kind + "s")
    return f"{count:,} {word}"

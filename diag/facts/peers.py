"""What do the nodes say together? Compares one value over all nodes, computed once, and finds who differs.

A majority is more than half of at least three nodes that know the value. Without one nobody is called wrong alone:
all nodes are named. It does not know which value is right.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping
from statistics import median
from typing import TYPE_CHECKING, Any, TypeVar

from diag.facts.collective import Rank
from diag.facts.network import Resolution
from diag.facts.node import Node
from diag.facts.record import NotMeasured
from diag.facts.verdict import finding, listed

if TYPE_CHECKING:
    from diag.facts.snapshot import Snapshot

T = TypeVar("T")
Key = Callable[..., Hashable]
"""A plain function of a node, or of a node and the cluster."""

MAJORITY_FLOOR = 3
"""Of two nodes that differ, neither is the majority."""
NAMED = 4
"""So many values are named in a finding; the rest are counted."""


class Alone(Exception):  # noqa: N818 - it is an answer, not an error
    """One node has nothing to be compared with: what compares does not apply to it."""

    def __init__(self) -> None:
        super().__init__("one node: nothing to compare with")


def values_of(key: Callable[..., Any], cluster: Snapshot) -> tuple[dict[str, Any], dict[str, str]]:
    """Node name -> value, and node name -> why there is none."""
    values, absent = {}, {}
    context = (cluster,) if key.__code__.co_argcount > 1 else ()
    for node in cluster.nodes:
        try:
            values[node.name] = key(node, *context)
        except NotMeasured as why:
            absent[node.name] = str(why)
    return values, absent


class Comparison:
    """One value over all nodes. Every method raises NotMeasured when this node's own value is not known."""

    def __init__(self, key: Key, cluster: Snapshot) -> None:
        self.values, self.absent = values_of(key, cluster)
        self.holders: dict[Hashable, list[str]] = defaultdict(list)
        for name, value in self.values.items():
            self.holders[value].append(name)
        counts = Counter({value: len(names) for value, names in self.holders.items()})
        self.common, self.common_count = counts.most_common(1)[0] if counts else (None, 0)
        self.has_majority = len(self.values) >= MAJORITY_FLOOR and self.common_count * 2 > len(self.values)

    def of(self, node: Node) -> Any:
        if node.name in self.absent:
            raise NotMeasured(self.absent[node.name])
        return self.values[node.name]

    def present(self, node: Node) -> bool:
        """Whether any node has it at all: it is not None, or 0, or empty everywhere."""
        return bool(self.of(node)) or any(self.holders)

    def agree(self, node: Node) -> bool:
        """Whether this node holds what all hold, or what most hold where they differ."""
        value = self.of(node)
        if len(self.values) == 1:
            raise NotMeasured("known on this node only: nothing to compare with")
        return len(self.holders) == 1 or (self.has_majority and value == self.common)

    def lacking(self, node: Node) -> tuple[Any, ...]:
        """Of values that are tuples: what most nodes have in theirs, and this one has not."""
        common = self.common if self.has_majority and isinstance(self.common, tuple) else ()
        return tuple(part for part in common if part not in self.of(node))

    def apart(self, node: Node) -> tuple[Any, ...]:
        """Of values that are tuples: what this node has, and the others have not; that it lacks something is no part.

        Without a majority two nodes of which one has all that the other has do not differ either.
        """
        own = self.of(node)
        if self.agree(node):
            return ()
        others = [self.common] if self.has_majority else [held for held in self.holders if held != own]
        parts = [set(held) for held in others if isinstance(held, tuple)]
        if not self.has_majority and any(held <= set(own) for held in parts):
            return ()
        return tuple(part for part in own if not any(part in held for held in parts))

    def example(self) -> str | None:
        """The first node that holds what most hold; None: there is no majority."""
        return self.holders[self.common][0] if self.has_majority else None

    def twins(self, node: Node) -> tuple[str, ...]:
        """The other nodes that hold the same value."""
        return tuple(name for name in self.holders[self.of(node)] if name != node.name)

    def finding(self, node: Node, label: str) -> str:
        """The message for a node that does not agree."""
        if not self.has_majority:
            return finding(f"{label} differs: {self._holdings()}", "the same on all nodes")
        found, expected = _apart(self.of(node), self.common)
        return finding(f"{label} {found}", f"{expected}, as on {self.common_count} of {len(self.values)} nodes")

    def _holdings(self) -> str:
        groups = [f"{_names(names)} {_shown(value)}" for value, names in self.holders.items()]
        more = f", and {len(groups) - NAMED} more values" if len(groups) > NAMED else ""
        return ", ".join(groups[:NAMED]) + more


def _apart(value: Hashable, common: Hashable) -> tuple[str, str]:
    """Both as shown to a person; of two tuples only what they do not share."""
    if not (isinstance(value, tuple) and isinstance(common, tuple)):
        return _shown(value), _shown(common)
    more = tuple(part for part in value if part not in common)
    fewer = tuple(part for part in common if part not in value)
    return _shown(more) if more else f"without {_shown(fewer)}", _shown(fewer) if fewer else f"without {_shown(more)}"


def _names(names: list[str]) -> str:
    verb = "has" if len(names) == 1 else "have"
    return f"{listed(names)} {verb}"


def _shown(value: Hashable) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return ", ".join(str(part) for part in value) or "none"
    return str(value)


class Peers:
    """All nodes of a Snapshot, asked together. Keys are plain functions of a node; each is computed once.

    Comparing raises Alone where the Snapshot has one node only.
    """

    def __init__(self, cluster: Snapshot) -> None:
        self.nodes: Mapping[str, Node] = {node.name: node for node in cluster.nodes}
        self._cluster = cluster
        self._known: dict[Any, Any] = {}

    def by(self, key: Key) -> Comparison:
        """``peers.by(lambda node: node.software.torch)``"""
        self._require_company()
        comparison: Comparison = self._once(key, "by", lambda: Comparison(key, self._cluster))
        return comparison

    def median(self, key: Callable[..., float]) -> float:
        """Over the nodes that know it. Raises NotMeasured when fewer than two do."""
        self._require_company()
        known: float | None = self._once(key, "median", lambda: _median(key, self._cluster))
        if known is None:
            raise NotMeasured("known on fewer than two nodes: nothing to compare with")
        return known

    def resolutions(self, name: str) -> tuple[Resolution, ...]:
        """Who resolves ``name`` to what."""
        self._require_company()
        index: dict[str, list[Resolution]] = self._once(_by_name, "resolutions", lambda: _by_name(self._cluster))
        return tuple(index.get(name, ()))

    def ranks(self, node: Node) -> tuple[Rank, ...]:
        """The node's ranks in the collective."""
        index: dict[str, list[Rank]] = self._once(_by_node, "ranks", lambda: _by_node(self._cluster))
        return tuple(index.get(node.name, ()))

    def once(self, question: Callable[[Snapshot], T]) -> T:
        """What a plain function of the whole cluster answers; asked once. For parts, which have peers in one node."""
        answer: T = self._once(question, "once", lambda: question(self._cluster))
        return answer

    def _require_company(self) -> None:
        if len(self.nodes) == 1:
            raise Alone

    def _once(self, key: Callable[..., Any], what: str, compute: Callable[[], Any]) -> Any:
        if getattr(key, "__code__", None) is None or key.__closure__:
            raise TypeError("a key is a plain function of a node: it must not depend on anything else")
        where = (what, key.__code__)  # a lambda inside a check is a new function at each call, its code is not
        if where not in self._known:
            self._known[where] = compute()
        return self._known[where]


def _median(key: Callable[..., float], cluster: Snapshot) -> float | None:
    values, _ = values_of(key, cluster)
    return float(median(values.values())) if len(values) > 1 else None


def _by_name(cluster: Snapshot) -> dict[str, list[Resolution]]:
    index: dict[str, list[Resolution]] = defaultdict(list)
    for resolution in cluster.resolutions:
        index[resolution.name].append(resolution)
    return index


def _by_node(cluster: Snapshot) -> dict[str, list[Rank]]:
    index: dict[str, list[Rank]] = defaultdict(list)
    for rank in cluster.collective.ranks:
        index[rank.node].append(rank)
    return index

"""Which names does the value of a variable such as NCCL_SOCKET_IFNAME or NCCL_IB_HCA take?

A list of prefixes; ``=`` before it: of exact names; ``^`` before that: all but those. A name may carry a port,
``mlx5_0:1`` (NCCL's Environment Variables; misc/utils.cc of 2.30: parseStringList, matchIfList).
"""

from __future__ import annotations

from collections.abc import Sequence

from diag.facts.record import Record


class Selector(Record, frozen=True, kw_only=True):
    """``words``: each with the port that is named; None: every port."""

    excludes: bool
    exact: bool
    words: tuple[tuple[str, int | None], ...]

    def takes(self, name: str, port: int | None = None) -> bool:
        if not self.words:
            return True
        return any(self.means(word, at, name, port) for word, at in self.words) != self.excludes

    def means(self, word: str, at: int | None, name: str, port: int | None) -> bool:
        """Whether one word is this name, or begins it."""
        alike = name == word if self.exact else name.startswith(word)
        return alike and (at is None or port is None or at == port)


def selector(value: str) -> Selector:
    excludes = value.startswith("^")
    rest = value[1:] if excludes else value
    exact = rest.startswith("=")
    words = (word.partition(":") for word in rest.removeprefix("=").split(",") if word)
    named = tuple((name, _port(behind)) for name, _, behind in words if name)
    return Selector(excludes=excludes, exact=exact, words=named)


def more_than_named(value: str, names: Sequence[str]) -> list[str]:
    """Names that are taken because they begin with another that was meant, as ``mlx5_10`` with ``mlx5_1``.

    A prefix that is nobody's whole name means all that begin with it.
    """
    parsed = selector(value)
    if parsed.exact or parsed.excludes:
        return []
    words = [word for word, _ in parsed.words]
    whole = [word for word in words if word in names]
    meant = {name for name in names if name in words or any(name.startswith(w) for w in words if w not in whole)}
    return [name for name in names if name not in meant and parsed.takes(name)]


def _port(text: str) -> int | None:
    """``1`` of ``mlx5_0:1``, and of ``mlx5_0:1:0`` with a rail behind it; None: none is named."""
    number = text.partition(":")[0]
    return int(number) if number.isdigit() else None

"""What can go wrong that a user can act on: one line, no traceback."""

from __future__ import annotations


class DiagError(Exception):
    """An error of use: *where: what: found, expected*; ``do`` is what to do about it."""

    def __init__(self, where: str, what: str, *, do: str = "") -> None:
        self.where = where
        self.what = what
        self.do = do
        line = f"{where}: {what}" if where else what
        super().__init__(f"{line}; {do}" if do else line)


class NodeError(DiagError):
    """What stopped one node, with the id of its cause (a row of ``facts.causes``); never ends the run."""

    def __init__(self, node: str, cause: str, what: str, *, do: str = "") -> None:
        self.cause = cause
        super().__init__(node, what, do=do)

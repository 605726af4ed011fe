"""What should be done about a verdict, and which command is to be copied?

``About.do`` is a sentence; its last line may start with ``$ ``: a command for the controller's shell. In both, these
stand for the verdict's own: {node} {address} {hostname} {path} (the model path) {subject} (``3`` of ``gpu:3``), and
{hosts} for the option that selects the run's nodes again.
On the controller itself ``ssh {node} '…'`` becomes the bare command. Elsewhere ``ssh … {node}`` becomes the words that
reached the node in this run, where these are known (``Ways``): with the user, the port and the files that were named.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from diag.facts.node import Node
from diag.facts.record import is_known
from diag.facts.snapshot import Snapshot
from diag.facts.verdict import About, Verdict

Ways = Mapping[str, tuple[str, ...]]
"""Node -> ``ssh`` and its words up to the host; no words: it is this machine. Not of a Snapshot that was loaded."""
NO_WAYS: Ways = {}

PROMPT = "$ "
NAMED = 8
"""So many hosts are named in a command."""
_SSH = re.compile(r"ssh((?: -\w+)*) \{node\}(?= |$)")
PLACEHOLDERS = ("node", "address", "hostname", "path", "subject", "hosts")


def advice(about: About, verdict: Verdict, snapshot: Snapshot, node: Node | None = None) -> str:
    """The sentence: what to do. ``node`` is the verdict's, where the caller has it: finding it is a scan."""
    sentence = " ".join(line for line in about.do.splitlines() if not line.startswith(PROMPT))
    return _filled(sentence, verdict, snapshot, node)


def command(
    about: About, verdict: Verdict, snapshot: Snapshot, node: Node | None = None, ways: Ways = NO_WAYS
) -> str | None:
    """The one command to copy; None: the check names none."""
    last = about.do.splitlines()[-1] if about.do else ""
    if not last.startswith(PROMPT) or ("{hosts}" in last and len(snapshot.nodes) > NAMED):
        return None  # too many to be typed again
    node = node or _node(verdict, snapshot)
    line = last[len(PROMPT) :]
    way = None if node is None else ways.get(node.name, () if _is_here(node, snapshot) else None)
    if way == () and line.startswith("ssh {node} "):
        line = " ".join(shlex.split(line)[2:])
    found = _SSH.match(line)
    if not way or found is None:
        return _filled(line, verdict, snapshot, node)
    return f"ssh{found[1]} {shlex.join(way[1:])}{_filled(line[found.end() :], verdict, snapshot, node)}"


def _filled(text: str, verdict: Verdict, snapshot: Snapshot, node: Node | None) -> str:
    if "{" not in text:
        return text
    node = node or _node(verdict, snapshot)
    if len(snapshot.nodes) == 1 and _is_here(snapshot.nodes[0], snapshot):
        text = text.replace("{hosts} ", "")
    values = {"path": snapshot.model_path or "MODEL_PATH", "hosts": _hosts(snapshot)}
    if verdict.subject:
        values["subject"] = verdict.subject.split(":", 1)[-1]
    if node is not None:
        values |= {"node": node.name, "address": node.address, "hostname": _hostname(node)}
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], match[0]), text)


def _node(verdict: Verdict, snapshot: Snapshot) -> Node | None:
    return next((node for node in snapshot.nodes if node.name == verdict.node), None)


def general(do: str) -> str:
    """What to do about any verdict of a check: what depends on one stands in capitals."""
    return re.sub(r"\{(\w+)\}", lambda match: match[1].upper() if match[1] in PLACEHOLDERS else match[0], do)


def _hosts(snapshot: Snapshot) -> str:
    names = [node.name for node in snapshot.nodes]
    return f"--hosts {','.join(names)}"


def _hostname(node: Node) -> str:
    return node.hostname.name if is_known(node, "hostname") else node.name


def _is_here(node: Node, snapshot: Snapshot) -> bool:
    """A run of one node over the local transport: its own hostname is the controller's."""
    return len(snapshot.nodes) == 1 and _hostname(node) == snapshot.controller.hostname

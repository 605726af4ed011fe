"""How are nodes and their parts written?"""

from __future__ import annotations

import pytest

from diag.report.places import counted, folded, place


@pytest.mark.parametrize(
    ("node", "subject", "text"),
    [
        ("gpu03", None, "gpu03"),
        (None, None, "cluster"),
        ("gpu03", "gpu:5", "gpu03:5"),
        ("gpu03", "port:mlx5_0/1", "gpu03:mlx5_0/1"),
        ("a", "link:a>b", "a>b"),
        ("a", "filesystem:/dev/shm", "a:/dev/shm"),
        ("a", "device:0000:3b:00.0", "a:0000:3b:00.0"),
    ],
)
def test_a_subject_is_named_beside_its_node(node, subject, text):
    assert place(node, subject) == text
    assert folded([(node, subject)]) == text


def test_places_fold_by_node_and_part():
    eight = [(f"gpu0{node}", f"gpu:{gpu}") for node in (1, 2) for gpu in range(8)]
    assert folded(eight) == "gpu[01-02]:[0-7]"
    assert counted(eight) == "16 gpus"
    assert counted([("a1", "interface:eth0"), ("a2", None)]) == "1 interface and 1 node"
    assert folded([("a1", "link:a1>a2"), ("a2", "link:a2>a1")]) == "a1>a2, a2>a1"

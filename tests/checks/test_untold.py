"""Is what a tool or library did not say taken for wrong, or for right?"""

from __future__ import annotations

import pytest

from diag.facts.device import MigInstance
from diag.judge import judge
from tests.checks.changes import Change, both, having, item, on, setting
from tests.checks.healthy import gpu_cluster
from tests.checks.hgx import H100

NO_ARCHITECTURE = on("*", torch_view=having(architectures=()))
NO_NETWORK = on("*", speed=having(collectives=having(log=having(network=None))))


def outcome(change: Change, check: str) -> tuple[str, str]:
    (one,) = (one for one in judge(change(gpu_cluster(1))).verdicts if one.check == check)
    return one.outcome, one.summary or ""


@pytest.mark.parametrize(
    ("change", "check", "why"),
    [
        (NO_ARCHITECTURE, "torch_holds_code_for_its_gpus", "torch did not say for which architectures"),
        (NO_NETWORK, "nccl_uses_the_hcas", "NCCL did not say which network"),
    ],
)
def test_what_was_not_told_is_not_measured(change: Change, check: str, why: str):
    said, summary = outcome(change, check)
    assert said == "not_measured"
    assert why in summary


def test_torch_shows_one_slice_however_many_the_environment_names():
    slices = (MigInstance(uuid="MIG-0"), MigInstance(uuid="MIG-1"))
    one_slice = both(
        on("*", gpus=item(0, having(mig=True, mig_instances=slices)), torch_view=having(devices=(H100,))),
        on("*", settings=setting("CUDA_VISIBLE_DEVICES", "MIG-0,MIG-1")),
    )
    assert outcome(one_slice, "torch_sees_every_gpu")[0] == "passed"

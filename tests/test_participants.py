"""Who takes part in a collective, with which backend, and what is said of the others?"""

from __future__ import annotations

import msgspec
import pytest

from diag.facts.device import Gpu, MigInstance, TorchView
from diag.facts.network import Interface
from diag.facts.node import Agent, Node, Reach
from diag.facts.record import Missing, NotMeasured
from diag.facts.software import Setting, Software
from diag.participants import participants, seen_gpus, without_cuda
from diag.remote.child import sight

LO = Interface(name="lo", kind="loopback", state="unknown", mtu_bytes=65536, addresses=("127.0.0.1/8",))
PYTHON = "/opt/venv/bin/python3"
BLIND = TorchView(available=False, why_not="error 802", version="2.13.0+cu128", built_for="cuda 12.8")


def a_node(number: int, *, torch: str | None = "2.13.0+cpu", gpus: int = 0, cuda: str | None = None, **fields: object):
    eth0 = Interface(name="eth0", kind="physical", state="up", mtu_bytes=1500, addresses=(f"10.0.0.{number}/24",))
    known = {
        "interfaces": (LO, eth0),
        "agent": Agent(pid=1, python="3.11.2", executable=PYTHON, user="ops"),
        "software": Software(torch=torch, cuda=cuda),
        "gpus": tuple(a_gpu(index) for index in range(gpus)),
        **fields,
    }
    return Node(name=f"n{number}", address=f"10.0.0.{number}", reach=Reach(outcome="answered"), **known)


def a_gpu(index: int, **fields: object) -> Gpu:
    return Gpu(index=index, name="H200", vendor="nvidia", **fields)


def gpu_nodes(*counts: int) -> list[Node]:
    return [a_node(number, torch="2.13.0+cu128", cuda="12.8", gpus=count) for number, count in enumerate(counts, 1)]


def test_nodes_without_gpus_run_one_rank_of_gloo_each():
    who = participants([a_node(1), a_node(2)], {})
    assert (who.backend, who.ranks, who.world_size) == ("gloo", (1, 1), 2)
    assert who.backend_why == ""


def test_a_single_node_runs_two_ranks():
    who = participants([a_node(1)], {})
    assert (who.ranks, who.places[0].interface) == ((2,), "lo")


def test_nodes_with_gpus_run_a_rank_of_nccl_on_each():
    who = participants(gpu_nodes(8, 4), {})
    assert (who.backend, who.ranks) == ("nccl", (8, 4))
    assert list(who.ranks_of(1)) == [8, 9, 10, 11]


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        ([*gpu_nodes(8), a_node(2, torch="2.13.0+cu128")], "gloo: n2 has no GPU that its ranks would see"),
        ([a_node(1, gpus=8), a_node(2, gpus=8)], "gloo: torch 2.13.0+cpu has no CUDA on n1"),
        (
            [*gpu_nodes(8), a_node(2, torch="2.13.0+cu128", cuda="12.8", gpus=8, torch_view=BLIND)],
            "gloo: torch sees no GPU (error 802) on n2",
        ),
        (gpu_nodes(1), "gloo: one GPU, and NCCL needs one for each of two ranks"),
        (
            [*gpu_nodes(1), a_node(2, torch="2.13.0", cuda="12.8", gpus=0)],
            "gloo: n2 has no GPU that its ranks would see",
        ),
    ],
)
def test_gloo_in_spite_of_gpus_is_explained(nodes, why):
    who = participants(nodes, {})
    assert (who.backend, who.backend_why) == ("gloo", why)


def test_gpus_that_the_environment_hides_get_no_rank():
    hidden = (Setting(name="CUDA_VISIBLE_DEVICES", value="0,1", source="environment"),)
    nodes = [a_node(n, torch="2.13.0", cuda="12.8", gpus=8, settings=hidden if n == 2 else ()) for n in (1, 2)]
    assert participants(nodes, {}).ranks == (8, 2)


def metax(*settings: Setting) -> Node:
    node = a_node(1, torch="2.8.0+metax3.7.2.0", gpus=4, settings=settings)
    return msgspec.structs.replace(node, gpus=tuple(msgspec.structs.replace(gpu, vendor="metax") for gpu in node.gpus))


def test_ranks_on_gpus_of_metax_are_told_the_order_of_its_tool():
    who = participants([metax()], {})
    assert who.backend == "nccl"
    assert who.shown == ({"MACA_VISIBLE_DEVICES": "0,1,2,3", "CUDA_VISIBLE_DEVICES": "0,1,2,3"},)


OF_AMD = "2.9.0a0+git1c57644"
"""As AMD's own images call theirs."""
ROCM = TorchView(available=True, version=OF_AMD, built_for="rocm 7.0.51831")


@pytest.mark.parametrize(
    "fields",
    [{"software": Software(torch=OF_AMD, cuda=None, hip="7.0.51831")}, {"torch": OF_AMD, "torch_view": ROCM}],
)
def test_a_build_of_amds_own_runs_nccl_however_its_version_is_called(fields: dict[str, object]):
    node = a_node(1, gpus=4, **fields)
    ours = msgspec.structs.replace(node, gpus=tuple(msgspec.structs.replace(gpu, vendor="amd") for gpu in node.gpus))
    assert without_cuda(ours) == ""
    assert (participants([ours], {}).backend, participants([ours], {}).ranks) == ("nccl", (4,))


def test_a_build_that_is_for_nothing_but_the_cpu_is_told_so():
    node = a_node(1, gpus=4, software=Software(torch=OF_AMD, cuda=None, hip=None))
    assert without_cuda(node) == f"torch {OF_AMD} has no CUDA"


def test_npus_are_not_measured_through_a_torch_that_has_no_cuda_and_the_reason_says_so():
    view = TorchView(available=True, version="2.7.1", built_for="torch_npu 2.7.1")
    node = a_node(1, torch="2.7.1", gpus=4, torch_view=view)
    npus = msgspec.structs.replace(node, gpus=tuple(msgspec.structs.replace(gpu, vendor="ascend") for gpu in node.gpus))
    assert without_cuda(npus) == "ascend computes through torch.npu, which is not measured"
    assert (
        participants([npus], {}).backend_why == "gloo: ascend computes through torch.npu, which is not measured on n1"
    )


def test_what_the_environment_of_metax_hides_stays_hidden():
    hidden = metax(Setting(name="MACA_VISIBLE_DEVICES", value="2,1", source="environment"))
    assert [gpu.index for gpu in seen_gpus(hidden)[0]] == [2, 1]
    who = participants([hidden], {})
    assert (who.ranks, who.shown) == ((2,), ({},))


def test_variables_of_amd_hide_one_after_the_other():
    of_amd = lambda **named: [  # noqa: E731 - a wish
        gpu.index
        for gpu in seen_gpus(
            msgspec.structs.replace(
                a_node(1, gpus=8),
                gpus=tuple(msgspec.structs.replace(a_gpu(index), vendor="amd") for index in range(8)),
                settings=tuple(Setting(name=name, value=value, source="environment") for name, value in named.items()),
            )
        )[0]
    ]
    assert of_amd(HIP_VISIBLE_DEVICES="4,5") == [4, 5]
    assert of_amd(ROCR_VISIBLE_DEVICES="4,5,6,7", HIP_VISIBLE_DEVICES="1,0") == [5, 4]
    assert of_amd(ROCR_VISIBLE_DEVICES="0,1,2,3,4,5,6,7", CUDA_VISIBLE_DEVICES="3") == [3]


def test_where_no_variable_shows_gpus_they_are_counted_as_a_program_sees_them():
    seen = [msgspec.structs.replace(a_gpu(index), vendor="amd") for index in (2, 3, 4, 5)]
    assert sight(seen[1:2], seen).devices == ("cuda:1",)


def test_what_cuda_cannot_read_in_the_environment_ends_its_list():
    odd = (Setting(name="CUDA_VISIBLE_DEVICES", value="0,9,1", source="environment"),)
    nodes = [a_node(n, torch="2.13.0", cuda="12.8", gpus=8, settings=odd if n == 2 else ()) for n in (1, 2)]
    assert participants(nodes, {}).ranks == (8, 1)


def test_a_gpu_in_mig_mode_is_not_loaded():
    sliced = Node(
        name="n1",
        address="10.0.0.1",
        reach=Reach(outcome="answered"),
        interfaces=(LO,),
        software=Software(torch="2.13.0", cuda="12.8"),
        gpus=(a_gpu(0), a_gpu(1, mig=True)),
    )
    assert participants([sliced], {}).backend_why == "gloo: gpu:1 is in MIG mode on n1"


def test_a_node_without_torch_is_left_out_with_what_to_do():
    who = participants([a_node(1), a_node(2), a_node(3, torch=None)], {})
    assert who.names == ("n1", "n2")
    assert who.excluded == {"n3": f"no torch under {PYTHON}; name another with --python"}


def test_a_node_of_another_torch_is_left_out():
    who = participants([a_node(1), a_node(2, torch="2.12.0+cpu"), a_node(3, torch="2.13.0+cu128")], {})
    assert who.excluded == {"n2": "torch 2.12.0, the others have 2.13.0"}


def test_a_node_whose_software_is_not_known_is_left_out():
    who = participants([a_node(1), a_node(2), a_node(3, software=Missing("no answer within 8 s"))], {})
    assert who.excluded == {"n3": "whether it has torch is not known: no answer within 8 s"}


def test_who_was_ruled_out_before_stays_out():
    assert participants([a_node(1), a_node(2)], {"n3": "busy"}).excluded == {"n3": "busy"}


def test_a_single_node_without_torch_is_not_measured():
    with pytest.raises(NotMeasured, match=rf"^no torch under {PYTHON}; name another with --python$"):
        participants([a_node(1, torch=None)], {})


def test_one_node_left_of_several_is_no_collective():
    with pytest.raises(NotMeasured, match=r"^1 of 3 nodes can take part, expected at least 2: n3: busy; n2: no torch"):
        participants([a_node(1), a_node(2, torch=None)], {"n3": "busy"})


def divided(value: str) -> Node:
    """Two GPUs of two slices each, and what the environment names of them."""
    slices = [tuple(MigInstance(uuid=f"MIG-{gpu}{number}") for number in range(2)) for gpu in range(2)]
    gpus = tuple(a_gpu(gpu, mig=True, mig_instances=slices[gpu], uuid=f"GPU-{gpu}") for gpu in range(2))
    settings = (Setting(name="CUDA_VISIBLE_DEVICES", value=value, source="environment"),)
    return msgspec.structs.replace(a_node(1), gpus=gpus, settings=settings)


@pytest.mark.parametrize("value", ["MIG-11", "MIG-11,MIG-00", "MIG-11,GPU-0"])
def test_a_slice_that_the_environment_names_is_what_a_program_sees_and_nothing_after_it(value):
    (gpu,), why = seen_gpus(divided(value))
    assert (gpu.index, [each.uuid for each in gpu.mig_instances]) == (1, ["MIG-11"])
    assert why == f"CUDA_VISIBLE_DEVICES={value} hides 1 of 2 GPUs and shows of gpu:1 a slice"
    assert sight([gpu], [gpu]).visible == {"CUDA_VISIBLE_DEVICES": "MIG-11"}, "the one named, not the first"


@pytest.mark.parametrize("value", ["MIG-7", "MIG-"])
def test_a_slice_that_is_not_there_or_not_one_alone_shows_nothing(value):
    assert seen_gpus(divided(value))[0] == ()

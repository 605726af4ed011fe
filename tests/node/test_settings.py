from __future__ import annotations

from pathlib import Path

import pytest

from tests.node.asking import ask
from tests.node.trees import plant


def test_only_what_steers_is_told(tmp_path: Path):
    env = {"NCCL_DEBUG": "INFO", "http_proxy": "http://proxy:3128", "EDITOR": "vi", "AWS_SECRET_ACCESS_KEY": "x"}
    found = ask("settings:settings", root=str(tmp_path), home=str(tmp_path), env=env)
    assert found == [["NCCL_DEBUG", "INFO", "environment"], ["http_proxy", "http://proxy:3128", "environment"]]


def test_files_that_nccl_reads_are_told_with_their_path(tmp_path: Path):
    tree = {
        "etc/nccl.conf": "# site\nNCCL_SOCKET_IFNAME=bond0\n\nNCCL_IB_HCA = mlx5\n",
        "etc/environment": 'export HF_HOME="/models/hf"\nEDITOR=vi\n',
        "home/.nccl.conf": "NCCL_DEBUG=WARN # mine\n",
    }
    root = plant(tmp_path, tree)
    found = ask("settings:settings", root=root, home=f"{root}/home")
    assert found == [
        ["NCCL_DEBUG", "WARN", f"{root}/home/.nccl.conf"],
        ["NCCL_SOCKET_IFNAME", "bond0", f"{root}/etc/nccl.conf"],
        ["NCCL_IB_HCA", "mlx5", f"{root}/etc/nccl.conf"],
        ["HF_HOME", "/models/hf", f"{root}/etc/environment"],
    ]


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("HF_TOKEN", "hf_abc", "***"),
        ("VLLM_API_KEY", "sk-1", "***"),
        ("RAY_REDIS_PASSWORD", "5241590000000000", "***"),
        ("https_proxy", "http://user:pa:ss@proxy:3128/", "http://***@proxy:3128/"),
        ("VLLM_PLUGIN_URL", "https://store/x?token=abc&v=1", "https://store/x?token=***&v=1"),
        ("TOKENIZERS_PARALLELISM", "false", "false"),
        ("NCCL_IB_HCA", "=mlx5_0:1", "=mlx5_0:1"),
        ("HF_TOKEN", "", ""),
    ],
)
def test_secrets_are_masked_on_the_node(name: str, value: str, shown: str):
    assert ask("settings:masked", name=name, value=value) == shown

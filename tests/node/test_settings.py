from __future__ import annotations

import os
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
        ("VLLM_ARGS", "--api-key sk-123", "--api-key ***"),
        ("VLLM_ARGS", "--port 8000 --api-key sk-1 sk-2 --seed 1", "--port 8000 --api-key ***"),
        ("VLLM_ARGS", "--api-key=sk-123", "--api-key=***"),
        ("VLLM_ARGS", '["--api-key", "sk-123"]', '["--api-key", ***'),
        ("OLLAMA_HEADERS", "Authorization: Bearer abc", "Authorization: ***"),
        ("OLLAMA_HEADERS", "x: Bearer abc", "x: Bearer ***"),
        ("SGLANG_CONFIG", '{"password": "abc"}', '{"password": ***'),
        ("SGLANG_CONFIG", r"{\"aws_secret_access_key\": \"a b\"}", r"{\"aws_secret_access_key\": ***"),
        ("SGLANG_CONFIG", "{'api_keys': ['a', 'b']}", "{'api_keys': ***"),
        ("RAY_ADDRESS", "redis://:pa/ss@host:6379", "redis://***@host:6379"),
        ("RAY_ADDRESS", "redis://user:p@ss@host:6379", "redis://***@host:6379"),
        ("HF_ENDPOINT", "https://abc@host/x", "https://***@host/x"),
        ("http_proxy", "user:pass@proxy:3128", "***@proxy:3128"),
        ("VLLM_URL", "https://store/x?X-Amz-Signature=a,b&v=1", "https://store/x?X-Amz-Signature=***&v=1"),
        ("VLLM_MODEL", "hf_abcdefghijklmnopqrst", "***"),
        ("VLLM_ARGS", "--max-num-batched-tokens 8192 --seed 1", "--max-num-batched-tokens 8192 --seed 1"),
        ("VLLM_ARGS", '--compilation-config {"pass_config": 1}', '--compilation-config {"pass_config": 1}'),
        (
            "VLLM_ARGS",
            "--tokenizer Qwen/Qwen3 --enable-auto-tool-choice",
            "--tokenizer Qwen/Qwen3 --enable-auto-tool-choice",
        ),
        ("LD_LIBRARY_PATH", "/opt/keys:/usr/lib", "/opt/keys:/usr/lib"),
        ("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True", "expandable_segments:True"),
    ],
)
def test_secrets_are_masked_on_the_node(name: str, value: str, shown: str):
    assert ask("settings:masked", name=name, value=value) == shown


def test_what_a_closed_file_sets_is_not_nothing(tmp_path: Path):
    root = plant(tmp_path, {"etc/nccl.conf": "NCCL_DEBUG=WARN\n", "etc/environment": "HF_HOME=/models\n"})
    closed = tmp_path / "etc" / "nccl.conf"
    if os.getuid() == 0:
        os.chown(closed, 65534, 65534)
    closed.chmod(0o600 if os.getuid() == 0 else 0)
    found = ask("settings:settings", root=root, home=f"{root}/home", unprivileged=True)
    assert found == [
        ["", f"{closed} cannot be read: Permission denied", str(closed)],
        ["HF_HOME", "/models", f"{root}/etc/environment"],
    ]


def test_a_home_that_is_no_folder_sets_nothing(tmp_path: Path):
    root = plant(tmp_path, {"home": "a file"})
    assert ask("settings:settings", root=root, home=f"{root}/home") == []


def test_a_file_that_is_too_long_is_known_up_to_where_it_was_read(tmp_path: Path):
    lines = "".join(f"NCCL_X{number}={'y' * 100}\n" for number in range(1000))
    root = plant(tmp_path, {"etc/nccl.conf": lines})
    path, size = f"{root}/etc/nccl.conf", len(lines)
    *found, last = ask("settings:settings", root=root, home=root)
    assert last == ["", f"{path} was read up to 65536 of its {size} bytes", path]
    assert len(found) > 500
    assert {value for _, value, _ in found} == {"y" * 100}


def test_the_environment_that_a_collective_reports_is_masked():
    env = {"NCCL_DEBUG": "INFO", "NCCL_PROXY": "http://user:pa@host", "GLOO_API_KEY": "abc"}
    assert ask("allreduce:environment", env=env) == {
        "GLOO_API_KEY": "***", "NCCL_DEBUG": "INFO", "NCCL_PROXY": "http://***@host",
    }  # fmt: skip

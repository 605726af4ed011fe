"""Which variables and files steer communication and engines here? Secrets are masked before they leave."""

from __future__ import annotations

import os
import re

import proc

PREFIXES = (
    "NCCL_", "GLOO_", "CUDA_", "NVIDIA_", "TORCH_", "PYTORCH_", "VLLM_", "SGLANG_", "SGL_", "LMDEPLOY_", "TM_",
    "OLLAMA_", "RAY_", "HF_", "HUGGINGFACE_", "TRANSFORMERS_", "SAFETENSORS_", "OMP_", "MKL_", "MCCL_", "HCCL_",
    "ASCEND_", "HIP_", "HSA_", "ROCR_", "RCCL_", "UCX_", "IBV_", "RDMAV_", "MLX5_", "TRITON_", "FLASHINFER_",
    "MACA_", "TP_SOCKET_",
)  # fmt: skip
NAMES = frozenset({
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH",
    "PYTHONHASHSEED", "MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK", "LOCAL_RANK", "HOST_IP", "XDG_CACHE_HOME",
    "TOKENIZERS_PARALLELISM",
})  # fmt: skip
"""Compared in capitals: proxies are spelled both ways."""
HIDDEN = r"(?i)TOKEN(?!IZER)|KEY|SECRET|PASS|CREDENTIAL|AUTH|COOKIE|SIGNATURE"
IN_URL = r"(://)[^/@\s]*@"
IN_QUERY = r"(?i)((?:token|key|secret|pass\w*|auth\w*|sig\w*|credential\w*)=)[^&\s;,]+"
"""Compiled where there is something to mask: most nodes have nothing set, and old Pythons take milliseconds."""
MASK = "***"
LINES_AT_MOST = 200


def settings(root: str = "/", home: str | None = None) -> list[list[str]]:
    """[name, value, source] each; ``source`` is ``environment`` or the file's path."""
    rows = [[name, masked(name, os.environ[name]), "environment"] for name in sorted(os.environ) if steers(name)]
    for path in files(root, home):
        rows.extend([name, masked(name, value), path] for name, value in assignments(path))
    return rows


def files(root: str, home: str | None) -> list[str]:
    """NCCL reads NCCL_CONF_FILE or else ~/.nccl.conf, and always /etc/nccl.conf."""
    own = os.environ.get("NCCL_CONF_FILE") or os.path.join(home or os.path.expanduser("~"), ".nccl.conf")
    return [own, os.path.join(root, "etc/nccl.conf"), os.path.join(root, "etc/environment")]


def steers(name: str) -> bool:
    return name.startswith(PREFIXES) or name.upper() in NAMES


def assignments(path: str) -> list[tuple[str, str]]:
    """``NAME=value`` lines that steer something; a file that is absent or closed has none."""
    try:
        rows = proc.text(path).splitlines()[:LINES_AT_MOST]
    except OSError:
        return []
    found = []
    for row in rows:
        name, equals, value = row.partition("#")[0].strip().partition("=")
        name = name.strip()
        name = name[7:].strip() if name.startswith("export ") else name
        if equals and steers(name):
            found.append((name, value.strip().strip("\"'")))
    return found


def masked(name: str, value: str) -> str:
    if value and name.upper() not in NAMES and re.search(HIDDEN, name):
        return MASK
    if "@" in value:
        value = re.sub(IN_URL, rf"\g<1>{MASK}@", value)
    return re.sub(IN_QUERY, rf"\g<1>{MASK}", value) if "=" in value else value

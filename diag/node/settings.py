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
HINTS = ("token", "key", "secret", "pass", "cred", "auth", "cookie", "sig", "bearer ", "basic ")
WORD = r"[\w.-]{0,99}(?:token(?!iz|s[\s=])|key|secret|pass(?:w|phrase|code|\b)|cred|auth|cookie|signature)[\w.-]{0,99}"
IN_QUERY = r"(?i)([?&][\w.-]{0,99}(?:token|key|secret|pass|auth|sig|credential)[\w.-]{0,99}=)[^&\s;\"']+"
BEHIND = rf"(?is)((?<![\w/.?&-])(?:{WORD}[\\\"']*\s*[:=]|-{WORD}[\\\"']*[\s,]|(?:bearer|basic)\s)\s*).+"
"""After ``--api-key``, ``"password":``, ``Authorization:``. Nobody can say where a secret ends: all behind it goes."""
USERS = r"(://|^|[\s,;=\"'])(?:[^/\s:@,;=\"']*:(?!//)[^\s\"']*|(?<=://)[^/\s]+)@"
BARE = r"\b(?:hf_|sk-|gh[a-z]_|glpat-|xox[a-z]-|eyJ)[\w.-]{16,}"
"""Tokens known by how they begin. All compiled where needed only: most nodes set nothing, and old Pythons are slow."""
MASK = "***"
BYTES_AT_MOST = 65536
"""Of a file; what steers lies in short ones."""


def settings(root: str = "/", home: str | None = None) -> list[list[str]]:
    """[name, value, source] each; ``source`` is ``environment`` or the file's path.

    A row without a name stands where a file was not read, or not to its end; its value says why.
    """
    rows = [[name, masked(name, os.environ[name]), "environment"] for name in sorted(os.environ) if steers(name)]
    for path in files(root, home):
        rows.extend(_of_file(path))
    return rows


def files(root: str, home: str | None) -> list[str]:
    """NCCL reads NCCL_CONF_FILE or else ~/.nccl.conf, and always /etc/nccl.conf."""
    own = os.environ.get("NCCL_CONF_FILE") or os.path.join(home or os.path.expanduser("~"), ".nccl.conf")
    return [own, os.path.join(root, "etc/nccl.conf"), os.path.join(root, "etc/environment")]


def steers(name: str) -> bool:
    return name.startswith(PREFIXES) or name.upper() in NAMES


def _of_file(path: str) -> list[list[str]]:
    """A file that is absent sets nothing; what one sets that is closed to this user is not known."""
    try:
        content = proc.text(path, BYTES_AT_MOST)
        size_bytes = os.stat(path).st_size
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        return [["", f"{path} cannot be read: {error.strerror}", path]]
    if size_bytes <= BYTES_AT_MOST:
        return [[name, masked(name, value), path] for name, value in assignments(content)]
    whole = content.rpartition("\n")[0]
    cut = f"{path} was read up to {BYTES_AT_MOST} of its {size_bytes} bytes"
    return [*([name, masked(name, value), path] for name, value in assignments(whole)), ["", cut, path]]


def assignments(content: str) -> list[tuple[str, str]]:
    """``NAME=value`` lines that steer something."""
    found = []
    for row in content.splitlines():
        name, equals, value = row.partition("#")[0].strip().partition("=")
        name = name.strip()
        name = name[7:].strip() if name.startswith("export ") else name
        if equals and steers(name):
            found.append((name, value.strip().strip("\"'")))
    return found


def masked(name: str, value: str) -> str:
    """The value without what is secret in it: all of it under a name that says so, else what is announced inside.

    It does not know a secret that nothing announces.
    """
    if value and name.upper() not in NAMES and re.search(HIDDEN, name):
        return MASK
    if "@" in value:
        value = re.sub(USERS, rf"\g<1>{MASK}@", value)
    small = value.lower()
    if any(hint in small for hint in HINTS):
        value = re.sub(IN_QUERY, rf"\g<1>{MASK}", value)
        value = re.sub(BEHIND, rf"\g<1>{MASK}", value)
    return re.sub(BARE, MASK, value) if "_" in value or "-" in value or "eyJ" in value else value

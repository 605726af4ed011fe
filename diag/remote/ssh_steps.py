"""Which step of connecting hung or broke, in words from which the user sees where to look?"""

from __future__ import annotations

from diag.remote.ssh_settings import SshSettings

HUNG = {
    "banner": "TCP connects to {at}, but no SSH banner within {said}: sshd hung or overloaded",
    "keys": "sshd at {at} answers, but no key exchange within {said}: big packets are lost (MTU), or it is overloaded",
    "login": "sshd at {at} does not end the login within {said}: look at its PAM, directory service or home",
    "session": "logged in at {at}, but no session opens within {said}: look at its PAM session or home directory",
    "command": "a session is open at {at}, but the command does not start within {said}",
}
BROKE = {
    "banner": "{at} ends the connection before its SSH banner: sshd refuses more (MaxStartups), or it is not sshd",
    "keys": "{at} broke off the key exchange: {reason}",
    "login": "{at} broke off the login: {reason}",
    "session": "{at} refuses a session: {reason}",
    "command": "{at} refuses to start a command: {reason}",
}
SSH_BANNER = b"SSH-"
START = "start sshd there, or name its port (--port, or Port in ssh_config)"
LOOK = "look at sshd's log and load there, or name another port (--port, or Port in ssh_config)"
HERE = "; this machine is measured by `diag run` without --hosts"


def hung(step: str, settings: SshSettings, said_s: float, heard: bytes) -> str:
    """For a step that the time limit, as the user knows it, has ended; ``heard`` are the first bytes that came."""
    return _not_ssh(step, settings, heard) or HUNG[step].format(at=settings.address, said=f"{said_s:g} s")


def broke(step: str, settings: SshSettings, reason: str, heard: bytes, proxy_words: str) -> str:
    """For a step that failed by itself."""
    if step == "banner" and settings.proxy_command:
        return f"the ProxyCommand ended: {proxy_words or settings.proxy_command}"
    return _not_ssh(step, settings, heard) or BROKE[step].format(at=settings.address, reason=reason)


def _not_ssh(step: str, settings: SshSettings, heard: bytes) -> str:
    if step != "banner" or not heard or heard.startswith(SSH_BANNER):
        return ""
    return f"{settings.address} does not speak SSH: it says {heard[:40].decode('latin-1')!r}"


def next_step(step: str, settings: SshSettings, heard: bytes) -> str:
    """What to do where no sshd speaks; empty: what was said already tells where to look."""
    if step != "banner" or settings.proxy_command:
        return ""
    return start_sshd(settings) if _not_ssh(step, settings, heard) else LOOK + _here(settings)


def start_sshd(settings: SshSettings) -> str:
    return START + _here(settings)


def _here(settings: SshSettings) -> str:
    return HERE if settings.host in ("localhost", "::1") or settings.host.startswith("127.") else ""

"""Was the node reached without noise, and was it left as it was found?"""

import pytest

from diag.facts.node import Node
from diag.facts.verdict import finding


@pytest.mark.advice
def check_login_shell_is_silent(node: Node) -> None:
    """What .bashrc prints before a command's output breaks scp, rsync, MPI launchers and all that parse it.

    Do: print only in interactive shells: put `[[ $- == *i* ]] || return` at the top of ~/.bashrc.
    $ ssh {node} true
    """
    noise = node.reach.login_noise_bytes if node.agent else None
    assert noise == 0, finding(f"the login shell printed {noise} bytes before the first answer", "nothing")


@pytest.mark.advice
def check_ssh_settings_are_obeyed(node: Node) -> None:
    """A setting of ssh_config that diag does not obey makes it reach the node otherwise than ssh does.

    Do: see what ssh itself would use, and state it in the inventory or with an option.
    $ ssh -G {node}
    """
    ignored = node.reach.advice if node.agent else None
    assert ignored == (), finding("; ".join(ignored or ()), "every setting of ssh_config obeyed")


def check_nothing_is_left_behind(node: Node) -> None:
    """A run leaves no process and no file; what cannot be killed hangs in the kernel, mostly in dead storage.

    Do: look at what the process waits for; a process in D state ends only when its storage answers, or at a reboot.
    $ ssh {node} 'ps -eo pid,stat,wchan:30,args | grep " D"'
    """
    left = node.left_behind if node.agent else None
    assert left == (), finding(f"left behind: {'; '.join(left or ())}", "no process, no file")

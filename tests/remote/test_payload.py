"""What is sent to a node, and does every shell pass on its command unharmed?"""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile

from diag.inventory import Host
from diag.remote import payload


def test_it_is_the_same_bytes_every_time():
    fresh = "import hashlib, sys; from diag.remote import payload; print(hashlib.sha256(payload.payload()).hexdigest())"
    hashes = {subprocess.check_output([sys.executable, "-c", fresh]) for _ in range(2)}
    assert len(hashes) == 1


def test_many_threads_that_ask_at_once_have_it_built_once():
    script = """
import threading, zipfile
from diag.remote import payload
made = []
class Counted(zipfile.ZipFile):
    def __init__(self, *given, **named): made.append(1); super().__init__(*given, **named)
zipfile.ZipFile = Counted
threads = [threading.Thread(target=payload.payload) for _ in range(16)]
for one in threads: one.start()
for one in threads: one.join()
print(len(made))
"""
    assert subprocess.check_output([sys.executable, "-c", script]) == b"1\n"


def test_it_holds_the_agent_and_pynvml_and_no_more():
    names = zipfile.ZipFile(io.BytesIO(payload.payload().partition(b"\0")[2])).namelist()
    assert {"agent.py", "jobs.py", "pynvml.py"} <= set(names)
    assert set(names) - {"pynvml.py"} == {path.name for path in payload.NODE_FOLDER.glob("*.py")} - {"start.py"}


def test_it_stays_small_enough_to_send_to_everyone():
    assert len(payload.payload()) < 200_000


def test_finding_pynvml_does_not_import_it():
    script = "import sys; from diag.remote import payload; payload.payload(); print('pynvml' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", script]) == b"False\n"


def test_its_first_command_is_one_line_without_what_shells_change():
    assert not set(payload.BOOTSTRAP) & set('!\n\\`$"')
    assert len(payload.BOOTSTRAP) < 400


def test_the_command_names_wrapper_environment_and_interpreter_in_this_order():
    host = Host(name="n", exec=("docker", "exec", "-i", "c"), env=(("A", "1"), ("B", "x y")))
    argv = payload.command(host, "/opt/python3")
    assert argv[:8] == ("docker", "exec", "-i", "c", "env", "A=1", "B=x y", "/opt/python3")
    assert payload.command(Host(name="n"), "python3")[:3] == ("python3", "-B", "-c")

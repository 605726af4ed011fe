"""What runs first on a node, before the zip can be imported? It travels in front of the zip, as text.

Any Python must be able to parse this file, Python 2 too: it is what says that a Python is too old.
``z`` holds the bytes that were read from standard input: this text, a NUL, the zip.
"""

import os
import sys

if sys.version_info < (3, 8):
    found = "%d.%d.%d" % sys.version_info[:3]
    sys.exit("diag: python too old: found %s (%s), expected 3.8 or newer" % (found, sys.executable))

import gc
import zipimport

gc.disable()  # the agent is short-lived and forks: a collection costs time and copied pages
sys.dont_write_bytecode = True
# Inside a container the mark names the agent on its host: what is started here counts as that one's too.
token = ".".join(filter(None, [os.environ.get("DIAG_JOB", "").partition(".")[0], os.urandom(8).hex()]))


def store(content):  # noqa: ANN001, ANN201 - Python 2 parses this file
    """Keep the zip where it can be imported from: in memory, else in the agent's private folder."""
    try:
        path = "/proc/%d/fd/%d" % (os.getpid(), os.memfd_create("diag"))
        with open(path, "wb") as archive:
            archive.write(content)
        return path
    except (AttributeError, OSError):
        pass  # no memfd in this libc or kernel, or no /proc here
    why = ""
    for parent in (os.environ.get("TMPDIR") or "/tmp", "/tmp", "/dev/shm", "/var/tmp"):  # noqa: S108 - mode 0700
        try:
            folder = os.path.join(parent, "diag-" + token)
            os.mkdir(folder, 0o700)
            path = os.path.join(folder, "node.pyz")
            with open(path, "wb") as archive:
                archive.write(content)
            return path
        except OSError as error:
            why = str(error)
    sys.exit("diag: nowhere to keep the agent's own code: %s" % why)


pyz = store(z)  # noqa: F821 - set by the bootstrap
sys.path = [pyz] + [entry for entry in sys.path if entry]  # no working directory: a json.py may lie there

# An importer that names an origin is not asked for file names, for which zipimport (3.10+) compiles each module once
# more: 20 ms of CPU in the facts stage (tried).
importer = zipimport.zipimporter(pyz)
importer._ORIGIN = pyz  # noqa: SLF001 - ignored by the Pythons that do not know it
sys.path_importer_cache[pyz] = importer

import agent  # noqa: E402 - only now it can be found

agent.main(pyz, token)

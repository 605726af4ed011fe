"""Mount a file system that never answers at argv[1], in a mount namespace of its own, then run the rest of argv.

A FUSE file system nobody serves: whoever touches it waits, until killed, as on a dead NFS server.
"""

from __future__ import annotations

import ctypes
import os
import sys

fuse = os.open("/dev/fuse", os.O_RDWR)
os.set_inheritable(fuse, True)
options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"dead", os.fsencode(sys.argv[1]), b"fuse.juicefs", 0, options):
    sys.exit(os.strerror(ctypes.get_errno()))
os.execvp(sys.argv[2], sys.argv[2:])

"""A cluster of real hosts on one machine: what each test of the whole product runs against.

A host is a network namespace with its own address behind a switch, its own host name, process table, ``/proc``,
``/sys``, ``/tmp``, ``/var/tmp``, ``/run``, ``/root``, ``/dev/shm``, ``/dev/pts``, ``/etc/hosts``, machine id and sshd
with its own host key. Its root is an overlay of this machine's: everything installed here is there (the project's
``.venv`` with torch too), everything written there goes away with it.
"""

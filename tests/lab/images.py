"""How does an image with a Python of its own come to a host? Out of this machine's files: no registry is asked."""

from __future__ import annotations

from tests.lab.host import Host

PYTHON_IMAGE = "lab-python:latest"
MAKE = """\
set -e
rm -rf /run/image && mkdir -p /run/image/etc /run/image/usr /run/image/root /run/image/var && cd /run/image
mkdir -m 1777 tmp
for folder in bin sbin lib lib64; do mkdir -p usr/$folder && ln -s usr/$folder $folder; done
echo root:x:0:0:root:/root:/bin/sh > etc/passwd
echo root:x:0: > etc/group
python=$(readlink -f /usr/bin/python3)
library=$(/usr/bin/python3 -I -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
tar -C / --exclude='test' --exclude='*.pyc' -cf - "${{library#/}}" | tar -xf -
programs="$python $(readlink -f /bin/sh) $(readlink -f /usr/bin/env) $(readlink -f /usr/bin/sleep)"
needed=$(ldd $programs $library/lib-dynload/*.so {more} 2>/dev/null | grep -o '/[^ ]*' | grep -v ':$' | sort -u)
for file in $programs $needed; do cp -L --parents "$file" .; done
ln -sf "$python" usr/bin/python3
[ -e bin/sh ] || ln -s "$(readlink -f /bin/sh)" bin/sh
tar -cf - . | {runtime} import {change} - {image}
rm -rf /run/image
"""


def import_python(host: Host, runtime: str = "docker", more: str = "", image: str = PYTHON_IMAGE) -> str:
    """An image with ``python3``, ``sh`` and ``sleep``; ``more``: files whose libraries it holds too."""
    script = MAKE.format(runtime=runtime, change="--change 'ENTRYPOINT [\"/bin/false\"]'", image=image, more=more)
    host.run(("sh", "-c", script))
    return image

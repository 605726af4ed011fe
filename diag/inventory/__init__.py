"""Which hosts did the user select, and how is each reached?"""

from diag.inventory.host import Host
from diag.inventory.nodesets import expand, fold

__all__ = ["Host", "expand", "fold"]

"""All pairs, topic by topic as in checks/."""

from tests.checks.pair import Pair
from tests.checks.pairs import (
    clock,
    collective,
    gpus,
    limits,
    memory,
    model,
    network,
    ports,
    reach,
    settings,
    software,
    storage,
)

PAIRS: tuple[Pair, ...] = tuple(
    pair
    for topic in (clock, collective, gpus, limits, memory, model, network, ports, reach, settings, software, storage)
    for pair in topic.PAIRS
)

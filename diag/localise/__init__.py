"""Who makes the collective slow or stuck? Timings of pairs -> suspects with confidence, and the next round of pairs.

All that the collective feels lies on its ring: two rounds of disjoint pairs cover it (three where the number of nodes
is odd), one more tells the node from the link. A link that no ring uses is not seen; ``unmeasured`` counts those, and
``all_rounds`` measures them.
"""

from diag.localise.confirm import confirm_repeats, next_round, per_rail_round, ring_repeats, settled, spread_of
from diag.localise.schedule import Pair, all_rounds, limited, ring_rounds, sample_rounds, unmeasured
from diag.localise.suspects import suspects
from diag.localise.told import Suspect

__all__ = [
    "Pair",
    "Suspect",
    "all_rounds",
    "confirm_repeats",
    "limited",
    "next_round",
    "per_rail_round",
    "ring_repeats",
    "ring_rounds",
    "sample_rounds",
    "settled",
    "spread_of",
    "suspects",
    "unmeasured",
]

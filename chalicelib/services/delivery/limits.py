"""How much one user, source or peer may ask of what would otherwise cost somebody else something."""

from chalicelib.protocol.timestamps import DAY, HOUR, MINUTE, SECOND
from chalicelib.services.limits import Limit

PUBLISHED = Limit("packages-published-by-user", 600, HOUR, 1_000)
ASKED_BY_USER = Limit("users-asked-for-by-user", 60, HOUR, 200)
ASKED_BY_PEER = Limit("users-asked-for-by-peer", 1_000, MINUTE, 1_000)
CLAIMED = Limit("claims-of-user", 600, HOUR, 600)
CLAIMED_BY_USER = Limit("claims-of-user-by-user", 10, HOUR, 5)
CLAIMED_BY_PEER = Limit("claims-of-user-by-peer", 300, HOUR, 300)
"""Half of `CLAIMED`: so no peer alone keeps all others from a user's packages."""

UPLOADED = Limit("bytes-uploaded-by-user", 1 << 30, DAY, 1 << 30)
FETCHED = Limit("fetches-of-upload", 60, HOUR, 30)
FETCHED_FROM_PEER = Limit("fetches-from-peer", 240, MINUTE, 240)
ASKED_BY_SOURCE = Limit("requests-by-source", 50, SECOND, 1_000)
"""A source is one address, behind which a company or a mobile network may be."""
PASSED_ON_BY_PEER = Limit("requests-by-peer", 500, SECOND, 5_000)
"""What a peer passes on comes from all its clients."""
CREATED_BY_SOURCE = Limit("groups-by-source", 60, HOUR, 100)
SENT_TO_GROUP = Limit("bytes-sent-to-group", 10 << 20, SECOND, 64 << 20)
"""Of messages that are too large for a row of the log; small ones are as many as a group's head can be written."""
FORWARDED_BY_SOURCE = Limit("forwarded-by-source", 600, MINUTE, 300)
FORWARDED_TO_PEER = Limit("forwarded-to-peer", 12_000, MINUTE, 1_000)
VOUCHING_IN_GROUP = Limit("peers-asked-for-group", 60, MINUTE, 60)
VOUCHING_OF_PEER = Limit("peer-asked-for-clients", 600, MINUTE, 600)

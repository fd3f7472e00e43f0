"""Taking in a new trust list (draft §6): only the authority's signature and a higher version make it ours."""

import dataclasses

from chalicelib.errors import Conflict
from chalicelib.protocol.glados.signed import read_jwk
from chalicelib.protocol.glados.trust import TrustList, read_trust_list
from chalicelib.services.ports import Clock, Lost
from chalicelib.services.provider.ports import TrustLists


@dataclasses.dataclass(frozen=True, slots=True)
class Admission:
    """Admits peer GPs by the authority's word."""

    trust_lists: TrustLists
    clock: Clock
    gp: str
    authority: dict[str, str]

    def admit(self, token: str) -> TrustList:
        """Verify a signed list for this GP and store it, or raise why not."""
        kid, key = read_jwk(self.authority)
        listed = read_trust_list(token, key, kid, gp=self.gp, now=self.clock())
        try:
            self.trust_lists.replace(listed)
        except Lost as error:
            raise Conflict("the stored trust list has this version or a higher one") from error
        return listed

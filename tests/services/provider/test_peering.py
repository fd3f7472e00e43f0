"""Peers: known by the certificates that the authority listed."""

import pytest

from chalicelib.errors import ClientCertificateRequired, UnknownCertificate
from chalicelib.services.provider.peering import calling
from tests.services.provider.providers import federation, thumbprint


def test_a_peer_is_known_by_its_certificate_alone() -> None:
    eu, _ = federation("eu", "us")
    assert calling(eu.world.trust_lists, thumbprint("gp us")).gp == "us"
    for unknown, refusal in ((thumbprint("alpha"), UnknownCertificate), (None, ClientCertificateRequired)):
        with pytest.raises(refusal):
            calling(eu.world.trust_lists, unknown)

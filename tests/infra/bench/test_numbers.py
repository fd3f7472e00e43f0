"""The benchmarks' identifiers are ones that the provider takes, and each is used once."""

import itertools

from chalicelib.protocol.glados.identifiers import check_reachable, parse_sii, phone_region
from infra.bench._numbers import mapped, mobiles


def test_mapped_identifiers_are_canonical() -> None:
    for number in (0, 999, 9_999_999):
        assert parse_sii(mapped(number)).uri == mapped(number)


def test_mobiles_can_be_sent_a_code_and_differ() -> None:
    some = list(itertools.islice(mobiles(), 300))
    assert len(set(some)) == len(some)
    for number in some:
        check_reachable(parse_sii(f"tel:{number}"))


def test_mobiles_spread_over_the_regions() -> None:
    regions = {phone_region(parse_sii(f"tel:{number}")) for number in itertools.islice(mobiles(), 200)}
    assert len(regions) > 150

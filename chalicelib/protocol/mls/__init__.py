"""RFC 9420 as a delivery service sees it: no member of its groups, and no holder of their secrets."""

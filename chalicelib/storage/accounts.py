"""The port `Accounts`: one row for each application provider, and one for each certificate it may use.

    aps   provider id             v, account (JSON), ⟦webhook⟧, mapped (the count of users)
    aps   thumbprint#THUMBPRINT   owner: whose certificate it is, `ap#…` or `peer#…`

Account and thumbprints change in one transaction, so a certificate never belongs to two. The count of users is
an attribute of its own: the sequencer adds to it while an operator changes the rest.
"""

import dataclasses

import msgspec

from chalicelib.errors import AlreadyExists
from chalicelib.services.accounts.state import Account, ProviderId, WebhookEndpoint
from chalicelib.services.ports import Clock, Lost, Versioned
from chalicelib.storage.dynamodb import Cancelled, Database, Item, Operation, Put, Update, blob, number, text
from chalicelib.storage.recent import Recent
from chalicelib.storage.sealing import Sealer
from chalicelib.storage.thumbprints import claims, releases

APS = "aps"

_account = msgspec.json.Decoder(Account)
_webhook = msgspec.json.Decoder(WebhookEndpoint)


class AccountRows:
    """Turns accounts into rows and rows into accounts."""

    def __init__(self, sealer: Sealer) -> None:
        self.sealer = sealer

    def read(self, row: Item) -> Account:
        """Return the account of a row, with its count of users."""
        account = _account.decode(text(row, "account"))
        webhook = None
        if "webhook" in row:
            webhook = _webhook.decode(self.sealer.open(APS, account.provider_id, blob(row, "webhook")))
        return dataclasses.replace(account, webhook=webhook, users=number(row, "mapped", 0))

    def write(self, account: Account) -> Item:
        """Return the attributes that hold an account, all but its key, version and count of users."""
        plain = dataclasses.replace(account, webhook=None, users=0)
        row: Item = {"account": msgspec.json.encode(plain).decode()}
        if account.webhook is not None:
            webhook = msgspec.json.encode(account.webhook)
            row["webhook"] = self.sealer.seal(APS, account.provider_id, webhook)
        return row


class AwsAccounts:
    """Accounts of one stage; `recent` keeps what it read for a minute."""

    def __init__(self, database: Database, rows: AccountRows, clock: Clock) -> None:
        self.database = database
        self.rows = rows
        self.clock = clock
        self._recent: Recent[Account] = Recent(clock)

    def recent(self, provider_id: ProviderId) -> Account | None:
        """Return an account as it was within the last minute; that there is none is not kept."""
        known = self._recent.get(provider_id)
        if known is not None:
            return known
        now = self.clock()
        loaded = self.load(provider_id)
        if loaded is None:
            return None
        self._recent.keep(now, loaded.value, provider_id)
        return loaded.value

    def load(self, provider_id: ProviderId) -> Versioned[Account] | None:
        """Return an account as it is now."""
        row = self.database.get(APS, {"provider_id": provider_id})
        if row is None or "account" not in row:
            return None  # A thumbprint's row is nobody's account.
        return Versioned(self.rows.read(row), number(row, "v"))

    def create(self, account: Account) -> None:
        """Add an account and claim its certificates; a repeat of the same changes nothing."""
        row: Item = {"provider_id": account.provider_id, "v": 1, "mapped": account.users, **self.rows.write(account)}
        owner = f"ap#{account.provider_id}"
        operations: list[Operation] = [
            Put(APS, row, "attribute_not_exists(#provider_id)"),
            *claims(owner, account.thumbprints),
        ]
        try:
            self.database.transact(operations)
        except Cancelled as cancelled:
            if 0 not in cancelled.failed:
                raise AlreadyExists("a certificate belongs to another account or peer") from cancelled
            known = self.load(account.provider_id)
            if known is None or dataclasses.replace(known.value, users=account.users) != account:
                raise AlreadyExists("there is an account with this provider id already") from cancelled

    def replace(self, before: Versioned[Account], after: Account) -> None:
        """Change an account and what certificates it holds, if it still is what `before` was read as."""
        if before.value.provider_id != after.provider_id or not isinstance(before.token, int):
            raise ValueError("the account to replace is another one")
        row = self.rows.write(after)
        change = "SET #v = :next, " + ", ".join(f"#{name} = :{name}" for name in row)
        if "webhook" not in row:
            change += " REMOVE #webhook"
        values: Item = {**row, "next": before.token + 1, "before": before.token}
        owner = f"ap#{after.provider_id}"
        added = [name for name in after.thumbprints if name not in before.value.thumbprints]
        dropped = [name for name in before.value.thumbprints if name not in after.thumbprints]
        operations: list[Operation] = [
            Update(APS, {"provider_id": after.provider_id}, change, "#v = :before", values),
            *claims(owner, added),
            *releases(owner, dropped),
        ]
        try:
            self.database.transact(operations)
        except Cancelled as cancelled:
            if 0 in cancelled.failed:
                raise Lost("the account changed since it was loaded") from cancelled
            raise AlreadyExists("a certificate belongs to another account or peer") from cancelled
        finally:
            self._recent.forget()

"""The port `Snapshots`: all that a query reads, in one BatchGetItem."""

from chalicelib.protocol.glados.identifiers import Sii
from chalicelib.services.accounts.state import Account, ProviderId
from chalicelib.services.provider.state import Heads, StoredRecords
from chalicelib.storage.accounts import APS, AccountRows
from chalicelib.storage.dynamodb import Database
from chalicelib.storage.peer_heads import HEADS_KEY, PEERS, HeadsRow
from chalicelib.storage.records import RecordRows


class AwsSnapshots:
    """Reads the SII's row (one for each live index epoch), the asker's account and the heads of all peers."""

    def __init__(self, database: Database, records: RecordRows, accounts: AccountRows) -> None:
        self.database = database
        self.records = records
        self.accounts = accounts
        self.heads = HeadsRow()

    def read(self, sii: Sii, provider_id: ProviderId) -> tuple[StoredRecords, Account | None, Heads]:
        """Return the three, each as it is now."""
        account, heads, *rows = self.database.batch_get(
            [(APS, {"provider_id": provider_id}), (PEERS, HEADS_KEY), *self.records.wanted(sii)]
        )
        return (
            self.records.read(rows),
            None if account is None else self.accounts.read(account),
            self.heads.read(heads).value,
        )

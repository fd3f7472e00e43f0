"""Do the Welcomes sent with a commit reach exactly the members it adds? (RFC 9420 §§12.4.2, 12.4.3.1)

What is inside is closed to us. A Welcome goes out only once its commit is accepted (§14): that is the
service's part.
"""

from collections.abc import Sequence

from chalicelib.protocol.mls.errors import InvalidWelcome
from chalicelib.protocol.mls.public_group import StagedCommit
from chalicelib.protocol.mls.welcome import Welcome


def check_welcomes(welcomes: Sequence[Welcome], staged: StagedCommit) -> None:
    """Check the Welcomes that a committer sends along with a commit."""
    suite = staged.applied.draft.suite
    # [ds-9] Each invites somebody, so there are no more of them than members that are added.
    if not all(welcome.secrets for welcome in welcomes):
        raise InvalidWelcome("ds-9", "a Welcome invites nobody")
    # [mls-12.4.3.1-6] The cipher suite is the group's.
    if any(welcome.cipher_suite != suite.number for welcome in welcomes):
        raise InvalidWelcome("mls-12.4.3.1-6", "a Welcome has another cipher suite than the group")
    invited = [entry.new_member for welcome in welcomes for entry in welcome.secrets]
    added = [add.key_package.reference(suite) for _, add in staged.added]
    # [mls-12.4.2-15] The Welcomes cover every new member added in the commit, each once, and nobody else.
    if sorted(invited) != sorted(added):
        raise InvalidWelcome("mls-12.4.2-15", "the Welcomes are not for exactly the members that are added")

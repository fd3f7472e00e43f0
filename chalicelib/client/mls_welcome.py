"""How a committer invites and a joiner is let in, and the pre-shared keys of both (RFC 9420 §§8.4, 12.4.3.1)."""

from collections.abc import Mapping, Sequence

from chalicelib.client.mls_crypto import MemberSuite
from chalicelib.client.mls_identity import PrivateKeyPackage
from chalicelib.client.mls_key_schedule import EpochSecrets, psk_secret, welcome_key_and_nonce
from chalicelib.client.mls_path import NotForThisMember
from chalicelib.protocol.mls import tree_math
from chalicelib.protocol.mls.commit import HPKECiphertext
from chalicelib.protocol.mls.group_info import GroupInfo
from chalicelib.protocol.mls.proposals import Add, PreSharedKeyID
from chalicelib.protocol.mls.welcome import EncryptedGroupSecrets, GroupSecrets, PathSecret, Welcome
from chalicelib.protocol.tls import decode


def find_psk_secret(
    suite: MemberSuite,
    names: Sequence[PreSharedKeyID],
    psks: Mapping[bytes, bytes],
    resumption: Mapping[int, bytes],
) -> bytes:
    """Return the psk_secret of some pre-shared keys (§8.4): external ones by their id, resumption ones by epoch."""
    found = []
    for name in names:
        psk = psks.get(name.psk_id) if name.psk_epoch is None else resumption.get(name.psk_epoch)
        if psk is None:
            raise NotForThisMember("a pre-shared key is not known here")
        found.append((name, psk))
    return psk_secret(suite, found)


def make_welcome(
    suite: MemberSuite,
    secrets: EpochSecrets,
    info: GroupInfo,
    added: Sequence[tuple[int, Add]],
    committer: int,
    path_secrets: Mapping[int, bytes],
    psks: Sequence[PreSharedKeyID],
    psk_secret: bytes,
) -> Welcome:
    """Invite the members that a commit adds (§12.4.3.1)."""
    with_psk = suite.extract(secrets.joiner_secret, psk_secret)
    key, nonce = welcome_key_and_nonce(suite, suite.derive_secret(with_psk, "welcome"))
    sealed = suite.seal(key, nonce, b"", info.encode())
    entries = []
    for leaf_index, add in added:
        shared = path_secrets.get(tree_math.common_ancestor(leaf_index, committer))
        inside = GroupSecrets(secrets.joiner_secret, None if shared is None else PathSecret(shared), tuple(psks))
        ciphertext: HPKECiphertext = suite.encrypt_with_label(
            add.key_package.init_key, "Welcome", sealed, inside.encode()
        )
        entries.append(EncryptedGroupSecrets(add.key_package.reference(suite.cipher_suite), ciphertext))
    return Welcome(suite.cipher_suite.number, tuple(entries), sealed)


def open_group_secrets(owner: PrivateKeyPackage, welcome: Welcome) -> GroupSecrets:
    """Open what a Welcome has for the owner of a KeyPackage."""
    suite = owner.identity.suite
    reference = owner.public.reference(suite.cipher_suite)
    for entry in welcome.secrets:
        if entry.new_member == reference and welcome.cipher_suite == suite.cipher_suite.number:
            opened = suite.decrypt_with_label(
                owner.init_private, "Welcome", welcome.encrypted_group_info, entry.encrypted_group_secrets
            )
            return decode(GroupSecrets.read, opened)
    raise NotForThisMember("the Welcome is not for this KeyPackage")


def open_welcome(
    owner: PrivateKeyPackage, welcome: Welcome, psks: Mapping[bytes, bytes] | None = None
) -> tuple[GroupSecrets, bytes, GroupInfo]:
    """Return the secrets and the GroupInfo that a Welcome holds, and the psk_secret of the pre-shared keys it names.

    Nothing is checked yet. A joiner reads here of which group and epoch it must ask for the tree, if that is missing.
    """
    suite = owner.identity.suite
    secrets = open_group_secrets(owner, welcome)
    psk_secret = find_psk_secret(suite, secrets.psks, psks or {}, {})
    with_psk = suite.extract(secrets.joiner_secret, psk_secret)
    key, nonce = welcome_key_and_nonce(suite, suite.derive_secret(with_psk, "welcome"))
    return secrets, psk_secret, decode(GroupInfo.read, suite.open(key, nonce, b"", welcome.encrypted_group_info))

"""Run the MLS working group's test vectors: `python -m tests.conformance.vectors FOLDER`.

A file's format is told by the members of its entries, not by its name, so any file of a known format can be
run. For each file `passed/total` is printed. The exit status is zero only if every entry of every file
passed, and every file in the folder was one that is understood.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature as BadSignature

from chalicelib.client.mls_crypto import CannotFollow, KeyPair, member_suite
from chalicelib.client.mls_framing import (
    confirmation_tag,
    open_private,
    open_public,
    protect_private,
    protect_public,
    sign_content,
)
from chalicelib.client.mls_identity import Identity, PrivateKeyPackage
from chalicelib.client.mls_key_schedule import EpochSecrets, psk_secret, welcome_key_and_nonce
from chalicelib.client.mls_member import Member
from chalicelib.client.mls_path import climb, open_path_secret, public_key_at
from chalicelib.client.mls_secret_tree import SecretTree
from chalicelib.errors import Refusal
from chalicelib.protocol.crypto import cipher_suite
from chalicelib.protocol.mls import framing, tree_math
from chalicelib.protocol.mls.commit import Commit, HPKECiphertext, UpdatePath
from chalicelib.protocol.mls.draft import Draft
from chalicelib.protocol.mls.framing import (
    AuthenticatedContent,
    FramedContent,
    FramedContentAuthData,
    PrivateMessage,
    PublicMessage,
    Sender,
    SenderType,
    WireFormat,
    decode_message,
)
from chalicelib.protocol.mls.group_info import GroupContext, GroupInfo
from chalicelib.protocol.mls.key_package import KeyPackage
from chalicelib.protocol.mls.plain_tree import PlainTree, decode_tree, encode_tree
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.mls.proposals import (
    PROPOSALS,
    Add,
    PreSharedKeyID,
    PSKType,
    Remove,
    Update,
    encode_proposal,
    read_proposal,
)
from chalicelib.protocol.mls.transcript import confirmed_transcript_hash, interim_transcript_hash
from chalicelib.protocol.mls.tree_rules import check_tree
from chalicelib.protocol.mls.welcome import GroupSecrets, Welcome
from chalicelib.protocol.tls import Encodable, Reader, decode, uint16

Vector = dict[str, Any]
NOW = 1_700_000_000


class VectorPolicy(Policy):
    """Vectors claim lifetimes without end."""

    maximum_lifetime = 1 << 64


POLICY = VectorPolicy()


def equal(actual: object, expected: object) -> None:
    """Compare a result with what a vector says; hex strings stand for bytes."""
    if isinstance(actual, bytes):
        actual = actual.hex()
    if actual != expected:
        raise AssertionError(f"{actual!r:.200} is not {expected!r:.200}")


def unhex(text: str) -> bytes:
    """Return the bytes a vector writes in hexadecimal."""
    return bytes.fromhex(text)


def check_tree_math(vector: Vector) -> None:
    """Check relations between node indices; the vectors know full trees only."""
    capacity = tree_math.leaf_capacity_for(vector["n_leaves"])
    equal(capacity, vector["n_leaves"])
    equal(2 * capacity - 1, vector["n_nodes"])
    equal(tree_math.root(capacity), vector["root"])
    for node in range(vector["n_nodes"]):
        inner = tree_math.level(node) > 0
        equal(tree_math.left(node) if inner else None, vector["left"][node])
        equal(tree_math.right(node) if inner else None, vector["right"][node])
        top = node == vector["root"]
        equal(None if top else tree_math.parent(node), vector["parent"][node])
        equal(None if top else tree_math.sibling(node), vector["sibling"][node])


def check_crypto_basics(vector: Vector) -> None:
    """Check labelled hashing, derivation, signing and encryption of one suite."""
    suite = member_suite(vector["cipher_suite"])
    case = vector["ref_hash"]
    equal(suite.cipher_suite.ref_hash(case["label"], unhex(case["value"])), case["out"])
    case = vector["expand_with_label"]
    derived = suite.expand_with_label(unhex(case["secret"]), case["label"], unhex(case["context"]), case["length"])
    equal(derived, case["out"])
    case = vector["derive_secret"]
    equal(suite.derive_secret(unhex(case["secret"]), case["label"]), case["out"])
    case = vector["derive_tree_secret"]
    derived = suite.derive_tree_secret(unhex(case["secret"]), case["label"], case["generation"], case["length"])
    equal(derived, case["out"])
    _check_sign_with_label(vector["cipher_suite"], vector["sign_with_label"])
    case = vector["encrypt_with_label"]
    context, plaintext = unhex(case["context"]), unhex(case["plaintext"])
    private, public = unhex(case["priv"]), unhex(case["pub"])
    given = HPKECiphertext(unhex(case["kem_output"]), unhex(case["ciphertext"]))
    equal(suite.decrypt_with_label(private, case["label"], context, given), case["plaintext"])
    made = suite.encrypt_with_label(public, case["label"], context, plaintext)
    equal(suite.decrypt_with_label(private, case["label"], context, made), case["plaintext"])


def _check_sign_with_label(number: int, case: Vector) -> None:
    suite = cipher_suite(number)
    private, public, content = unhex(case["priv"]), unhex(case["pub"]), unhex(case["content"])
    equal(suite.signatures.public_key(private), case["pub"])
    suite.verify_with_label(public, case["label"], content, unhex(case["signature"]), "vector")
    made = suite.sign_with_label(private, case["label"], content)
    suite.verify_with_label(public, case["label"], content, made, "vector")
    try:
        suite.verify_with_label(public, case["label"], content + b"\x00", made, "vector")
    except Refusal:
        return
    raise AssertionError("a signature over other content verifies")


def check_deserialization(vector: Vector) -> None:
    """Check a vector length."""
    header = unhex(vector["vlbytes_header"])
    equal(decode(Reader.length, header), vector["length"])


def check_messages(vector: Vector) -> None:
    """Decode and encode one message of each kind."""
    for name, text in vector.items():
        equal(_decode_named(name, unhex(text)), text)


def _decode_named(name: str, data: bytes) -> bytes:
    structs: dict[str, type[Any]] = {"group_secrets": GroupSecrets, "commit": Commit}
    proposals = {
        "add_proposal": 1,
        "update_proposal": 2,
        "remove_proposal": 3,
        "pre_shared_key_proposal": 4,
        "re_init_proposal": 5,
        "external_init_proposal": 6,
        "group_context_extensions_proposal": 7,
    }
    bodies: dict[str, tuple[type[Any], type[Any] | None]] = {
        "mls_welcome": (Welcome, None),
        "mls_group_info": (GroupInfo, None),
        "mls_key_package": (KeyPackage, None),
        "public_message_application": (PublicMessage, bytes),
        "public_message_proposal": (PublicMessage, None),
        "public_message_commit": (PublicMessage, Commit),
        "private_message": (PrivateMessage, None),
    }
    if name == "ratchet_tree":
        return encode_tree(decode_tree(cipher_suite(1), POLICY, data))
    if name in proposals:
        encoded = decode(read_proposal, uint16(proposals[name]) + data)
        equal(type(encoded), PROPOSALS[proposals[name]])
        return encode_proposal(encoded)[2:]
    if name in structs:
        value: Encodable = decode(structs[name].read, data)
        return value.encode()
    body, content = bodies[name]
    message = decode_message(data)
    equal(type(message.body), body)
    if content is not None and isinstance(message.body, PublicMessage):
        equal(type(message.body.content.content), content)
    return message.encode()


def check_tree_operations(vector: Vector) -> None:
    """Apply one proposal to a tree."""
    suite = cipher_suite(vector["cipher_suite"])
    tree = decode_tree(suite, POLICY, unhex(vector["tree_before"]))
    equal(Draft(tree).tree_hash, vector["tree_hash_before"])
    draft = Draft(tree)
    proposal = decode(read_proposal, unhex(vector["proposal"]))
    match proposal:
        case Add():
            draft.add(proposal.key_package.leaf_node)
        case Update():
            draft.update(vector["proposal_sender"], proposal.leaf_node)
        case Remove():
            draft.remove(proposal.removed)
        case _:
            raise AssertionError("a tree operation is none of Add, Update and Remove")
    equal(draft.tree_hash, vector["tree_hash_after"])
    equal(encode_tree(draft), vector["tree_after"])
    after = tree.changed(draft)
    equal(after, decode_tree(suite, POLICY, unhex(vector["tree_after"])))


def check_tree_validation(vector: Vector) -> None:
    """Check hashes, resolutions, parent hashes and signatures of a tree."""
    tree = decode_tree(cipher_suite(vector["cipher_suite"]), POLICY, unhex(vector["tree"]))
    draft = Draft(tree)
    equal([summary.tree_hash.hex() for summary in tree.summaries], vector["tree_hashes"])
    for node, resolution in enumerate(vector["resolutions"]):
        equal(draft.resolution(node), resolution)
        equal(draft.resolution_size(node), len(resolution))
    check_tree(tree, unhex(vector["group_id"]), ())


def check_transcript_hashes(vector: Vector) -> None:
    """Check both transcript hashes over one commit, and its confirmation tag."""
    suite = member_suite(vector["cipher_suite"])
    content = decode(AuthenticatedContent.read, unhex(vector["authenticated_content"]))
    equal(content.encode(), vector["authenticated_content"])
    confirmed = confirmed_transcript_hash(suite.cipher_suite, unhex(vector["interim_transcript_hash_before"]), content)
    equal(confirmed, vector["confirmed_transcript_hash_after"])
    tag = content.auth.confirmation_tag or b""
    equal(
        interim_transcript_hash(suite.cipher_suite, confirmed, tag),
        vector["interim_transcript_hash_after"],
    )
    equal(suite.mac(unhex(vector["confirmation_key"]), confirmed), tag.hex())


def check_key_schedule(vector: Vector) -> None:
    """Derive the secrets of one epoch after another."""
    suite = member_suite(vector["cipher_suite"])
    init_secret = unhex(vector["initial_init_secret"])
    for number, epoch in enumerate(vector["epochs"]):
        context = GroupContext(
            1,
            vector["cipher_suite"],
            unhex(vector["group_id"]),
            number,
            unhex(epoch["tree_hash"]),
            unhex(epoch["confirmed_transcript_hash"]),
            (),
        ).encode()
        equal(context, epoch["group_context"])
        secrets = EpochSecrets.next(
            suite, init_secret, unhex(epoch["commit_secret"]), unhex(epoch["psk_secret"]), context
        )
        for field in dataclasses.fields(secrets):
            equal(getattr(secrets, field.name), epoch[field.name])
        equal(secrets.external_key_pair(suite).public, epoch["external_pub"])
        case = epoch["exporter"]
        exported = secrets.export(suite, case["label"], unhex(case["context"]), case["length"])
        equal(exported, case["secret"])
        init_secret = secrets.init_secret


def check_psk_secret(vector: Vector) -> None:
    """Chain pre-shared keys."""
    suite = member_suite(vector["cipher_suite"])
    psks = [
        (
            PreSharedKeyID(PSKType.EXTERNAL, unhex(psk["psk_id"]), unhex(psk["psk_nonce"])),
            unhex(psk["psk"]),
        )
        for psk in vector["psks"]
    ]
    equal(psk_secret(suite, psks), vector["psk_secret"])


def check_secret_tree(vector: Vector) -> None:
    """Derive sender data keys and every leaf's ratchets."""
    suite = member_suite(vector["cipher_suite"])
    case = vector["sender_data"]
    sample = unhex(case["ciphertext"])[: suite.hash_size]
    secret = unhex(case["sender_data_secret"])
    equal(suite.expand_with_label(secret, "key", sample, suite.key_size), case["key"])
    equal(suite.expand_with_label(secret, "nonce", sample, 12), case["nonce"])
    leaves = vector["leaves"]
    tree = SecretTree(suite, unhex(vector["encryption_secret"]), tree_math.leaf_capacity_for(len(leaves)))
    for leaf_index, generations in enumerate(leaves):
        for generation in generations:
            for kind in ("handshake", "application"):
                ratchet = tree.ratchet(leaf_index, handshake=kind == "handshake")
                key = ratchet.take(generation["generation"])
                equal(key.key, generation[f"{kind}_key"])
                equal(key.nonce, generation[f"{kind}_nonce"])


def check_treekem(vector: Vector) -> None:
    """Merge update paths into a tree, and decrypt their path secrets for every leaf whose keys are given."""
    suite = member_suite(vector["cipher_suite"])
    tree = decode_tree(suite.cipher_suite, POLICY, unhex(vector["ratchet_tree"]))
    members = {}
    for private in vector["leaves_private"]:
        draft, leaf_index = Draft(tree), private["index"]
        leaf = draft.leaf(leaf_index)
        assert leaf is not None
        equal(suite.cipher_suite.signatures.public_key(unhex(private["signature_priv"])), leaf.signature_key.hex())
        keys = {2 * leaf_index: KeyPair(unhex(private["encryption_priv"]), leaf.encryption_key)}
        for known in private["path_secrets"]:
            pair = suite.derive_key_pair(suite.derive_secret(unhex(known["path_secret"]), "node"))
            equal(pair.public, public_key_at(draft, known["node"]).hex())
            keys[known["node"]] = pair
        members[leaf_index] = keys
    for update in vector["update_paths"]:
        _check_update_path(vector, update, tree, members)


def _check_update_path(vector: Vector, update: Vector, tree: PlainTree, members: dict[int, dict[int, KeyPair]]) -> None:
    suite, sender = member_suite(vector["cipher_suite"]), update["sender"]
    path = decode(UpdatePath.read, unhex(update["update_path"]))
    path.leaf_node.verify_signature(suite.cipher_suite, unhex(vector["group_id"]), sender)
    draft = Draft(tree)
    draft.put(2 * sender, path.leaf_node)
    equal(draft.merge_keys(sender, [node.encryption_key for node in path.nodes]), _hex(path.leaf_node.parent_hash))
    equal(draft.tree_hash, update["tree_hash_after"])
    context = GroupContext(
        1,
        vector["cipher_suite"],
        unhex(vector["group_id"]),
        vector["epoch"],
        draft.tree_hash,
        unhex(vector["confirmed_transcript_hash"]),
        (),
    )
    for leaf_index, expected in enumerate(update["path_secrets"]):
        if expected is None or leaf_index not in members:
            continue
        keys = members[leaf_index]
        start, secret = open_path_secret(suite, draft, sender, path, leaf_index, keys, (), context)
        equal(secret, expected)
        equal(climb(suite, draft, sender, start, secret)[1], update["commit_secret"])


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def check_message_protection(vector: Vector) -> None:
    """Open given messages, and protect and open again, in public and in private."""
    suite = member_suite(vector["cipher_suite"])
    context = GroupContext(
        1,
        vector["cipher_suite"],
        unhex(vector["group_id"]),
        vector["epoch"],
        unhex(vector["tree_hash"]),
        unhex(vector["confirmed_transcript_hash"]),
        (),
    )
    membership_key = unhex(vector["membership_key"])
    sender_data_secret = unhex(vector["sender_data_secret"])

    def secret_tree() -> SecretTree:
        return SecretTree(suite, unhex(vector["encryption_secret"]), 2)

    def verify(content: AuthenticatedContent) -> None:
        suite.cipher_suite.verify_with_label(
            unhex(vector["signature_pub"]),
            "FramedContentTBS",
            content.content.to_be_signed(content.wire_format, context),
            content.auth.signature,
            "vector",
        )

    for kind in ("proposal", "commit", "application"):
        expected = vector[kind]
        private = decode_message(unhex(vector[f"{kind}_priv"])).body
        assert isinstance(private, PrivateMessage)
        opened = open_private(suite, sender_data_secret, secret_tree(), private)
        equal(_plain(opened), expected)
        verify(opened)
        framed = FramedContent(
            context.group_id, context.epoch, Sender(SenderType.MEMBER, 1), b"", opened.content.content
        )
        tag = None if kind != "commit" else suite.mac(b"any", b"tag")
        signature_private = unhex(vector["signature_priv"])
        for wire_format in (WireFormat.PRIVATE_MESSAGE, WireFormat.PUBLIC_MESSAGE):
            if wire_format == WireFormat.PUBLIC_MESSAGE and kind == "application":
                continue
            signature = sign_content(suite, signature_private, wire_format, framed, context)
            content = AuthenticatedContent(wire_format, framed, FramedContentAuthData(signature, tag))
            if wire_format == WireFormat.PRIVATE_MESSAGE:
                made = protect_private(suite, sender_data_secret, secret_tree(), content, b"\x01\x02\x03\x04", 7)
                again = open_private(suite, sender_data_secret, secret_tree(), made)
            else:
                sent = protect_public(suite, membership_key, content, context)
                again = open_public(suite, membership_key, sent, context)
            equal(again, content)
            verify(again)
        if kind != "application":
            public = decode_message(unhex(vector[f"{kind}_pub"])).body
            assert isinstance(public, PublicMessage)
            opened = open_public(suite, membership_key, public, context)
            equal(_plain(opened), expected)
            verify(opened)


def _plain(content: AuthenticatedContent) -> bytes:
    body = content.content.content
    return body if isinstance(body, bytes) else framing.encode_content(body)


def check_welcome(vector: Vector) -> None:
    """Open a Welcome as far as the GroupInfo's signature and the confirmation tag."""
    suite = member_suite(vector["cipher_suite"])
    key_package = decode_message(unhex(vector["key_package"])).body
    welcome = decode_message(unhex(vector["welcome"])).body
    assert isinstance(key_package, KeyPackage)
    assert isinstance(welcome, Welcome)
    reference = key_package.reference(suite.cipher_suite)
    (entry,) = [entry for entry in welcome.secrets if entry.new_member == reference]
    opened = suite.decrypt_with_label(
        unhex(vector["init_priv"]), "Welcome", welcome.encrypted_group_info, entry.encrypted_group_secrets
    )
    joiner_secret = decode(GroupSecrets.read, opened).joiner_secret
    keyed = suite.extract(joiner_secret, bytes(suite.hash_size))
    key, nonce = welcome_key_and_nonce(suite, suite.derive_secret(keyed, "welcome"))
    info = decode(GroupInfo.read, suite.open(key, nonce, b"", welcome.encrypted_group_info))
    info.verify_signature(suite.cipher_suite, unhex(vector["signer_pub"]))
    secrets = EpochSecrets.from_joiner_secret(suite, joiner_secret, bytes(suite.hash_size), info.group_context.encode())
    tag = confirmation_tag(suite, secrets, info.group_context.confirmed_transcript_hash)
    equal(tag, info.confirmation_tag.hex())


def check_passive_client(vector: Vector) -> None:
    """Join by a Welcome, start the public group from what was inside, and feed it every message.

    The member's public part is the delivery service's own `PublicGroup`. Each signature covers the
    GroupContext and each epoch authenticator the key schedule over it, so one wrong hash shows at once.
    """
    suite = member_suite(vector["cipher_suite"])
    key_package = decode_message(unhex(vector["key_package"])).body
    welcome = decode_message(unhex(vector["welcome"])).body
    assert isinstance(key_package, KeyPackage)
    assert isinstance(welcome, Welcome)
    leaf = key_package.leaf_node
    equal(suite.cipher_suite.signatures.public_key(unhex(vector["signature_priv"])), leaf.signature_key.hex())
    identity = Identity(suite, leaf.credential, unhex(vector["signature_priv"]), leaf.capabilities)
    pair = KeyPair(unhex(vector["encryption_priv"]), leaf.encryption_key)
    owner = PrivateKeyPackage(identity, key_package, unhex(vector["init_priv"]), pair)
    tree = None if vector["ratchet_tree"] is None else unhex(vector["ratchet_tree"])
    psks = {unhex(psk["psk_id"]): unhex(psk["psk"]) for psk in vector["external_psks"]}
    member = Member.join(owner, welcome, tree, psks, POLICY)
    equal(member.secrets.epoch_authenticator, vector["initial_epoch_authenticator"])
    for epoch in vector["epochs"]:
        for message in [*epoch["proposals"], epoch["commit"]]:
            received = member.receive(decode_message(unhex(message)), NOW)
            assert isinstance(received, Member)
            member = received
        equal(member.secrets.epoch_authenticator, epoch["epoch_authenticator"])


FORMATS: dict[str, tuple[frozenset[str], Callable[[Vector], None]]] = {
    "tree-math": (frozenset({"n_leaves", "n_nodes", "root"}), check_tree_math),
    "crypto-basics": (frozenset({"ref_hash", "expand_with_label", "sign_with_label"}), check_crypto_basics),
    "deserialization": (frozenset({"vlbytes_header", "length"}), check_deserialization),
    "messages": (frozenset({"mls_welcome", "private_message", "commit"}), check_messages),
    "tree-operations": (frozenset({"tree_before", "proposal", "tree_after"}), check_tree_operations),
    "tree-validation": (frozenset({"tree", "tree_hashes", "resolutions"}), check_tree_validation),
    "transcript-hashes": (
        frozenset({"authenticated_content", "confirmation_key"}),
        check_transcript_hashes,
    ),
    "key-schedule": (frozenset({"initial_init_secret", "epochs"}), check_key_schedule),
    "psk_secret": (frozenset({"psks", "psk_secret"}), check_psk_secret),
    "secret-tree": (frozenset({"sender_data", "encryption_secret", "leaves"}), check_secret_tree),
    "treekem": (frozenset({"leaves_private", "update_paths"}), check_treekem),
    "message-protection": (frozenset({"proposal_priv", "commit_pub"}), check_message_protection),
    "welcome": (frozenset({"init_priv", "welcome", "signer_pub"}), check_welcome),
    "passive-client": (
        frozenset({"initial_epoch_authenticator", "external_psks", "epochs"}),
        check_passive_client,
    ),
}
"""Each format with the members that tell it from the others."""


class UnknownFormatError(Exception):
    """A file holds vectors of no format that is known here."""


def checker(entries: object) -> Callable[[Vector], None]:
    """Return the check for a file's entries, by the members of its first."""
    if isinstance(entries, list) and entries and isinstance(entries[0], dict):
        for members, check in FORMATS.values():
            if members <= entries[0].keys():
                return check
    raise UnknownFormatError


@dataclasses.dataclass
class Result:
    """How one file went; `total` is zero if it was not understood."""

    path: Path
    passed: int
    total: int
    failures: list[str]

    @property
    def good(self) -> bool:
        """Say whether every entry passed, and there was one."""
        return self.total > 0 and self.passed == self.total


FAILURES = (CannotFollow, Refusal, AssertionError, BadSignature, KeyError, TypeError, ValueError)
"""What a wrong vector, or wrong code, comes to; anything else stops the run and shows where."""


def run_file(path: Path) -> Result:
    """Run every entry of one file."""
    try:
        entries = json.loads(path.read_bytes())
        check = checker(entries)
    except (UnknownFormatError, ValueError):
        return Result(path, 0, 0, ["not a format that is understood"])
    failures = []
    for number, entry in enumerate(entries):
        try:
            check(entry)
        except FAILURES as failure:
            failures.append(f"entry {number}: {type(failure).__name__}: {failure}")
    return Result(path, len(entries) - len(failures), len(entries), failures)


def run(folder: Path) -> Iterator[Result]:
    """Run every JSON file of a folder; all its other files but notes count as not understood."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix != ".md":
            yield run_file(path)


def main() -> int:
    """Print `passed/total` per file; see the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.vectors", description=__doc__)
    parser.add_argument("folder", type=Path, help="with the JSON files of github.com/mlswg/mls-implementations")
    folder = parser.parse_args().folder
    if not folder.is_dir():
        parser.error(f"{folder} is no folder")
    results = []
    for result in run(folder):
        results.append(result)
        print(f"{result.path.name}: {result.passed}/{result.total}", flush=True)
        for failure in result.failures[:5]:
            print(f"    {failure}")
    return 0 if results and all(result.good for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())

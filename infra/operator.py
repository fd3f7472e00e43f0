"""`python -m infra.operator`: what the operator of a provider (GP) or delivery service (DS) does by hand.

    enrol-ap, show, suspend, resume, rotate-secret, certificates    application providers (draft §7)
    keys, sign-trust-list, load-trust-list, federation-tls          peer GPs (draft §6)
    admit-ds, remove-ds                                             peer DSs of a DS
    rotate-key, retire-key                                          data and signing keys
    rebuild                                                         a fresh routing filter now

The stage is the one whose settings stand in the environment (GLADOS_STAGE, …) or, with `--stage`, in
`.chalice/config.json`; region and credentials are where boto3 looks for them (AWS_DEFAULT_REGION, AWS_PROFILE, …).
With `--run DIR` too, it is that stage of a local run with `--state DIR`, which has all of this with it.
Answers are JSON on standard output; a secret is shown once and kept only as a digest.
"""

import argparse
import dataclasses
import datetime
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from botocore.exceptions import BotoCoreError, ClientError, NoRegionError
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from chalicelib import config
from chalicelib.errors import Refusal
from chalicelib.protocol.base64url import encode_base64url
from chalicelib.protocol.glados.trust import TrustList
from chalicelib.protocol.signed import TYPS, SigningKey, sign
from chalicelib.protocol.timestamps import format_time
from chalicelib.services.accounts.state import SCOPES, Account

CONFIG = Path(__file__).parents[1] / ".chalice" / "config.json"
PURPOSES = ("index", "seal", "code", "mapping-id", *(f"sign:{typ}" for typ in TYPS if typ != "glados-trust-list+jwt"))
TRUST_AUTHORITY = "trust-authority"


def certificate_facts(path: Path) -> tuple[str, int]:
    """Return a certificate's RFC 8705 thumbprint and the moment it expires (ms); raise `ValueError` if it is none."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is no certificate in PEM") from error
    if certificate.not_valid_after_utc <= datetime.datetime.now(datetime.UTC):
        raise ValueError(f"{path} has expired, at {certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}")
    thumbprint = encode_base64url(hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest())
    return thumbprint, int(certificate.not_valid_after_utc.timestamp() * 1000)


def shown(account: Account) -> dict[str, Any]:
    """Return an account as the operator sees it: everything but the digest and the webhook's secrets."""
    facts = {field.name: getattr(account, field.name) for field in dataclasses.fields(account)}
    del facts["secret_tag"]
    facts["created_at"] = format_time(account.created_at)
    facts["certificate_expiry"] = {one: format_time(at) for one, at in account.certificate_expiry}
    facts["webhook"] = account.webhook and {"url": account.webhook.url, "state": account.webhook.state}
    return facts


def enrol(asked: argparse.Namespace) -> dict[str, Any]:
    """Enrol an application provider and show its client secret this once."""
    account, secret = (
        _wiring()
        .enrolment()
        .enrol(
            asked.provider_id,
            asked.name,
            asked.domain,
            review=asked.review,
            certificates=tuple(certificate_facts(path) for path in asked.certificate),
            scopes=tuple(asked.scope) if asked.scope else None,
            sms_regions=tuple(asked.sms_region or ()),
            trusted_bulk=asked.trusted_bulk,
            test_numbers=asked.test_numbers,
            query_rate=asked.query_rate,
            send_rate=asked.send_rate,
        )
    )
    return {**shown(account), "client_secret": secret}


def show(asked: argparse.Namespace) -> dict[str, Any]:
    """Show an account."""
    return shown(_wiring().enrolment().show(asked.provider_id))


def suspend(asked: argparse.Namespace) -> dict[str, Any]:
    """Refuse an account's tokens and requests."""
    return shown(_wiring().enrolment().suspend(asked.provider_id))


def resume(asked: argparse.Namespace) -> dict[str, Any]:
    """Let a suspended account work again."""
    return shown(_wiring().enrolment().resume(asked.provider_id))


def rotate_secret(asked: argparse.Namespace) -> dict[str, Any]:
    """Replace a client secret and show the new one this once."""
    account, secret = _wiring().enrolment().rotate_secret(asked.provider_id)
    return {**shown(account), "client_secret": secret}


def certificates(asked: argparse.Namespace) -> dict[str, Any]:
    """Replace an account's client certificates."""
    facts = tuple(certificate_facts(path) for path in asked.certificate)
    return shown(_wiring().enrolment().set_certificates(asked.provider_id, facts))


def keys(_asked: argparse.Namespace) -> dict[str, Any]:
    """Show the stage's public keys by purpose, for the trust lists of its peers."""
    keys = _wiring().signing_keys()
    return {typ: keys.public_jwks(typ) for typ in TYPS if typ != "glados-trust-list+jwt"}


def sign_trust_list(asked: argparse.Namespace) -> dict[str, Any]:
    """Sign a trust list for one GP; the authority does this, and needs no stage."""
    private = load_pem_private_key(asked.key.read_bytes(), None)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise SystemExit("the authority's key is not a P-256 private key")
    listed = msgspec.json.decode(asked.file.read_bytes(), type=TrustList)
    issued_at = int(time.time())
    claims = {"iss": TRUST_AUTHORITY, "aud": asked.gp, "iat": issued_at, **msgspec.to_builtins(listed)}
    return {"trust_list": sign(SigningKey(asked.kid, private), "glados-trust-list+jwt", claims)}


def load_trust_list(asked: argparse.Namespace) -> dict[str, Any]:
    """Verify a signed trust list and make it the stage's, if its version is higher than the stored one."""
    listed = _provider().peering().admit(asked.file.read_text().strip())
    return {"version": listed.version, "peers": [peer.gp for peer in listed.peers]}


def federation_tls(asked: argparse.Namespace) -> dict[str, Any]:
    """Store the certificate and key with which this stage calls its peers."""
    _wiring().federation_tls().store(
        certificate=asked.certificate.read_text(),
        private_key=asked.key.read_text(),
        authorities=asked.authorities.read_text() if asked.authorities else "",
    )
    thumbprint, expires_at = certificate_facts(asked.certificate)
    return {"x5t#S256": thumbprint, "expires_at": format_time(expires_at)}


def admit_ds(asked: argparse.Namespace) -> dict[str, Any]:
    """Take a delivery service for a peer, or replace its origin and certificates."""
    thumbprints = frozenset(certificate_facts(path)[0] for path in asked.certificate)
    peer = _delivery().peering().admit(asked.domain, asked.origin.rstrip("/"), thumbprints)
    return {"domain": peer.domain, "origin": peer.origin, "thumbprints": sorted(peer.thumbprints)}


def remove_ds(asked: argparse.Namespace) -> dict[str, Any]:
    """Neither take from a delivery service nor send to it any more."""
    _delivery().peering().dismiss(asked.domain)
    return {"domain": asked.domain, "removed": True}


def rotate_key(asked: argparse.Namespace) -> dict[str, Any]:
    """Begin the next epoch of a key; a rebuild moves rows that an index key named."""
    return {"purpose": asked.purpose, "epoch": _wiring().data_keys().rotate(asked.purpose)}


def retire_key(asked: argparse.Namespace) -> dict[str, Any]:
    """End an old epoch of a key for good; what it made can no longer be read."""
    _wiring().data_keys().retire(asked.purpose, asked.epoch)
    return {"purpose": asked.purpose, "retired": asked.epoch}


def rebuild(_asked: argparse.Namespace) -> dict[str, Any]:
    """Begin a rebuild of the routing filter now; the stage's schedules carry it on."""
    _provider().rebuild().step(now_please=True)
    versions = _provider().filter_pointer().load().value.versions
    return {"versions": [{"version": one.version, "state": one.state} for one in versions]}


def _wiring() -> Any:
    """Import the wiring only now: `--stage` has to set the environment first."""
    from chalicelib import wiring  # noqa: PLC0415

    return wiring


def _provider() -> Any:
    from chalicelib.wiring import provider  # noqa: PLC0415

    return provider


def _delivery() -> Any:
    from chalicelib.wiring import delivery  # noqa: PLC0415

    return delivery


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m infra.operator", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stage", help="a stage of .chalice/config.json; without it the environment says")
    parser.add_argument(
        "--run", type=Path, metavar="DIR", dest="folder", help="the --state of a local run of the stage"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], dict[str, Any]]) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=(run.__doc__ or "").strip().splitlines()[0])
        made.set_defaults(run=run)
        return made

    enrolling = command("enrol-ap", enrol)
    enrolling.add_argument("provider_id")
    enrolling.add_argument("--name", required=True, help="as users see it")
    enrolling.add_argument("--domain", required=True, help="the domain of its users' im: URIs")
    enrolling.add_argument("--review", required=True, help="where the evidence of the manual review is kept")
    enrolling.add_argument("--certificate", type=Path, required=True, action="append", help="PEM; may be repeated")
    enrolling.add_argument("--scope", choices=SCOPES, action="append", help="may be repeated; default: all but bulk")
    enrolling.add_argument("--sms-region", action="append", help="ISO 3166 code or *; may be repeated")
    enrolling.add_argument("--trusted-bulk", action="store_true", help="may load mappings without codes")
    enrolling.add_argument("--test-numbers", action="store_true", help="may use never-assigned numbers")
    enrolling.add_argument("--query-rate", type=int, help="queries a second, instead of what its users give")
    enrolling.add_argument("--send-rate", type=int, help="codes a minute, instead of 60")
    for name, run in (("show", show), ("suspend", suspend), ("resume", resume), ("rotate-secret", rotate_secret)):
        command(name, run).add_argument("provider_id")
    replacing = command("certificates", certificates)
    replacing.add_argument("provider_id")
    replacing.add_argument("--certificate", type=Path, required=True, action="append", help="PEM; may be repeated")
    command("keys", keys)
    signing = command("sign-trust-list", sign_trust_list)
    signing.add_argument("file", type=Path, help="the list as JSON")
    signing.add_argument("--key", type=Path, required=True, help="the authority's private key, PEM")
    signing.add_argument("--kid", default=TRUST_AUTHORITY)
    signing.add_argument("--gp", required=True, help="the GP that the list is for")
    command("load-trust-list", load_trust_list).add_argument("file", type=Path, help="the signed list")
    calling = command("federation-tls", federation_tls)
    calling.add_argument("--certificate", type=Path, required=True)
    calling.add_argument("--key", type=Path, required=True)
    calling.add_argument("--authorities", type=Path, help="PEM of authorities to trust beside the public ones")
    admitting = command("admit-ds", admit_ds)
    admitting.add_argument("domain", help="the delivery service's domain, such as us.ds.example")
    admitting.add_argument("--origin", required=True, help="where it serves callers with a client certificate")
    admitting.add_argument("--certificate", type=Path, required=True, action="append", help="PEM; may be repeated")
    command("remove-ds", remove_ds).add_argument("domain")
    command("rotate-key", rotate_key).add_argument("purpose", choices=PURPOSES)
    retiring = command("retire-key", retire_key)
    retiring.add_argument("purpose", choices=PURPOSES)
    retiring.add_argument("epoch", type=int)
    command("rebuild", rebuild)
    return parser


def answer(arguments: Sequence[str]) -> dict[str, Any]:
    """Run one command on the stage of the environment, or of `--stage`, and return what it says."""
    asked = _parser().parse_args(arguments)
    if asked.stage or asked.folder:
        os.environ.update(_environment(asked.stage, asked.folder))
    if asked.run is not sign_trust_list:
        try:
            config.read()
        except KeyError as missing:
            hint = "name a stage with --stage, or set it"
            raise NoSuchStage(f"the environment lacks {missing.args[0]}; {hint}") from missing
        except LookupError as wrong:
            raise NoSuchStage(str(wrong)) from wrong
    said: dict[str, Any] = asked.run(asked)
    return said


def _environment(stage: str | None, folder: Path | None) -> dict[str, str]:
    """Return the settings of a stage of the project, or of a local run."""
    if folder is None:
        where, settings = CONFIG, json.loads(CONFIG.read_text())["stages"]
        found = {name: said["environment_variables"] for name, said in settings.items()}
    else:
        where, ending = folder, ".settings.json"
        files = {path.name.removesuffix(ending): path for path in sorted(folder.glob(f"*{ending}"))}
        found = {name: json.loads(path.read_text())["environment"] for name, path in files.items()}
    if stage not in found:
        has = f"it has: {', '.join(found)}" if found else "it has none"
        raise NoSuchStage(f"{where} has no stage {stage}; {has}" if stage else f"name a stage of {where}; {has}")
    environment: dict[str, str] = found[stage]
    return environment


class NoSuchStage(Exception):
    """The settings of the stage are not there, or are not right."""


def main() -> int:
    """Run one command; a refusal is told on standard error with exit status 1."""
    try:
        said = answer(sys.argv[1:])
    except NoSuchStage as error:
        print(error, file=sys.stderr)
        return 2
    except NoRegionError:
        print("the environment names no AWS region; set AWS_DEFAULT_REGION", file=sys.stderr)
        return 2
    except Refusal as refusal:
        print(f"refused: {refusal}", file=sys.stderr)
        return 1
    except (OSError, ValueError, LookupError, BotoCoreError, ClientError) as error:
        # A file that is not there or not what it should be, a key that cannot be retired, AWS that says no.
        print(f"failed: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(said, indent=2, ensure_ascii=False, default=str))
    return 0


if __name__ == "__main__":
    sys.exit(main())

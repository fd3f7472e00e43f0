"""`python -m infra.local` from outside: what a script can do that has `endpoints.json` and the standard library."""

import contextlib
import hashlib
import itertools
import json
import os
import re
import select
import signal
import ssl
import subprocess
import sys
import urllib.error
from pathlib import Path
from typing import Any

import jwt
import pytest

from infra.local.authority import Authority
from tests.infra.conftest import REPOSITORY, STOP_SECONDS, Run
from tests.infra.outsider import SECONDS, Answer, Outsider, position, send, wait_for

STORY_SECONDS = 1_200

_numbers = itertools.count()


@pytest.fixture
def number() -> str:
    """A mobile number that no other test uses."""
    return f"tel:+49151234{next(_numbers):05d}"


def problem(answer: Answer, status: int, slug: str) -> dict[str, Any]:
    document: dict[str, Any] = answer.json
    assert (answer.status, document["type"]) == (status, f"urn:glados:problem:{slug}"), document
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == document["request_id"]
    return document


def settled(world: Outsider) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    """Wait until the filter of eu holds all that was registered there, and return it."""

    def look() -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]] | None:
        manifest, head, deltas = world.filter()
        expected = {position(sii, manifest) for sii in world.registered["eu"]}
        return (manifest, head, deltas) if head["bits_set"] == len(expected) else None

    return wait_for("the filter holding every number", look)


def told_after(world: Outsider, seq: int) -> list[dict[str, Any]]:
    """Return what the observer was notified of that is newer."""
    bodies = [json.loads(one["body"]) for one in world.received("notifications", gp="observer")]
    return [body for body in bodies if body["seq"] > seq]


def test_anybody_reads_who_they_are_and_what_they_serve(world: Outsider) -> None:
    for gp in ("eu", "us"):
        described = world.public("/.well-known/glados", gp).json
        assert (described["gp"], described["issuer"]) == (gp, world.said["gps"][gp]["url"])
        assert world.public("/.well-known/jwks.json", gp).json["keys"]
        assert "/v1/queries" in world.public("/openapi.json", gp).json["paths"]


def test_the_endpoints_file_is_for_its_owner_only_and_says_what_the_contract_says(world: Outsider) -> None:
    assert set(world.said) == {"ca", "emulator", "inbox", "gps", "ds", "aps", "peers"}
    assert {name: ap["gp"] for name, ap in world.said["aps"].items()} == {
        "alpha": "eu", "beta": "eu", "gamma": "us", "delta": "eu",
    }  # fmt: skip
    assert [name for name, ap in world.said["aps"].items() if ap["trusted_bulk"]] == ["delta"]
    assert {name: ds["domain"] for name, ds in world.said["ds"].items()} == {
        "eu": "eu.ds.example", "us": "us.ds.example",
    }  # fmt: skip
    assert Path(world.said["aps"]["alpha"]["key"]).stat().st_mode & 0o077 == 0


def test_each_provider_is_known_at_its_regions_delivery_service_and_at_no_other(world: Outsider) -> None:
    for ap in world.said["aps"].values():
        granted = {name: world.ds_token(ap, name) for name in world.said["ds"]}
        assert {name: answer.status for name, answer in granted.items()} == {
            name: 200 if name == ap["gp"] else 401 for name in granted
        }
        assert granted[ap["gp"]].json["scope"] == "delivery"


def test_the_delivery_services_let_each_other_in_and_nobody_else(world: Outsider) -> None:
    folder = Path(world.said["ca"]).parent
    own = {name: {"cert": folder / f"ds-{name}.pem", "key": folder / f"ds-{name}.key"} for name in world.said["ds"]}
    others = {"alpha": world.said["aps"]["alpha"], "observer": world.said["peers"]["observer"]}

    def enqueue(ds: str, who: dict[str, Any]) -> Answer:
        url = world.said["ds"][ds]["url"] + "/qs/v1/enqueue"
        return send("POST", url, world.context(who), b"", Content_Type="application/mimi-ds-fanout")

    for ds, peer in (("eu", "us"), ("us", "eu")):
        problem(enqueue(ds, own[peer]), 422, "invalid-value")  # It is let in, and says nothing.
        for stranger in (own[ds], *others.values()):
            problem(enqueue(ds, stranger), 401, "unknown-certificate")


def test_anybody_reads_what_a_delivery_service_serves(world: Outsider) -> None:
    for ds in world.said["ds"].values():
        document = send("GET", ds["public_url"] + "/openapi.json", world.context()).json
        assert [one["url"] for one in document["servers"]] == [ds["url"], ds["public_url"]]
        assert "/v1/queries" not in document["paths"]
        (key,) = send("GET", ds["public_url"] + "/.well-known/jwks.json", world.context()).json["keys"]
        assert "d" not in key
    refused = send("POST", world.said["ds"]["eu"]["public_url"] + "/oauth2/token", world.context(), b"")
    assert (refused.status, refused.json["error"]) == (400, "invalid_request")


def test_without_a_certificate_of_theirs_there_is_no_way_in(world: Outsider, tmp_path: Path) -> None:
    problem(world.public("/v1/account"), 401, "client-certificate-required")
    token = f"Bearer {world.token('alpha')}"
    for path in ("/v1/queries", "/federation/v1/queries"):
        problem(world.public(path, method="POST", body={}, Authorization=token), 401, "client-certificate-required")
    foreign = Authority(tmp_path).issue_client("alpha")
    shown = world.context({"cert": foreign.cert, "key": foreign.key})
    for context in (world.context(), shown):
        # TLS 1.3 refuses a client after its handshake, so its first read fails, not always as an SSL error.
        with pytest.raises((urllib.error.URLError, ssl.SSLError, ConnectionError)):
            send("GET", world.said["gps"]["eu"]["url"] + "/.well-known/glados", context)


def test_tokens_and_certificates_go_together(world: Outsider) -> None:
    url = world.said["gps"]["eu"]["url"]
    token = f"Bearer {world.token('alpha')}"
    beta, observer = world.context(world.said["aps"]["beta"]), world.context(world.said["peers"]["observer"])
    problem(send("GET", f"{url}/v1/account", beta, Authorization=token), 401, "invalid-token")
    problem(send("GET", f"{url}/v1/account", observer, Authorization=token), 401, "invalid-token")
    problem(send("GET", f"{url}/v1/account", beta), 401, "token-required")
    problem(send("GET", f"{url}/federation/v1/filter", beta), 401, "unknown-certificate")
    elsewhere = send("GET", world.said["gps"]["us"]["url"] + "/v1/account", beta, Authorization=token)
    problem(elsewhere, 401, "invalid-token")


def test_the_gateways_own_refusals_look_like_the_others(world: Outsider) -> None:
    problem(world.ap("alpha", "GET", "/v1/nothing"), 404, "not-found")
    answer = world.ap("alpha", "PATCH", "/v1/webhook", {})
    problem(answer, 405, "method-not-allowed")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "PUT", "DELETE"}
    problem(world.ap("alpha", "POST", "/v1/queries", b"{" + b" " * 70_000), 413, "body-too-large")
    problem(world.ap("alpha", "POST", "/v1/queries", b"{"), 400, "malformed-body")
    problem(world.ap("alpha", "POST", "/v1/queries", {"sii": "tel:+1800FLOWERS"}), 422, "invalid-identifier")


def test_a_user_is_registered_found_abroad_taken_over_removed_and_restored(world: Outsider, number: str) -> None:
    made = world.register("alpha", number, "alice")
    assert (made["prior"], made["prior_complete"], made["mapping"]["ssi"]) == ([], True, "im:alice@alpha.example")
    asked = {"sii": number}
    found = wait_for("gamma finding alice", lambda: _found(world.ap("gamma", "POST", "/v1/queries", asked)))
    assert found["consulted"] == [{"gp": "eu", "outcome": "answered"}]
    assert not {"mapping_id", "state"} & set(found["mapping"])

    taken = world.register("beta", number, "alice.b", nth=2)
    assert taken["prior"] == [{"provider_id": "alpha", "provider_name": "Alpha", "gp": "eu"}]
    choice = {"sii": number, "user_id": "alice.b", "choice": "replace"}
    chosen = world.ap("beta", "POST", "/v1/preferences", choice, **{"Idempotency-Key": number})
    assert (chosen.status, chosen.json["pending"]) == (200, []), chosen
    again = world.ap("beta", "POST", "/v1/preferences", choice, **{"Idempotency-Key": number})
    assert again.json == chosen.json, "a repeat is no second choice"
    another = world.ap("beta", "POST", "/v1/preferences", {**choice, "choice": "prefer"})
    problem(another, 409, "verification-required")
    told = wait_for("alpha's webhook", lambda: world.webhooks("alpha", "mapping.superseded"))[-1]
    assert told["data"]["by"] == {"provider_id": "beta", "provider_name": "Beta", "gp": "eu"}
    assert told["data"]["mapping_id"] == made["mapping"]["mapping_id"]
    assert number.partition(":")[2] not in json.dumps(told)
    for asker in ("alpha", "gamma"):
        assert world.ap(asker, "POST", "/v1/queries", asked).json["mapping"]["provider_id"] == "beta"

    own = f"/v1/mappings/{taken['mapping']['mapping_id']}"
    assert world.ap("beta", "GET", own).json["state"] == "active"
    problem(world.ap("alpha", "GET", own), 404, "not-found")
    assert world.ap("beta", "DELETE", own).json["state"] == "removed"
    assert world.ap("gamma", "POST", "/v1/queries", asked).json["found"] is False
    problem(world.ap("beta", "POST", f"{own}/restore", {}), 409, "verification-required")
    restored = world.ap("alpha", "POST", f"/v1/mappings/{made['mapping']['mapping_id']}/restore", {})
    assert (restored.status, restored.json["state"]) == (200, "active"), restored
    listed = world.ap("alpha", "POST", "/v1/mappings/search", asked).json["mappings"]
    assert [one["state"] for one in listed] == ["active"]


def test_a_mailbox_gets_its_code_by_mail(world: Outsider) -> None:
    address = "mailto:bob@mail.example"
    assert world.register("alpha", address, "bob")["mapping"]["source"] == "verified"
    assert [one["channel"] for one in world.received("messages", to="bob@mail.example")] == ["email"]


def test_a_verification_is_shown_resent_repeated_and_cancelled(world: Outsider, number: str) -> None:
    body = {"sii": number, "user_id": "bob"}
    opened, again = (
        world.ap("alpha", "POST", "/v1/verifications", body, Idempotency_Key=f"open {number}") for _ in range(2)
    )
    assert (opened.status, again.body) == (201, opened.body)
    assert len(world.received("messages", to=number[4:])) == 1
    other = world.ap("alpha", "POST", "/v1/verifications", {**body, "user_id": "x"}, Idempotency_Key=f"open {number}")
    problem(other, 409, "idempotency-key-reused")
    path = opened.headers["location"]
    assert world.ap("alpha", "GET", path).json["state"] == "pending"
    problem(world.ap("beta", "GET", path), 404, "not-found")
    early = world.ap("alpha", "POST", f"{path}/resend", {})
    assert problem(early, 429, "too-many-requests")["limit"] == "send-delay"
    assert 1 <= int(early.headers["retry-after"]) <= 30
    assert world.ap("alpha", "DELETE", path).status == 204
    code = {"user_id": "bob", "code": world.code(number)}
    assert problem(world.ap("alpha", "POST", f"{path}/code", code), 410, "verification-ended")["state"] == "cancelled"


def test_wrong_codes_are_counted_and_then_no_code_is_right(world: Outsider, number: str) -> None:
    path = world.ap("alpha", "POST", "/v1/verifications", {"sii": number, "user_id": "bob"}).headers["location"]
    right = world.code(number)
    wrong = {"user_id": "bob", "code": f"{(int(right) + 1) % 1_000_000:06d}"}
    left = [problem(world.ap("alpha", "POST", f"{path}/code", wrong), 422, "wrong-code") for _ in range(4)]
    assert [one["attempts_left"] for one in left] == [4, 3, 2, 1]
    for code in (wrong, {"user_id": "bob", "code": right}):
        problem(world.ap("alpha", "POST", f"{path}/code", code), 410, "verification-ended")


def test_nobody_is_asked_for_a_number_that_nobody_has(world: Outsider, number: str) -> None:
    answer = world.ap("gamma", "POST", "/v1/queries", {"sii": number})
    assert answer.json == {"found": False, "mapping": None, "consulted": [], "complete": True}
    assert answer.headers["ratelimit-policy"].startswith('"queries";q=')


def test_a_webhook_is_tested_sent_again_rotated_and_replaced(world: Outsider) -> None:
    sent = world.ap("delta", "POST", "/v1/webhook/test", {})
    assert sent.status == 202
    identity = sent.json["id"]

    def deliveries() -> list[Any]:
        return [one for one in world.webhooks("delta", "webhook.test") if one["id"] == identity]

    wait_for("the test event", deliveries)
    assert world.ap("delta", "POST", f"/v1/events/{identity}/redeliver", {}).status == 202
    wait_for("the same event again", lambda: deliveries()[1:])
    page = world.ap("delta", "GET", "/v1/events").json
    assert set(page) == {"events", "next"}
    assert identity not in [one["id"] for one in page["events"]], "the last minute is withheld"
    problem(world.ap("delta", "GET", "/v1/events?after=x"), 422, "invalid-value")

    health = wait_for("the webhook's health", lambda: _healthy(world.ap("delta", "GET", "/v1/webhook").json))
    assert (health["url"], health["state"]) == (world.said["aps"]["delta"]["webhook"], "enabled")
    rotated = world.ap("delta", "POST", "/v1/webhook/rotate", {}).json
    assert rotated["secret"].startswith("whsec_")
    assert rotated["secret"] != world.said["aps"]["delta"]["webhook_secret"]
    old_still_signs = world.ap("delta", "POST", "/v1/webhook/test", {}).json["id"]
    wait_for("both", lambda: [one for one in world.webhooks("delta", "webhook.test") if one["id"] == old_still_signs])

    moved = health["url"] + "-moved"
    assert world.ap("delta", "PUT", "/v1/webhook", {"url": moved}).json["url"] == moved
    wait_for("the old endpoint being told", lambda: world.webhooks("delta", "webhook.changed"))
    assert world.ap("delta", "DELETE", "/v1/webhook").status == 204
    problem(world.ap("delta", "GET", "/v1/webhook"), 404, "not-found")
    for inside in ("https://169.254.169.254/x", "http://127.0.0.1/x", "https://127.0.0.1:1/x", "https://[::1]/x"):
        problem(world.ap("delta", "PUT", "/v1/webhook", {"url": inside}), 422, "invalid-value")


def test_an_account_is_shown_to_its_owner(world: Outsider) -> None:
    shown = world.ap("alpha", "GET", "/v1/account").json
    assert (shown["provider_id"], shown["status"]) == ("alpha", "active")
    assert shown["webhook"]["url"] == world.said["aps"]["alpha"]["webhook"]
    assert shown["certificates"]


def test_a_peer_asks_for_what_is_held_here_and_learns_no_ids(world: Outsider, number: str) -> None:
    world.register("alpha", number, "bob")
    body = {"sii": number, "asker": "somebody"}
    (mapping,) = world.peer("POST", "/federation/v1/queries", body).json["mappings"]
    assert (mapping["ssi"], mapping["gp"]) == ("im:bob@alpha.example", "eu")
    assert not {"mapping_id", "state"} & set(mapping)
    assert world.peer("POST", "/federation/v1/queries", body, gp="us").json == {"mappings": []}


def test_a_filter_is_what_its_signed_manifest_says(world: Outsider) -> None:
    settled(world)
    answer = world.peer("GET", "/federation/v1/filter").json
    keys = {one["kid"]: one for one in world.public("/.well-known/jwks.json").json["keys"]}
    for name, typ in (("manifest", "glados-filter+jwt"), ("head", "glados-head+jwt")):
        header = jwt.get_unverified_header(answer[name])
        assert (header["typ"], header["alg"]) == (typ, "ES256")
        jwt.decode(answer[name], jwt.PyJWK(keys[header["kid"]]).key, ["ES256"], options={"verify_aud": False})
    manifest, head, deltas = world.filter()
    assert (manifest["gp"], manifest["k"], manifest["salt"], manifest["hash"]) == ("eu", 1, "", "sha-256")
    assert manifest["version"] == head["version"]
    base = f"/federation/v1/filter/{manifest['version']}"
    for form in ("raw", "rice"):
        got = world.peer("GET", f"{base}/{form}")
        assert got.status == 200
        assert "immutable" in got.headers["cache-control"]
        assert (len(got.body), hashlib.sha256(got.body).hexdigest()) == tuple(manifest[form].values())
    raw = world.peer("GET", f"{base}/raw").body
    assert len(raw) == 2 ** manifest["n"] // 8
    assert sum(byte.bit_count() for byte in raw) == manifest["bits_set"]
    for ref in deltas:
        got = world.peer("GET", f"{base}/deltas/{ref['from']}-{ref['to']}")
        assert (len(got.body), hashlib.sha256(got.body).hexdigest()) == (ref["bytes"], ref["sha256"])
    problem(world.peer("GET", f"{base}/deltas/{head['seq'] + 1}-{head['seq'] + 1}"), 404, "not-found")
    problem(world.peer("GET", f"{base}/deltas/x"), 404, "not-found")
    for form in ("raw", "rice", "deltas/1-1"):
        problem(world.peer("GET", f"/federation/v1/filter/999/{form}"), 410, "filter-version-gone")


def test_a_subscriber_is_told_of_exactly_the_new_bit(world: Outsider, number: str) -> None:
    world.register("alpha", f"{number[:-1]}9", "bob")
    manifest, head, deltas = settled(world)
    expected = sorted({position(sii, manifest) for sii in world.registered["eu"]})
    callback = world.said["peers"]["observer"]["callback"]
    asked = {"version": manifest["version"], "callback": callback}

    since = world.peer("POST", "/federation/v1/subscriptions", {**asked, "since": manifest["created_at"]})
    assert (since.status, since.json["seq"], since.json["bits"]) == (201, head["seq"], expected)
    newest = world.peer("POST", "/federation/v1/subscriptions", {**asked, "since": deltas[-1]["at"]}).json
    assert len(newest["bits"]) == deltas[-1]["bits"], "since includes its own moment"
    after = world.peer("POST", "/federation/v1/subscriptions", {**asked, "after": head["seq"]}).json
    assert (after["bits"], after["seq"]) == ([], head["seq"])
    everything = world.peer("POST", "/federation/v1/subscriptions", {**asked, "after": 0}).json
    assert everything["bits"] == expected

    world.register("beta", number, "alice")
    # What came before may still be told again: nobody has acknowledged it.
    told = wait_for("the notification", lambda: told_after(world, head["seq"]))[0]
    assert (told["gp"], told["version"], told["seq"]) == ("eu", manifest["version"], head["seq"] + 1)
    assert told["bits"] == [position(number, manifest)]
    assert world.filter()[1]["seq"] == told["seq"]

    gone = f"/federation/v1/subscriptions/{after['subscription_id']}"
    assert [world.peer("DELETE", gone).status for _ in range(2)] == [204, 204]
    world.register("beta", f"{number[:-1]}8", "alice")
    assert settled(world)[1]["seq"] > told["seq"]
    assert told_after(world, told["seq"]) == []


def test_a_subscription_that_cannot_be_is_refused(world: Outsider) -> None:
    manifest, head, _ = world.filter()
    callback = world.said["peers"]["observer"]["callback"]
    good = {"version": manifest["version"], "callback": callback, "after": head["seq"]}
    path = "/federation/v1/subscriptions"
    problem(world.peer("POST", path, {**good, "version": 999}), 410, "filter-version-gone")
    problem(world.peer("POST", path, {**good, "callback": "https://elsewhere.example/x"}), 422, "invalid-value")
    problem(world.peer("POST", path, {**good, "since": head["at"]}), 422, "invalid-value")
    del good["after"]
    problem(world.peer("POST", path, good), 422, "invalid-value")


def test_a_notification_and_a_claim_need_a_signature_that_is_pinned(world: Outsider) -> None:
    _, head, _ = world.filter()
    stolen = world.peer("GET", "/federation/v1/filter").json["head"]
    body = {"gp": "observer", "version": 1, "seq": head["seq"] + 1, "at": head["at"], "head": stolen, "bits": [1]}
    for gp in ("observer", "eu"):
        assert world.peer("POST", "/federation/v1/notifications", {**body, "gp": gp}).status in (403, 422)
    assert world.peer("POST", "/federation/v1/claims", {"claim": stolen}).status == 422


def test_sigterm_ends_it_and_no_child_remains(run: Run) -> None:
    children = descendants(run.process.pid)
    assert len(children) >= 5, "the emulated AWS, two providers and two delivery services"
    run.process.send_signal(signal.SIGTERM)
    assert run.process.wait(STOP_SECONDS) == 0
    for handle in children:
        assert select.select([handle], [], [], SECONDS)[0], "a child lives on"
        os.close(handle)
    assert re.findall("stopping|stopped", run.said.read_text()) == ["stopping", "stopped"], (
        "so that nobody waits in doubt"
    )


def descendants(pid: int) -> list[int]:
    """Return a handle on each process below one, which tells when it ends and cannot become another's."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # It ended while we looked.
            for child in map(int, (task / "children").read_text().split()):
                found += [os.pidfd_open(child), *descendants(child)]
    return found


@pytest.mark.timeout(STORY_SECONDS)
def test_the_whole_story_holds() -> None:
    command = [sys.executable, "-m", "infra.local"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-4_000:]
    assert "every step held" in done.stdout
    registered = re.search(r"(\d+) numbers, one for each country or territory, registered", done.stdout)
    assert registered is not None
    assert int(registered[1]) >= 230
    assert f"{registered[1]} of them found from the other region" in done.stdout
    assert re.search(r"the filters saved \d+ of \d+ remote queries", done.stdout)
    assert "each said 5,000,000 bytes, by upload and reference, and all heard" in done.stdout
    assert "a rine client removed one of 1000" in done.stdout
    assert re.search(r"latecomer \(us\) was added with a Welcome of \d{3},\d{3} bytes", done.stdout)


def test_without_the_clients_of_the_story_it_says_so_and_fails_at_once(tmp_path: Path) -> None:
    (tmp_path / "rine_mls.py").write_text("raise ImportError('not here', name='rine_mls')\n")
    command = [sys.executable, "-m", "infra.local"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "the story needs MLS clients, and rine_mls is not installed" in done.stdout
    assert "starting" not in done.stdout


def _found(answer: Answer) -> dict[str, Any] | None:
    content: dict[str, Any] = answer.json
    return content if content["found"] else None


def _healthy(health: dict[str, Any]) -> dict[str, Any] | None:
    return health if health["last_success_at"] else None

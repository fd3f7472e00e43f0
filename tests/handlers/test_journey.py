"""The provider's main job, from enrolment to restoration, through the doors alone."""

from chalicelib.wiring import provider
from tests.fakes.clock import SettableClock
from tests.handlers.conftest import code_in, register, texts
from tests.handlers.edge import Ap

SEND_DELAY = 30_000
WITHHELD = 60_000


def test_a_user_is_registered_found_taken_over_and_restored(
    alpha: Ap, beta: Ap, number: str, clock: SettableClock
) -> None:
    nobody = beta.call("POST", "/v1/queries", {"sii": number}).json
    assert nobody == {"found": False, "mapping": None, "consulted": [], "complete": True}

    made = register(alpha, number, "alice")
    assert (made["prior"], made["prior_complete"]) == ([], True)
    mapping = made["mapping"]
    assert (mapping["ssi"], mapping["state"]) == ("im:alice@alpha.example", "active")
    assert mapping["preferred_at"] == mapping["registered_at"], "a first verified mapping is chosen by itself"

    found = beta.call("POST", "/v1/queries", {"sii": number}).json["mapping"]
    assert found == {name: mapping[name] for name in mapping if name not in ("mapping_id", "state")}

    alpha.call("PUT", "/v1/webhook", {"url": "https://alpha.example/hook"})
    clock.advance(SEND_DELAY)
    taken = register(beta, number, "alice.b")
    assert taken["prior"] == [{"provider_id": "alpha", "provider_name": "Alpha", "gp": "eu"}]
    chosen = beta.call("POST", "/v1/preferences", {"sii": number, "user_id": "alice.b", "choice": "replace"}).json
    assert (chosen["choice"], chosen["pending"]) == ("replace", [])
    assert alpha.call("POST", "/v1/queries", {"sii": number}).json["mapping"]["provider_id"] == "beta"
    assert alpha.call("GET", f"/v1/mappings/{mapping['mapping_id']}").json["state"] == "superseded"

    clock.advance(WITHHELD + 1)
    told = [event for event in alpha.call("GET", "/v1/events").json["events"] if event["type"] == "mapping.superseded"]
    assert told[-1]["data"]["by"] == {"provider_id": "beta", "provider_name": "Beta", "gp": "eu"}
    assert told[-1]["data"]["mapping_id"] == mapping["mapping_id"]
    due = provider.dispatch().outbox.due(clock(), 100)
    assert any(told[-1]["id"] in outbox_id for outbox_id in due), "the webhook waits in the outbox"

    again = beta.call("POST", "/v1/preferences", {"sii": number, "user_id": "alice.b", "choice": "prefer"})
    again.problem(409, "verification-required")
    restored = alpha.call("POST", f"/v1/mappings/{mapping['mapping_id']}/restore", {})
    assert (restored.status, restored.json["state"]) == (200, "active"), restored
    assert beta.call("POST", "/v1/queries", {"sii": number}).json["mapping"]["provider_id"] == "alpha"


def test_a_removed_mapping_is_found_no_more_and_only_by_its_provider(alpha: Ap, beta: Ap, number: str) -> None:
    mapping = register(alpha, number, "bob")["mapping"]
    removed = alpha.call("DELETE", f"/v1/mappings/{mapping['mapping_id']}")
    assert (removed.status, removed.json["state"]) == (200, "removed")
    assert beta.call("POST", "/v1/queries", {"sii": number}).json["found"] is False
    listed = alpha.call("POST", "/v1/mappings/search", {"sii": number}).json["mappings"]
    assert [one["state"] for one in listed] == ["removed"]
    assert beta.call("POST", "/v1/mappings/search", {"sii": number}).json["mappings"] == []


def test_five_wrong_codes_end_a_verification_for_the_right_one_too(alpha: Ap, number: str) -> None:
    opened = alpha.call("POST", "/v1/verifications", {"sii": number, "user_id": "bob"})
    path = f"{opened.headers['location']}/code"
    right = code_in(texts(number)[-1])
    wrong = {"user_id": "bob", "code": f"{(int(right) + 1) % 1_000_000:06d}"}
    left = [alpha.call("POST", path, wrong).problem(422, "wrong-code")["attempts_left"] for _ in range(4)]
    assert left == [4, 3, 2, 1]
    alpha.call("POST", path, wrong).problem(410, "verification-ended")
    late = alpha.call("POST", path, {"user_id": "bob", "code": right}).problem(410, "verification-ended")
    assert late["state"] == "locked"
    assert alpha.call("POST", "/v1/queries", {"sii": number}).json["found"] is False


def test_a_cancelled_verification_takes_no_code(alpha: Ap, number: str) -> None:
    opened = alpha.call("POST", "/v1/verifications", {"sii": number, "user_id": "bob"})
    path = opened.headers["location"]
    shown = alpha.call("GET", path).json
    assert (shown["state"], shown["delivery"]["state"], shown["attempts_left"]) == ("pending", "sent", 5)
    gone = alpha.call("DELETE", path)
    assert (gone.status, gone.body) == (204, b"")
    code = {"user_id": "bob", "code": code_in(texts(number)[-1])}
    assert alpha.call("POST", f"{path}/code", code).problem(410, "verification-ended")["state"] == "cancelled"


def test_the_same_code_is_sent_again_after_the_delay(alpha: Ap, number: str, clock: SettableClock) -> None:
    opened = alpha.call("POST", "/v1/verifications", {"sii": number, "user_id": "bob"})
    path = f"{opened.headers['location']}/resend"
    early = alpha.call("POST", path)
    assert early.problem(429, "too-many-requests")["limit"] == "send-delay"
    assert early.headers["retry-after"] == "30"
    clock.advance(SEND_DELAY)
    assert alpha.call("POST", path).status == 200
    first, second = texts(number)
    assert first == second

"""The story that `python -m infra.local` tells: registration, discovery, take-over, refusal, and every region's number.

Each step is checked; one that does not hold raises `StoryFailed`, and the run ends with another status than 0.
"""

import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import phonenumbers

from chalicelib.client import ApClient, ApiProblem, verify_webhook
from infra.local.federation import Federation, wait_for
from infra.local.progress import Progress

ALICE = "tel:+447400123456"
UNKNOWN = "tel:+447400999999"
THREADS = 8


class StoryFailed(Exception):
    """A step of the story did not hold."""


def expect(*, holds: bool, what: str) -> None:
    """Raise `StoryFailed` unless the step holds."""
    if not holds:
        raise StoryFailed(what)


class Story:
    """Tells and checks the story on a running federation."""

    def __init__(self, federation: Federation, say: Callable[[str], None]) -> None:
        self.federation = federation
        self.say = say
        self.alpha, self.beta = federation.clients["alpha"], federation.clients["beta"]
        self.gamma, self.delta = federation.clients["gamma"], federation.clients["delta"]

    def tell(self) -> None:
        """Tell it all."""
        self.registration()
        self.discovery()
        self.take_over()
        self.across_regions()
        self.wrong_codes()
        self.nobody()
        self.every_region()

    def registration(self) -> None:
        """Alpha (eu) registers a user by SMS code."""
        began = time.monotonic()
        made = self.register(self.alpha, ALICE, "alice")
        expect(holds=made["mapping"]["ssi"] == "im:alice@alpha.example", what="alpha's mapping leads to alice at alpha")
        expect(holds=made["prior"] == [] and made["prior_complete"], what="nobody held alice's number before")
        self.say(f"alpha (eu) registered alice's number by SMS code            {_ms(began)}")

    def discovery(self) -> None:
        """Gamma (us) finds that user across the federation."""
        began = time.monotonic()
        found = wait_for("gamma finding alice", lambda: _found(self.gamma.query(ALICE)))
        expect(holds=found["mapping"]["provider_id"] == "alpha", what="gamma is led to alpha")
        expect(holds=found["consulted"] == [{"gp": "eu", "outcome": "answered"}], what="us asked eu, and only eu")
        self.say(f"gamma (us) found alice at {found['mapping']['ssi']} through eu's filter  {_ms(began)}")

    def take_over(self) -> None:
        """Beta (eu) takes the user over, and alpha's webhook says so."""
        began = time.monotonic()
        made = self.register(self.beta, ALICE, "alice.b")
        expect(holds=[one["provider_id"] for one in made["prior"]] == ["alpha"], what="beta is told that alpha held it")
        chosen = self.beta.choose(ALICE, "alice.b", "replace")
        expect(holds=chosen["pending"] == [], what="no peer was left unasked")
        told = wait_for("alpha's webhook", lambda: self.webhook("alpha", "mapping.superseded"))
        expect(holds=told["data"]["by"]["provider_id"] == "beta", what="alpha's webhook names beta")
        expect(holds="447400" not in json.dumps(told), what="the webhook does not hold the number")
        again = self.gamma.query(ALICE)
        expect(holds=again["mapping"]["provider_id"] == "beta", what="gamma is now led to beta")
        self.say(f"beta (eu) took alice over; alpha's signed webhook said so    {_ms(began)}")

    def across_regions(self) -> None:
        """Gamma (us) takes the user over from beta (eu): the claim crosses the border."""
        began = time.monotonic()
        made = self.register(self.gamma, ALICE, "alice.g")
        expect(holds=[one["gp"] for one in made["prior"]] == ["eu"], what="gamma is told that eu holds it")
        self.gamma.choose(ALICE, "alice.g", "replace")
        told = wait_for("beta's webhook", lambda: self.webhook("beta", "mapping.superseded"))
        expect(
            holds=told["data"]["by"] == {"provider_id": "gamma", "provider_name": "Gamma", "gp": "us"}, what="by gamma"
        )
        wait_for("both regions agreeing", lambda: self._answered(ALICE) == {"gamma"})
        self.say(f"gamma (us) took alice over from beta (eu); both regions agree {_ms(began)}")

    def wrong_codes(self) -> None:
        """A wrong code is refused, and after five the right one too."""
        began = time.monotonic()
        number = "tel:+447400123457"
        opened = self.alpha.open_verification(number, "bob")
        right = self.code(number, 1)
        wrong = f"{(int(right) + 1) % 1_000_000:06d}"
        left = []
        for _ in range(4):
            problem = _refusal(lambda: self.alpha.enter_code(opened["verification_id"], "bob", wrong))
            expect(holds=problem.status == 422, what="a wrong code is refused with 422")
            left.append(problem.problem["attempts_left"])
        expect(holds=left == [4, 3, 2, 1], what="each refusal says how many attempts are left")
        fifth = _refusal(lambda: self.alpha.enter_code(opened["verification_id"], "bob", wrong))
        late = _refusal(lambda: self.alpha.enter_code(opened["verification_id"], "bob", right))
        expect(holds=fifth.status == late.status == 410, what="after five wrong codes none is taken, nor the right one")
        self.say(f"five wrong codes for bob were refused, then the right one too {_ms(began)}")

    def nobody(self) -> None:
        """An unknown number is answered "not found" without any peer being asked."""
        began = time.monotonic()
        for asker in (self.alpha, self.gamma):
            answer = asker.query(UNKNOWN)
            expect(holds=not answer["found"] and answer["complete"], what="an unknown number is not found")
            expect(holds=answer["consulted"] == [], what="no peer was asked for it")
        self.say(f"an unknown number was not found, and no peer was asked       {_ms(began)}")

    def every_region(self) -> None:
        """Register the example mobile number of every region, and query each from both sides."""
        numbers = example_numbers()
        homes = {number: (self.delta, self.gamma)[turn % 2] for turn, number in enumerate(numbers)}
        away = {number: (self.gamma, self.delta)[turn % 2] for turn, number in enumerate(numbers)}
        registered, enrolling = self._timed(
            f"registering {len(numbers)} numbers",
            numbers,
            lambda number: self.register(homes[number], number, number[-9:]),
        )
        wait_for("the filters to carry every number", lambda: self._routed(numbers, away))
        from_away, asking = self._timed(
            "querying each from the other region", numbers, lambda number: away[number].query(number)
        )
        from_home, at_home = self._timed(
            "querying each from its own region", numbers, lambda number: homes[number].query(number)
        )
        found = sum(bool(answer["found"]) for answer in from_away)
        saved = sum(not answer["consulted"] for answer in (*from_away, *from_home))
        expect(holds=len(registered) == len(numbers), what="every region's number was registered")
        expect(holds=found == len(numbers), what="every region's number was found from the other region")
        expect(holds=all(answer["found"] for answer in from_home), what="every number was found at home")
        self.say(
            f"{len(registered)} numbers, one for each country or territory, registered by delta (eu) and gamma (us)"
        )
        self.say(f"  {found} of them found from the other region")
        self.say(f"  the filters saved {saved} of {2 * len(numbers)} remote queries")
        self.say(f"  registration {_pace(enrolling)}; remote query {_pace(asking)}; local query {_pace(at_home)}")

    def register(self, client: ApClient, sii: str, user_id: str) -> dict[str, Any]:
        """Verify a number by the code that its SMS brings, as a user would."""
        before = len(self.messages(sii))
        opened = self._open(client, sii, user_id)
        code = self.code(sii, before + 1)
        return client.enter_code(opened["verification_id"], user_id, code)

    def code(self, sii: str, messages: int) -> str:
        """Return the code of the nth message to an address, once that has come."""
        said = wait_for("the code's message", lambda: _nth(self.messages(sii), messages))
        match = re.search(r"\b\d{6}\b", said["body"])
        if match is None:
            raise StoryFailed("the message holds no code")
        return match[0]

    def messages(self, sii: str) -> list[dict[str, Any]]:
        """Return what was sent to an address, oldest first."""
        to = quote(sii.partition(":")[2], safe="")
        listed: list[dict[str, Any]] = self._get(f"/messages?to={to}")
        return listed

    def webhook(self, ap: str, type_: str) -> dict[str, Any] | None:
        """Return the newest event of a type that an AP's webhook received, its signature checked."""
        secret = self.federation.endpoints["aps"][ap]["webhook_secret"]
        for received in reversed(self._get(f"/webhooks?ap={ap}")):
            event: dict[str, Any] = json.loads(received["body"])
            if event["type"] == type_:
                verify_webhook(received["headers"], received["body"].encode(), secret, time.time())
                return event
        return None

    def _answered(self, sii: str) -> set[str]:
        """Return the providers that both regions lead to."""
        answers = (asker.query(sii) for asker in (self.alpha, self.gamma))
        return {answer["mapping"]["provider_id"] for answer in answers if answer["found"]}

    def _open(self, client: ApClient, sii: str, user_id: str) -> dict[str, Any]:
        """Open a verification; where the address had a message just now, wait out the delay as a person would."""
        while True:
            try:
                return client.open_verification(sii, user_id)
            except ApiProblem as problem:
                if problem.problem.get("limit") != "send-delay":
                    raise
                time.sleep(float(problem.headers["Retry-After"]))

    def _routed(self, numbers: list[str], away: dict[str, ApClient]) -> bool:
        """Tell whether the last additions have reached the other region's filters."""
        return all(away[number].query(number)["found"] for number in numbers[-4:])

    def _timed(
        self, what: str, numbers: list[str], do: Callable[[str], dict[str, Any]]
    ) -> tuple[list[dict[str, Any]], list[float]]:
        took: list[float] = []

        with Progress(what, len(numbers)) as progress, ThreadPoolExecutor(THREADS) as pool:

            def one(number: str) -> dict[str, Any]:
                began = time.monotonic()
                answer = do(number)
                took.append(time.monotonic() - began)
                progress.advance()
                return answer

            return list(pool.map(one, numbers)), took

    def _get(self, path: str) -> Any:
        with urlopen(self.federation.endpoints["inbox"] + path, timeout=30) as answer:
            return json.load(answer)


def example_numbers() -> list[str]:
    """Return the example mobile number of every region that the number plan knows, each once."""
    kinds = (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE_OR_MOBILE)
    examples = [
        phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
        for region in phonenumbers.SUPPORTED_REGIONS
    ]
    examples += [
        phonenumbers.example_number_for_non_geo_entity(code) for code in phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS
    ]
    form = phonenumbers.PhoneNumberFormat.E164
    reachable = [one for one in examples if one is not None and phonenumbers.number_type(one) in kinds]
    numbers = {"tel:" + phonenumbers.format_number(one, form) for one in reachable}
    return sorted(numbers - {ALICE})


def _found(answer: dict[str, Any]) -> dict[str, Any] | None:
    return answer if answer["found"] else None


def _nth(messages: list[dict[str, Any]], n: int) -> dict[str, Any] | None:
    return messages[n - 1] if len(messages) >= n else None


def _refusal(do: Callable[[], object]) -> ApiProblem:
    try:
        do()
    except ApiProblem as problem:
        return problem
    raise StoryFailed("something that should be refused was not")


def _ms(began: float) -> str:
    return f"{1000 * (time.monotonic() - began):8.0f} ms"


def _pace(took: list[float]) -> str:
    ordered = sorted(took)
    return f"p50 {1000 * ordered[len(ordered) // 2]:.0f} ms, p99 {1000 * ordered[int(len(ordered) * 0.99)]:.0f} ms"

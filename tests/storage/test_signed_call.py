"""The call that is signed by hand says the same as botocore's own, to whatever listens."""

import json
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from chalicelib.storage.dynamodb import Item
from chalicelib.storage.signed_call import SignedCall
from tests.contracts.aws import AwsPorts


@pytest.mark.parametrize("token", [None, "a session token"])
def test_the_signature_is_the_one_that_botocore_makes(aws: AwsPorts, token: str | None) -> None:
    call = SignedCall()
    call.credentials = Credentials("access", "secret", token)
    body = b'{"RequestItems": {}}'
    ours = call._signed("BatchGetItem", body)
    unsigned = {name: ours[name] for name in ("Content-Type", "X-Amz-Target")}
    theirs = AWSRequest("POST", call.url, headers=unsigned, data=body)

    signer: Any = SigV4Auth(call.credentials, "dynamodb", call.region)
    theirs.context["timestamp"] = ours["X-Amz-Date"]
    signer._modify_request_before_signing(theirs)
    theirs.headers.replace_header("X-Amz-Date", ours["X-Amz-Date"])
    text = signer.string_to_sign(theirs, signer.canonical_request(theirs))
    signer._inject_signature_to_request(theirs, signer.signature(text, theirs))
    assert ours["Authorization"] == theirs.headers["Authorization"]


def test_a_refusal_is_a_client_error_with_its_code(aws: AwsPorts) -> None:
    body = json.dumps({"RequestItems": {"no-such-table": {"Keys": [{"h": {"S": "x"}}]}}}).encode()
    with pytest.raises(ClientError) as refused:
        SignedCall().send("BatchGetItem", body)
    assert refused.value.response["Error"]["Code"] == "ResourceNotFoundException"


def test_more_than_a_hundred_keys_are_read_in_order(aws: AwsPorts) -> None:
    wanted: list[tuple[str, Item]] = [("sii", {"h": number.to_bytes(2, "big")}) for number in range(230)]
    assert aws.database.batch_get([*wanted, wanted[0]]) == [None] * 231

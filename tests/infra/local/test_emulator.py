"""The emulated AWS: what a stack makes is there, per region, and failures say what failed."""

from pathlib import Path

import pytest

from infra.local.emulator import Emulator, NotInstalled
from infra.local.supervisor import Supervisor

STACK = Path(__file__).with_name("toy-stack.json")


def test_a_stack_is_created_with_all_its_resources_in_its_own_region(emulator: Emulator) -> None:
    outputs = emulator.create_stack("ap-south-1", "toy", STACK, {"Seconds": "30"})
    assert outputs["WorkUrl"].endswith("/toy-work")
    kms, table = emulator.client("kms", "ap-south-1"), emulator.client("dynamodb", "ap-south-1")
    elsewhere = emulator.client("dynamodb", "sa-east-1")
    try:
        sealed = kms.generate_data_key(KeyId="alias/toy", KeySpec="AES_256", EncryptionContext={"stage": "toy"})
        opened = kms.decrypt(CiphertextBlob=sealed["CiphertextBlob"], EncryptionContext={"stage": "toy"})
        assert opened["Plaintext"] == sealed["Plaintext"]
        assert opened["KeyId"] == outputs["KeyArn"]
        described = table.describe_table(TableName="toy-rows")["Table"]
        assert [index["IndexName"] for index in described["GlobalSecondaryIndexes"]] == ["due"]
        assert elsewhere.list_tables()["TableNames"] == []
    finally:
        for client in (kms, table, elsewhere):
            client.close()


def test_a_stack_that_cannot_be_created_says_why(emulator: Emulator, tmp_path: Path) -> None:
    template = tmp_path / "bad.json"
    template.write_text(
        '{"Resources": {"Alias": {"Type": "AWS::KMS::Alias",'
        ' "Properties": {"AliasName": "no-prefix", "TargetKeyId": "x"}}}}'
    )
    with pytest.raises(RuntimeError, match="Alias"):
        emulator.create_stack("ap-south-1", "bad", template)


def test_the_emulator_writes_nothing_about_messages_to_its_log(emulator: Emulator) -> None:
    sns = emulator.client("sns", "ap-south-1")
    try:
        sns.publish(PhoneNumber="+447700900001", Message="314159")
    finally:
        sns.close()
    assert "314159" not in emulator.child.log.read_text()


def test_without_it_installed_one_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with Supervisor(tmp_path) as crew, pytest.raises(NotInstalled, match=r"pip install -e '\.\[local\]'"):
        Emulator.start(crew)

"""Where links into S3 lead, for a region and no emulator: a link is signed without asking anybody."""

import os
import subprocess
import sys
from urllib.parse import parse_qs, urlsplit

import pytest

# In an interpreter of its own, since clients are made once and keep the endpoint that they were made for.
LINKS = """
from chalicelib.storage.objects import Objects
bucket = Objects("ds-eu", "objects")
print(bucket.link("bodies/one"))
print(bucket.link_in("uploads/in/one", 3, "cGxlYXNl", 900))
"""


def links(region: str, **more: str) -> list[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_CONFIG_FILE": os.devnull}
    environment = {**own, **keys, "AWS_DEFAULT_REGION": region, **more}
    done = subprocess.run([sys.executable, "-c", LINKS], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize("region", ["eu-central-1", "us-east-1"])
def test_a_link_names_bucket_and_region_in_its_host(region: str) -> None:
    for link, path in zip(links(region), ("/bodies/one", "/uploads/in/one"), strict=True):
        parts = urlsplit(link)
        assert (parts.scheme, parts.netloc) == ("https", f"glados-ds-eu-objects.s3.{region}.amazonaws.com")
        assert parts.path == path
        assert f"/{region}/s3/aws4_request" in parse_qs(parts.query)["X-Amz-Credential"][0]


def test_a_link_to_an_emulator_names_the_bucket_in_its_path() -> None:
    for link in links("eu-central-1", AWS_ENDPOINT_URL="http://127.0.0.1:4566"):
        assert link.startswith("http://127.0.0.1:4566/glados-ds-eu-objects/")

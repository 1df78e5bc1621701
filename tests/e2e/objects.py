"""The S3 server of the cluster as seen from this machine."""

from __future__ import annotations

from kubectl import Kubectl
from pyarrow import fs

BUCKET = "loopwright"


def s3_folder(credentials: dict[str, str], kubectl: Kubectl) -> fs.S3FileSystem:
    """The same storage that pods see, by the Service's address."""
    service = kubectl.get("service", "s3", "s3")
    assert service is not None
    return fs.S3FileSystem(
        access_key=credentials["AWS_ACCESS_KEY_ID"],
        secret_key=credentials["AWS_SECRET_ACCESS_KEY"],
        endpoint_override=f"http://{service['spec']['clusterIP']}:7070",
        region="us-east-1",
        # By default an answer has three seconds, of which a busy machine may need more.
        connect_timeout=60,
        request_timeout=60,
    )

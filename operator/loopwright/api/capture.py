"""What is kept of an endpoint's requests: the spec's part, and what its pods are told."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from loopwright.api.base import WHOLE, ApiModel, Cel, WriteUri, cel_schema, matches
from loopwright.api.shared import SecretRef

_SECRET: Final = Cel(
    "!has(self.secretRef) || self.uri.startsWith('s3://')", "secretRef goes with s3://"
)

# What every library of JSONPath takes, and what can be understood at a glance: names, indices,
# wildcards, descendants and one comparison. \x27 is a single quote, which CEL's text is in.
_NAME: Final = r"[A-Za-z_][A-Za-z0-9_]{0,127}"
_TEXT: Final = r"\x27[^\x27\\\x00-\x1f]{1,128}\x27"
_CHOICE: Final = (
    rf"\[(\*|0|[1-9][0-9]{{0,5}}|{_TEXT}|\?@\.{_NAME}==({_TEXT}|0|[1-9][0-9]{{0,8}}))\]"
)
_PATH: Final = rf"^[$](\.\.?{_NAME}|\.\*|{_CHOICE})+$"
_PATH_HINT: Final = (
    "must be a JSONPath of names, indices, wildcards or [?@.name=='value'], for example"
    " $.instances[*].email or $.inputs[?@.name=='email'].data"
)


RedactPath = Annotated[
    str,
    Field(
        min_length=2,
        max_length=256,
        json_schema_extra=cel_schema(f"self.matches(r'{_PATH}')", _PATH_HINT),
    ),
    AfterValidator(matches(_PATH, _PATH_HINT)),
]


class CaptureDestination(ApiModel):
    """Where captured requests are kept."""

    cel: ClassVar[tuple[Cel, ...]] = (_SECRET,)

    uri: WriteUri
    """A folder, s3://bucket/path or pvc://claim/path. Files are
    <uri>/<endpoint>/<variant>/year=YYYY/month=MM/day=DD/hour=HH/<pod>-<n>.parquet."""
    secret_ref: SecretRef | None = None
    """Credentials to write there; by default those of the pods."""

    @property
    def claim(self) -> str | None:
        """The claim, if it is on one."""
        scheme, _, rest = self.uri.partition("://")
        return rest.partition("/")[0] if scheme == "pvc" else None

    @model_validator(mode="after")
    def _rules(self) -> CaptureDestination:
        if self.secret_ref is not None and not self.uri.startswith("s3://"):
            raise ValueError(_SECRET.message)
        return self


class DataCapture(ApiModel):
    """Keeps a sample of the requests to Loopwright's own model servers, and of their answers.

    No request waits for it: what cannot be kept is dropped and counted.
    """

    destination: CaptureDestination
    """Where."""
    sample_percent: Annotated[int, Field(strict=True, ge=1, le=100), WHOLE] = 10
    """Share of the requests. Chosen by a hash of the request's id, so that all pods and repetitions
    agree."""
    mode: Literal["All", "Request", "Response"] = "All"
    """Which bodies are kept."""
    max_body_bytes: Annotated[int, Field(strict=True, ge=256, le=1_048_576), WHOLE] = 65_536
    """A body that is larger is left out; its size is kept."""
    redact: Annotated[list[RedactPath], Field(max_length=32)] = []
    """JSONPaths of what is replaced by "[redacted]" in both bodies, before it leaves the pod. A
    body in which that cannot be done is left out."""
    flush_seconds: Annotated[int, Field(strict=True, ge=1, le=3600), WHOLE] = 300
    """How long a record may wait for others of its file. What waits is lost if the pod crashes."""
    retention_days: Annotated[int, Field(strict=True, ge=1, le=3650), WHOLE] | None = None
    """Files of hours that are older are deleted, as long as the endpoint exists; by default none
    are."""


class CaptureConfig(ApiModel):
    """What the pods of an endpoint are told, in a file that may change while they run."""

    # A newer operator may hand more to an older image.
    model_config = ConfigDict(extra="ignore")

    endpoint: Annotated[str, Field(min_length=1, max_length=63)]
    """Name of the ModelEndpoint."""
    namespace: Annotated[str, Field(min_length=1, max_length=63)]
    """Its namespace."""
    capture: DataCapture
    """What its spec says."""

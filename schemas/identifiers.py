"""Identity comes from content: every key is derived, none is minted (contract 0.3 and 1.5).

Keys that leave the process in workflow ids, event keys or logs are UUIDv5 digests: no identifier of a patient can be read from them.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from dataclasses import dataclass
from functools import cache

import orjson


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def ni_digest(data: bytes) -> str:
    """`ni:///sha-256;<base64url>` of the bytes (RFC 6920)."""
    return ni_from_hex(sha256_hex(data))


def ni_from_hex(digest: str) -> str:
    """The RFC 6920 form of a hexadecimal SHA-256."""
    return "ni:///sha-256;" + base64.urlsafe_b64encode(bytes.fromhex(digest)).decode().rstrip("=")


def hex_from_ni(value: str) -> str:
    """The hexadecimal SHA-256 of an RFC 6920 name; `ValueError` if it is none."""
    encoded = value.removeprefix("ni:///sha-256;")
    if encoded == value or len(encoded) != 43:
        raise ValueError("not an ni name of a SHA-256")
    return base64.b64decode(encoded + "=", altchars=b"-_", validate=True).hex()


def canonical_json(value: object) -> bytes:
    """JSON with sorted keys and no white space: equal values give equal bytes."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def instance_set_digest(sop_instance_uids: list[str]) -> str:
    """`inventoryDigest` of a study: ni digest of its sorted, distinct SOP Instance UIDs, one a line."""
    return ni_digest("\n".join(sorted(set(sop_instance_uids))).encode())


def uid_from_uuid(value: str) -> str:
    """A DICOM UID of a UUID (`2.25.<integer>`, DICOM PS3.5 B.2)."""
    return f"2.25.{uuid.UUID(value).int}"


def act_id(result_id: str, *what: str) -> str:
    """Id of something that the system does to a result, derived from what it does: doing it twice is one act."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "|".join([result_id, *what])))


@cache
def _namespace(base: str) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_URL, base)


@dataclass(frozen=True)
class Namespace:
    """The UUIDv5 namespace of one deployment: canonical base URL and tenant.

    `base` is the deployment-owned canonical base (contract: `B`), `tenant` the hospital within it.
    """

    base: str
    tenant: str

    def key(self, *parts: str) -> str:
        """uuid5(NS, parts joined with `|`)."""
        return str(uuid.uuid5(_namespace(self.base), "|".join(parts)))

    def study_key(self, study_instance_uid: str) -> str:
        return self.key(self.tenant, "study", study_instance_uid)

    def patient_key(self, patient: str) -> str:
        """Key of a patient; `patient` is the unversioned reference `Patient/<id>`."""
        return self.key(self.tenant, "patient", without_version(patient))

    def thread_id(self, study_instance_uid: str) -> str:
        """Identity of all results about one study, whatever their versions."""
        return self.key("thread", self.tenant, study_instance_uid, READING_TASK)

    def result_id(self, thread_id: str, manifest_ni: str, release: str, revision: int = 0) -> str:
        return self.key("result", thread_id, manifest_ni, release, str(revision))

    def event_id(self, event_type: str, fact: str) -> str:
        """Id of an event: the same fact and version always gives the same id."""
        return self.key(self.tenant, event_type, fact)


READING_TASK = "imaging-findings"
"""The task in a thread's identity: what is asked of a study."""


def study_workflow_id(study_key: str) -> str:
    return f"study-{study_key}"


def background_queue(task_queue: str) -> str:
    """The task queue of work that must never take a slot from a reading: reconciliation and shadow readings."""
    return f"{task_queue}-background"


def patient_workflow_id(patient_key: str) -> str:
    return f"patient-{patient_key}"


def without_version(reference: str) -> str:
    """A FHIR reference without `/_history/<version>`; a plain one as it is."""
    return reference.split("/_history/")[0]

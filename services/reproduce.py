"""`longview reproduce`: fetches what a result rests on by its Provenance, asks the model the identical question, and says what is the same.

    report -> Provenance, Device --> manifest -> exact FHIR versions -> chart          (services.clients.fhir)
                                 --> rendered prompt -> volumes -> model -> answer     (object store, services.clients.model)
                                 --> weights, prompt, code, runtime against today's    (release)

Reads only. What FHIR, the archive or the store cannot give any more is a row `gone`; that one of them does not answer is a failure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol, TypeVar

import orjson

from schemas.codes import Canonical, Json
from schemas.errors import PermanentFailure
from schemas.identifiers import Namespace, hex_from_ni, ni_from_hex, sha256_hex
from schemas.imaging import StoredStack
from schemas.inference import ModelAnswer, ModelRequest
from schemas.model import Record
from schemas.report import InputManifest
from schemas.reproduction import Ingredient, IngredientKind, Reproduction
from schemas.timeline import Timeline
from workflows.ports import FhirServer, ImageArchive, Model, ObjectStore, Resource
from workflows.reading.prompt import PROMPT_TEMPLATE
from workflows.reading.release import READING_CODE_VERSION, release_id
from workflows.reproduce import (
    ResultOrigin,
    compare_answer,
    compare_chart,
    compare_instances,
    compare_value,
    conclude,
    read_origin,
)
from workflows.reproduce.origin import author_of, document_digest, rests_on_a_reading
from workflows.timeline import build_timeline
from workflows.timeline.fields import unversioned

REVISIONS_TRIED = 100
LAST_IN_LINE = 1000
"""vLLM's priority of a question that no patient waits for. It orders the queue and does not touch the answer."""
AnyRecord = TypeVar("AnyRecord", bound=Record)
Rows = list[Ingredient]


class ExactFhir(FhirServer, Protocol):
    """A FHIR server that can also be read with every decimal digit kept (`services.clients.fhir.FhirClient`)."""

    def read_exact(self, reference: str) -> Resource: ...


class Reproducer:
    """Holds the ports; one result at a time."""

    def __init__(
        self,
        namespace: Namespace,
        *,
        fhir: ExactFhir,
        archive: ImageArchive,
        store: ObjectStore,
        model: Model,
        build: Callable[..., Timeline] = build_timeline,
    ) -> None:
        self._namespace, self._canonical = namespace, Canonical(namespace.base)
        self._fhir, self._archive, self._store, self._model = fhir, archive, store, model
        self._build = build

    def reproduce(self, result: str, *, ask: bool = True) -> Reproduction:
        """`result` is a result id or `DiagnosticReport/<id>`. `PermanentFailure` if FHIR holds no such reading."""
        origin = self._origin(result)
        rows = [*self._inputs(origin), *self._release(origin)]
        asked = ask and _can_ask(rows)
        return conclude(origin.result_id, [*rows, *self._answers(origin, ask=asked)], asked=asked)

    # -- where the result says it comes from

    def _origin(self, result: str) -> ResultOrigin:
        report = self._report(result)
        system = self._canonical.sid("ai-result")
        ours = [i["value"] for i in report.get("identifier", []) if i.get("system") == system]
        tagged = self._fhir.find_tagged("Provenance", system, ours[0]) if ours else []
        readings = [provenance for provenance in tagged if rests_on_a_reading(provenance)]
        if not readings:
            raise PermanentFailure(
                "provenance-missing",
                "FHIR holds no Provenance of a reading for this report: nothing can be reproduced.",
            )
        device = self._fhir.read(unversioned(author_of(readings[0])))
        return read_origin(self._canonical, report, readings[0], device)

    def _report(self, result: str) -> Json:
        if result.startswith("DiagnosticReport/"):
            return self._fhir.read(unversioned(result))
        found = self._fhir.find("DiagnosticReport", self._canonical.sid("ai-result"), result)
        if len(found) != 1:
            raise PermanentFailure(
                "result-not-found", "FHIR holds no result of this id, or more than one: see 'longview runs'."
            )
        return found[0]

    # -- inputs

    def _inputs(self, origin: ResultOrigin) -> Rows:
        row, manifest = self._kept("input manifest", origin.manifest, InputManifest)
        rows = [row, self._identity(origin)]
        if manifest is not None:
            chart, resources = self._versions(manifest.fhir)
            rows += [*chart, *self._chart(origin, resources), *self._images(origin, manifest)]
        row, request = self._kept("rendered prompt", origin.request, ModelRequest)
        rows.append(row)
        for item in request.volumes if request else []:
            rows.append(self._volume(f"volume shown ({item.role})", item.digest))
        return rows

    def _identity(self, origin: ResultOrigin) -> Ingredient:
        """The result's id is made of manifest and release: one that is not was given to other inputs."""
        manifest = ni_from_hex(origin.manifest)
        made = [
            self._namespace.result_id(origin.thread_id, manifest, origin.release, revision)
            for revision in range(REVISIONS_TRIED)
        ]
        now = origin.result_id if origin.result_id in made else made[0]
        return compare_value("identity", "input", origin.result_id, now)

    def _versions(self, references: list[str]) -> tuple[Rows, list[Resource] | None]:
        """A row for each type of resource; all resources in exactly the versions that were read, if none is gone."""
        read, missing, unversioned_ones, resources = Counter[str](), Counter[str](), Counter[str](), []
        for reference in references:
            kind = reference.split("/")[0]
            read[kind] += 1
            unversioned_ones[kind] += "/_history/" not in reference
            try:
                resources.append(self._fhir.read_exact(reference))
            except PermanentFailure:
                missing[kind] += 1
        rows = [_versions_row(kind, read[kind], missing[kind], unversioned_ones[kind]) for kind in sorted(read)]
        return rows, None if missing else resources

    def _chart(self, origin: ResultOrigin, resources: list[Resource] | None) -> Rows:
        row, recorded = self._kept("timeline", origin.timeline, Timeline)
        if recorded is None or resources is None:
            return [row]
        study, order = recorded.study, recorded.order
        try:
            rebuilt = self._build(
                recorded.patient.resource,
                resources,
                study_instance_uid=origin.study_instance_uid,
                imaging_study=study.resource if study and not study.resource.startswith("urn:") else None,
                service_request=order.resource if order else None,
            )
        except PermanentFailure as failure:
            return [row, compare_value("chart", "input", origin.timeline, failure.code, "it can no longer be built")]
        return [row, compare_chart(recorded, rebuilt)]

    def _images(self, origin: ResultOrigin, manifest: InputManifest) -> Rows:
        rows = [self._instances("images in the archive", origin.study_instance_uid, manifest.sop_instance_uids)]
        row, _ = self._kept("volume of the study", origin.volume, StoredStack)
        rows.append(row)
        if origin.prior_volume is not None:
            row, prior = self._kept("volume of the prior", origin.prior_volume, StoredStack)
            rows.append(row)
            if prior is not None:
                uid = prior.series.study_instance_uid
                rows.append(
                    self._instances("images of the prior in the archive", uid, manifest.prior_sop_instance_uids)
                )
        rows += [self._kept("further stack", digest, StoredStack)[0] for digest in origin.further]
        return rows

    def _instances(self, name: str, study_instance_uid: str, read: list[str]) -> Ingredient:
        try:
            held = set(self._archive.find_study(study_instance_uid).sop_instance_uids)
        except PermanentFailure:
            return compare_instances(name, read, None)
        return compare_instances(name, read, held)

    # -- release

    def _release(self, origin: ResultOrigin) -> Rows:
        now, versions = self._model.release(), origin.versions
        return [
            compare_value("weights", "release", origin.weights, now.weights_sha256),
            compare_value(
                "prompt template", "release", _hex(versions.get("prompt-digest")), sha256_hex(PROMPT_TEMPLATE)
            ),
            self._model_card(origin, sha256_hex(now.model_card.encode())),
            compare_value("reading code", "release", versions.get("reading-code"), READING_CODE_VERSION),
            compare_value("serving runtime", "release", versions.get("serving-runtime"), now.runtime),
            compare_value("release", "release", origin.release, release_id(now)),
        ]

    def _model_card(self, origin: ResultOrigin, now: str) -> Ingredient:
        for reference in origin.documents:
            try:
                document = self._fhir.read(unversioned(reference))
            except PermanentFailure:
                continue
            if "AIModelCard" in [c.get("code") for c in document.get("type", {}).get("coding", [])]:
                return compare_value("model card", "release", document_digest(document), now)
        return Ingredient(name="model card", kind="release", state="gone", now=now, note="its document is not in FHIR")

    # -- answer

    def _answers(self, origin: ResultOrigin, *, ask: bool) -> Rows:
        """Every question of the run again; the second pass over the history has its own, which the reading names."""
        row, reading = self._kept_json("checked reading", origin.reading)
        rows = [row, self._answer("model answer", origin.request, origin.answer, ask=ask)]
        history = (reading or {}).get("history") or {}
        if history.get("request") and history.get("answer"):
            rows.append(self._kept("prompt about the history", history["request"], ModelRequest)[0])
            rows.append(self._answer("model answer about the history", history["request"], history["answer"], ask=ask))
        return rows

    def _answer(self, name: str, request: str, answer: str | None, *, ask: bool) -> Ingredient:
        row, recorded = self._kept(name, answer, ModelAnswer, "answer")
        _, question = self._kept(name, request, ModelRequest)
        if question is None or not ask:
            return row
        now = self._model.ask(question.model_copy(update={"priority": LAST_IN_LINE}))
        return compare_answer(name, answer, recorded, now)

    # -- the object store

    def _kept(
        self, name: str, digest: str | None, kind: type[AnyRecord], of: IngredientKind = "input"
    ) -> tuple[Ingredient, AnyRecord | None]:
        """A record of the store, with the row that tells of it."""
        row, data = self._bytes(name, digest, of)
        return row, kind.model_validate_json(data) if data is not None else None

    def _kept_json(self, name: str, digest: str | None) -> tuple[Ingredient, Json | None]:
        row, data = self._bytes(name, digest, "answer")
        return row, orjson.loads(data) if data is not None else None

    def _volume(self, name: str, digest: str) -> Ingredient:
        return self._bytes(name, digest, "input")[0]

    def _bytes(self, name: str, digest: str | None, kind: IngredientKind) -> tuple[Ingredient, bytes | None]:
        if digest is None:
            return compare_value(name, kind, None, None), None
        try:
            return compare_value(name, kind, digest, digest), self._store.get(digest)
        except PermanentFailure as failure:
            corrupt = failure.code == "object-corrupt"
            return compare_value(name, kind, digest, "other bytes" if corrupt else None), None


def _versions_row(kind: str, read: int, missing: int, unversioned_ones: int) -> Ingredient:
    note = f"{unversioned_ones} without a version: read as they are now" if unversioned_ones else ""
    was, name = f"{read} versions", f"FHIR {kind}"
    if missing:
        return Ingredient(name=name, kind="input", state="gone", was=was, now=f"{missing} missing", note=note)
    return Ingredient(name=name, kind="input", state="same", was=was, now=was, note=note)


def _can_ask(rows: Rows) -> bool:
    """The question and all volumes are there, byte for byte."""
    needed = [row for row in rows if row.name == "rendered prompt" or row.name.startswith("volume shown")]
    return all(row.state == "same" for row in needed)


def _hex(ni: str | None) -> str | None:
    try:
        return hex_from_ni(ni) if ni else None
    except ValueError:
        return None

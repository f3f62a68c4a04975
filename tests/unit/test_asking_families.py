"""The worker asks each family in its own way, never more than it holds; and a second model may weigh the history."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from schemas.errors import PartUnavailable, PermanentFailure
from schemas.families import BIOMEDLM, FAMILIES, LLAVA_MED, MEDGEMMA, ModelFamily
from schemas.identifiers import sha256_hex
from schemas.inference import ModelAnswer, ModelRelease, ModelRequest, VolumeItem
from schemas.pictures import Pictures, encode_pictures
from schemas.report import Finding, Reading
from schemas.timeline import TimelineEntry
from schemas.volume import Volume, encode_volume
from services.adapters import history_model
from services.clients.model import VllmModel
from services.settings import Settings
from services.store import FolderObjectStore
from tests.contract.written_bundles import TRAINED, context, reading
from workflows.reading.fits import prompt_tokens, require_askable
from workflows.reading.history_prompt import fitting_excerpt, history_request
from workflows.reading.prompt import build_request
from workflows.reading.release import release_id
from workflows.report.text import history_sentences
from workflows.report_study.history import integrate

LABELS = [("pneumothorax", "Pneumothorax")]
IMAGES, TIMELINE = reading(), context().timeline


@dataclass
class House:
    """A store, and a server that says what it is told to and remembers what it was asked."""

    store: FolderObjectStore
    says: str = "{}"
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def model(self, family: ModelFamily) -> VllmModel:
        release = TRAINED.model_copy(update={"family": family.name})
        path = self.store.path("0" * 64).parent.parent / "release.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(release.model_dump_json())
        model = VllmModel("http://model", path, self.store.path)
        model._http = httpx.Client(base_url="http://model", transport=httpx.MockTransport(self._answer))
        return model

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": [{"id": TRAINED.served_model_name}]})
        self.bodies.append(json.loads(request.content))
        message = {"message": {"content": self.says}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1}
        return httpx.Response(200, json={"choices": [message], "usage": usage, "model": TRAINED.served_model_name})

    def picture(self, samples: int = 1) -> VolumeItem:
        pixels = np.random.default_rng(3).integers(0, 255, (1, 40, 30, samples)).astype(np.uint8)
        digest = self.store.put(encode_pictures(Pictures(pixels, "DX")))
        return VolumeItem(digest=digest, slices=1, role="current", kind="picture")

    def volume(self) -> VolumeItem:
        volume = Volume(np.zeros((2, 8, 8), np.int16), (1.0, 1.0, 1.0), "HU", "CT")
        return VolumeItem(digest=self.store.put(encode_volume(volume)), slices=2, role="current")


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(FolderObjectStore(tmp_path))


def shown(house: House) -> list[dict[str, Any]]:
    """The parts of the last request that are not text."""
    [message] = house.bodies[-1]["messages"]
    return [part for part in message["content"] if part["type"] != "text"]


# -- how pixels travel -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [1, 3])
def test_to_llava_med_a_picture_is_a_png_known_by_its_own_digest(house: House, samples: int) -> None:
    item = house.picture(samples)
    house.model(LLAVA_MED).ask(build_request("DX", LABELS, [item], "routine"))
    [part] = shown(house)
    assert part["type"] == "image_url"
    head, _, data = part["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    png = base64.b64decode(data)
    assert part["uuid"] == hashlib.sha256(png).hexdigest()
    sent = np.asarray(Image.open(io.BytesIO(png)))
    stored = np.frombuffer(house.store.get(item.digest)[-40 * 30 * samples :], np.uint8).reshape(40, 30, samples)
    assert np.array_equal(sent, np.broadcast_to(stored, (40, 30, 3)))


def test_to_medgemma_pictures_and_volumes_travel_as_their_containers(house: House) -> None:
    for item in (house.picture(), house.volume()):
        house.model(MEDGEMMA).ask(build_request("DX", LABELS, [item], "routine"))
        [part] = shown(house)
        assert (part["type"], part["uuid"]) == ("video_url", item.digest)


def test_a_thought_is_no_part_of_an_answer(house: House) -> None:
    house.says = '<unused94>thinking {"findings": 1}<unused95>{"findings": {}}'
    asked = build_request("CT", LABELS, [house.volume()], "routine")
    assert house.model(MEDGEMMA).ask(asked).text == '{"findings": {}}'


# -- what is refused before anything is sent ---------------------------------------------------------------------------


@pytest.mark.parametrize("family", [LLAVA_MED, BIOMEDLM])
def test_a_ct_is_refused_by_what_takes_none(house: House, family: ModelFamily) -> None:
    with pytest.raises(PermanentFailure) as refused:
        house.model(family).ask(build_request("CT", LABELS, [house.volume()], "routine"))
    assert refused.value.code == "model-cannot"
    assert house.bodies == []


def test_a_request_beyond_the_context_is_refused(house: House) -> None:
    request = history_request(IMAGES.findings, {}, 0)
    house.model(BIOMEDLM).ask(request)
    with pytest.raises(PermanentFailure) as refused:
        house.model(BIOMEDLM).ask(request.model_copy(update={"query": "word " * 400}))
    assert refused.value.code == "model-context"
    assert len(house.bodies) == 1


def test_a_volume_that_is_called_a_picture_is_not_sent(house: House) -> None:
    item = house.volume().model_copy(update={"kind": "picture", "slices": 1})
    with pytest.raises(PermanentFailure, match="this is a volume"):
        house.model(LLAVA_MED).ask(build_request("DX", LABELS, [item], "routine"))
    assert house.bodies == []


# -- the budget of the second pass -------------------------------------------------------------------------------------

words = st.text(alphabet=st.sampled_from("abc <>|\u0142\u4e2d9.\n"), max_size=200)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)
@given(texts=st.lists(words, max_size=30), findings=st.integers(1, 5), family=st.sampled_from(list(FAMILIES.values())))
def test_whatever_a_chart_says_the_question_fits(texts: list[str], findings: int, family: ModelFamily) -> None:
    several = several_findings(findings)
    excerpt = fitting_excerpt(family, several, with_entries(texts), set())
    request = history_request(several, excerpt.entries, 0)
    if excerpt.entries:
        require_askable(family, request)
        assert prompt_tokens(family, request) + request.max_tokens <= family.context


def several_findings(count: int) -> list[Finding]:
    return [IMAGES.findings[0].model_copy(update={"label": f"finding-{n}"}) for n in range(count)]


def with_entries(texts: list[str]) -> Any:
    entries = [
        TimelineEntry(
            kind="condition", resource=f"Condition/{n}/_history/1", when="2020-01-01", status="active", text=text or "x"
        )
        for n, text in enumerate(texts)
    ]
    return TIMELINE.model_copy(update={"entries": entries})


def test_medgemma_is_given_as_much_of_the_history_as_before() -> None:
    from workflows.reading.excerpt import excerpt_of

    many = with_entries([f"condition number {n}" for n in range(400)])
    given_now = fitting_excerpt(MEDGEMMA, IMAGES.findings, many, set())
    assert given_now == excerpt_of(many, set())
    fewer = fitting_excerpt(BIOMEDLM, IMAGES.findings, many, set())
    assert 0 < len(fewer.entries) < len(given_now.entries)
    assert fewer.left_out is not None


# -- a second model ----------------------------------------------------------------------------------------------------


@dataclass
class Weigher:
    """A model of its own for the history."""

    family: str = BIOMEDLM.name
    gone: bool = False
    asked: list[ModelRequest] = field(default_factory=list)

    def release(self) -> ModelRelease:
        if self.gone:
            raise PartUnavailable("model-release", "cannot be read")
        return TRAINED.model_copy(update={"family": self.family, "name": "weigher", "weights_sha256": "5c" * 32})

    def ask(self, request: ModelRequest) -> ModelAnswer:
        self.asked.append(request)
        labels = request.answer_schema["properties"]["findings"]["properties"]
        said = {"findings": {label: {"chart": "supports", "cites": ["E1"]} for label in labels}}
        return ModelAnswer(
            text=json.dumps(said), finish_reason="stop", prompt_tokens=1, completion_tokens=1, served_model_name="w"
        )


def weighed_by(weigher: Weigher, images: Reading = IMAGES, *, late: bool = False) -> Reading:
    keep: Callable[[Any], str] = lambda record: "1" * 64  # noqa: E731
    return integrate(weigher, keep, sha256_hex, TIMELINE, images, "routine", late=late)


def test_the_reading_remembers_who_weighed_its_history() -> None:
    weigher = Weigher()
    history = weighed_by(weigher).history
    assert history is not None
    assert history.weighed
    assert (history.release, history.weights) == (release_id(weigher.release()), "5c" * 32)
    assert len(weigher.asked) == 1


def test_too_many_findings_for_it_leave_the_history_unweighed_and_say_so() -> None:
    weigher = Weigher()
    history = weighed_by(weigher, IMAGES.model_copy(update={"findings": several_findings(9)})).history
    assert history is not None
    assert (history.weighed, history.given, history.request, weigher.asked) == (False, [], None, [])
    assert history.reason in ("history-no-room", "model-context")
    assert "model that weighs it" in history_sentences(history)[0]


def test_a_release_that_cannot_be_read_costs_the_history_and_not_the_images() -> None:
    with pytest.raises(PartUnavailable):
        weighed_by(Weigher(gone=True))
    told = weighed_by(Weigher(gone=True), late=True)
    assert told.findings == IMAGES.findings
    assert told.history is not None
    assert told.history.reason == "model-release"


def test_the_second_model_is_set_whole_or_not_at_all(tmp_path: Path) -> None:
    store = FolderObjectStore(tmp_path)
    assert history_model(Settings(), store) is None
    with pytest.raises(PartUnavailable, match="go together"):
        Settings(history_model_url="http://127.0.0.1:9")
    (tmp_path / "release.json").write_text(TRAINED.model_dump_json())
    both = Settings(history_model_url="http://127.0.0.1:9", history_model_release=str(tmp_path / "release.json"))
    opened = history_model(both, store)
    assert opened is not None
    assert opened.release() == TRAINED
    opened.close()

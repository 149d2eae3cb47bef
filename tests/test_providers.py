"""What is true of every provider."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from multidict import CIMultiDict

from hookline.events import EVENT_TYPES, event_topic
from hookline.schemas.envelope import UNREADABLE, Envelope, moment, seal, unreadable
from hookline.schemas.errors import BadSignature, MissingSignature, Unreadable
from hookline.schemas.provider import AnySource, Provider, Request, topics_of
from hookline.schemas.providers import catalogue
from tests.json_paths import changed, paths
from tests.vector_cases import example_source, is_form, seal_request, seal_with, sent, topic_of, with_a_field_twice

PROVIDERS = list(catalogue().values())
STORY_START_S = 1_700_000_000.0

every_provider = pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)


def story(provider: Provider[Any], n: int = 1, source: AnySource | None = None) -> list[Envelope]:
    """The envelopes of a provider's story, after each sample was signed and verified."""
    return [
        _send(provider, source or example_source(provider), place, n, STORY_START_S + place)
        for place in range(len(provider.samples))
    ]


def _send(provider: Provider[Any], source: AnySource, place: int, n: int, at_s: float) -> Envelope:
    body = msgspec.json.encode(provider.samples[place].body(n, at_s))
    request = sent(provider.sign(body, source, at_s))
    provider.verify(request, source, at_s)
    return seal_request(provider, request, at_s)


@every_provider
def test_every_sample_becomes_the_event_of_its_type(provider: Provider[Any]) -> None:
    for sample, envelope in zip(provider.samples, story(provider), strict=True):
        topics = {event_topic(event) for event in provider.normalise(envelope)}
        assert topics == {topic_of(envelope.event_type)}
        assert topics <= set(topics_of(provider, sample.type))


@pytest.mark.parametrize("provider", [each for each in PROVIDERS if not is_form(each)], ids=lambda each: each.name)
def test_the_topic_is_that_of_the_first_event_whatever_the_body_lacks(provider: Provider[Any]) -> None:
    """`identify` may find the topic in another way than `normalise`, which makes the events."""
    for body in bodies_without_a_field(provider):
        try:
            envelope = seal_with(provider, body)
        except Unreadable:
            continue
        assert event_topic(provider.normalise(envelope)[0]) == topic_of(envelope.event_type), body


def bodies_without_a_field(provider: Provider[Any]) -> Iterator[bytes]:
    for sample in provider.samples:
        content = sample.body(1, STORY_START_S)
        for path in paths(content):
            yield msgspec.json.encode(changed(content, path))
            yield msgspec.json.encode(changed(content, path, None))


@every_provider
def test_every_type_has_a_sample(provider: Provider[Any]) -> None:
    assert {sample.type for sample in provider.samples} == set(provider.types)


@every_provider
def test_every_type_becomes_a_canonical_event(provider: Provider[Any]) -> None:
    assert {topic for theirs in provider.types for topic in topics_of(provider, theirs)} <= set(EVENT_TYPES)


@every_provider
def test_the_types_of_samples_are_the_providers_own(provider: Provider[Any]) -> None:
    for sample, envelope in zip(provider.samples, story(provider), strict=True):
        assert {event.provider_type for event in provider.normalise(envelope)} == {sample.type}


@every_provider
def test_no_two_samples_are_the_same_event(provider: Provider[Any]) -> None:
    ids = [envelope.id for n in (1, 2, 3) for envelope in story(provider, n)]
    assert len(set(ids)) == len(ids)


@every_provider
def test_a_sample_sent_twice_is_one_event(provider: Provider[Any]) -> None:
    assert story(provider) == story(provider)


@every_provider
def test_a_story_happens_in_order(provider: Provider[Any]) -> None:
    times = [envelope.occurred_at for envelope in story(provider)]
    assert times == sorted(times)


@every_provider
def test_the_same_event_at_another_source_has_another_id(provider: Provider[Any]) -> None:
    body = msgspec.json.encode(provider.samples[0].body(1, STORY_START_S))
    body = provider.sign(body, example_source(provider), STORY_START_S).body
    elsewhere = seal(
        provider.identify(Request(body)),
        body,
        provider=provider.name,
        source="x",
        content_type="",
        received_at=moment(0),
    )
    assert elsewhere.id != seal_with(provider, body).id


@every_provider
def test_events_are_the_same_after_a_round_trip_through_json(provider: Provider[Any]) -> None:
    for envelope in story(provider):
        for event in provider.normalise(envelope):
            assert msgspec.json.decode(msgspec.json.encode(event), type=type(event)) == event


@every_provider
def test_the_example_settings_need_only_a_secret(provider: Provider[Any]) -> None:
    assert provider.fault(example_source(provider)) is None


@every_provider
def test_a_source_without_a_secret_is_at_fault(provider: Provider[Any]) -> None:
    assert "secrets" in (provider.fault(replace(example_source(provider), keys=())) or "")


@every_provider
def test_unknown_settings_are_refused(provider: Provider[Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**provider.example.settings, "tolerance": 3}, provider.account)


@every_provider
def test_the_reply_is_json(provider: Provider[Any]) -> None:
    assert 200 <= provider.reply.status < 300
    assert not provider.reply.body or isinstance(msgspec.json.decode(provider.reply.body), dict)


@every_provider
def test_a_request_without_any_signature_is_refused(provider: Provider[Any]) -> None:
    with pytest.raises(MissingSignature):
        provider.verify(Request(b"{}", CIMultiDict()), example_source(provider), STORY_START_S)


@every_provider
def test_a_signature_of_another_source_is_refused(provider: Provider[Any]) -> None:
    request = sent(provider.sign(b"{}", example_source(provider, "the-secret-of-another"), STORY_START_S))
    with pytest.raises(BadSignature):
        provider.verify(request, example_source(provider), STORY_START_S)


@every_provider
def test_a_body_that_names_a_key_twice_is_unreadable(provider: Provider[Any]) -> None:
    with pytest.raises(Unreadable, match="twice"):
        provider.identify(Request(with_a_field_twice(provider, story(provider)[0].body)))


@every_provider
def test_a_body_that_names_a_key_twice_is_not_refused(provider: Provider[Any]) -> None:
    source = example_source(provider)
    body = with_a_field_twice(provider, story(provider)[0].body)
    signed = provider.sign(body, source, STORY_START_S)
    provider.verify(sent(replace(signed, body=body)), source, STORY_START_S)


@every_provider
def test_a_callback_sealed_as_unreadable_stays_unreadable(provider: Provider[Any]) -> None:
    body = with_a_field_twice(provider, story(provider)[0].body)
    envelope = seal(unreadable(body), body, provider=provider.name, source="x", content_type="", received_at=moment(0))
    with pytest.raises(Unreadable, match="twice"):
        provider.normalise(envelope)


@every_provider
def test_a_callback_that_an_older_version_could_not_read_becomes_events(provider: Provider[Any]) -> None:
    known = story(provider)[0]
    events = provider.normalise(msgspec.structs.replace(known, event_type=UNREADABLE))
    assert {event_topic(event) for event in events} == {topic_of(known.event_type)}

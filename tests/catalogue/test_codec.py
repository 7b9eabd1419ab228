"""A payload is decoded as it was encoded, or refused."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apidex.catalogue import codec, formats
from apidex.catalogue.catalogue import Catalogue
from apidex.catalogue.formats import Parsed, Report
from apidex.errors import CodecError
from strategies import entries

SNAPSHOTS = Path(__file__).parent / "snapshots"
LIMIT = 10**7
BODY = b'{"entries": [{"API": "Cat Facts", "HTTPS": true}, {"API": "P\xc3\xb3k\xc3\xa9"}, {"API": ""}]}'


PARSED = formats.parse(BODY)
PAYLOAD = codec.to_bytes(PARSED)


@given(st.lists(entries, min_size=1, max_size=20))
def test_a_catalogue_is_decoded_as_it_was_encoded(items):
    catalogue = Catalogue.of(items)
    decoded = codec.from_bytes(codec.to_bytes(Parsed(catalogue, Report("markdown", rows=3))), LIMIT)
    assert (decoded.catalogue.digest, decoded.catalogue.canonical) == (catalogue.digest, catalogue.canonical)
    assert (decoded.report.format, decoded.report.rows) == ("markdown", 3)


def test_the_report_is_part_of_the_payload():
    report = codec.from_bytes(PAYLOAD, LIMIT).report
    assert report == PARSED.report
    assert report.rejected.first[0].reason == "it has no name"


def test_the_real_catalogue_has_a_small_payload(data):
    assert len(codec.to_bytes(formats.parse((data / "README.md").read_bytes()))) < 120_000


@given(st.integers(0, len(PAYLOAD) - 1), st.booleans())
def test_damage_is_detected(at, is_cut):
    damaged = PAYLOAD[:at] if is_cut else PAYLOAD[:at] + bytes([PAYLOAD[at] ^ 0x55]) + PAYLOAD[at + 1 :]
    try:
        decoded = codec.from_bytes(damaged, LIMIT)
    except CodecError:
        return
    assert decoded.catalogue.digest == PARSED.catalogue.digest, "only the report may differ, which has no digest"


def envelope(**other) -> bytes:
    return msgspec.msgpack.encode(msgspec.msgpack.decode(PAYLOAD) | other)


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (envelope(wire=codec.CODEC_VERSION + 1), "version"),
        (envelope(digest="0" * 64), "digest"),
        (envelope(size=LIMIT + 1), "too_large"),
        (envelope(size=5), "damaged"),
        (envelope(canonical=b"no zstd"), "damaged"),
        (envelope(canonical=5), "damaged"),
        *((payload, "damaged") for payload in (b"", b"\x00", b"hello", b"\x93\x01\x02\x03", b"\x91" * 100_000)),
    ],
)
def test_an_invalid_payload_is_refused_by_kind(payload, kind):
    with pytest.raises(CodecError) as error:
        codec.from_bytes(payload, LIMIT)
    assert error.value.reason == kind


def test_members_that_a_later_release_adds_are_ignored():
    assert codec.from_bytes(envelope(later="member"), LIMIT).catalogue.digest == PARSED.catalogue.digest


@pytest.mark.parametrize("path", sorted(SNAPSHOTS.glob("*.bin")), ids=lambda path: path.stem)
def test_payloads_of_past_releases_are_still_read(path):
    """Each file is named by its codec version, and holds BODY as the first release with that version wrote it."""
    assert path.stem == f"codec-{codec.CODEC_VERSION}", "an old version's file goes when the version does"
    decoded = codec.from_bytes(path.read_bytes(), LIMIT)
    assert decoded.catalogue.names() == ["Cat Facts", "Póké"]
    assert (decoded.report.rows, decoded.report.rejected.total) == (3, 1)

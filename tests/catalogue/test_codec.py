"""What replicas hand each other comes out as it went in, or not at all."""

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
BODY = b'{"entries": [{"API": "Cat Facts", "HTTPS": true}, {"API": "P\xc3\xb3k\xc3\xa9"}, {"API": 7}]}'


@pytest.fixture
def parsed() -> Parsed:
    return formats.parse(BODY)


@given(st.lists(entries, min_size=1, max_size=20))
def test_a_catalogue_comes_out_as_it_went_in(items):
    catalogue = Catalogue.of(items)
    back = codec.from_bytes(codec.to_bytes(Parsed(catalogue, Report("markdown", rows=3))), LIMIT)
    assert (back.catalogue.digest, back.catalogue.canonical) == (catalogue.digest, catalogue.canonical)
    assert (back.report.format, back.report.rows) == ("markdown", 3)


def test_the_report_comes_along(parsed):
    report = codec.from_bytes(codec.to_bytes(parsed), LIMIT).report
    assert report == parsed.report
    assert report.rejected.first[0].reason == "its 'API' is a number, not a string"


def test_the_real_catalogue_takes_little_room(data):
    parsed = formats.parse((data / "README.md").read_bytes())
    assert len(codec.to_bytes(parsed)) < 120_000


@given(st.data())
def test_no_damage_goes_unnoticed(data):
    payload = codec.to_bytes(formats.parse(BODY))
    cut = data.draw(st.integers(0, len(payload) - 1))
    damaged = (
        payload[:cut] if data.draw(st.booleans()) else payload[:cut] + bytes([payload[cut] ^ 0x55]) + payload[cut + 1 :]
    )
    try:
        back = codec.from_bytes(damaged, LIMIT)
    except CodecError:
        return
    assert back.catalogue.digest == formats.parse(BODY).catalogue.digest, (
        "only the report may differ, which has no digest"
    )


def envelope(parsed: Parsed, **other) -> bytes:
    members = msgspec.msgpack.decode(codec.to_bytes(parsed))
    return msgspec.msgpack.encode(members | other)


@pytest.mark.parametrize(
    ("other", "kind"),
    [
        ({"wire": codec.CODEC_VERSION + 1}, "version"),
        ({"digest": "0" * 64}, "digest"),
        ({"size": LIMIT + 1}, "too_large"),
        ({"size": 5}, "damaged"),
        ({"canonical": b"no zstd"}, "damaged"),
        ({"canonical": 5}, "damaged"),
    ],
)
def test_what_is_wrong_is_said(parsed, other, kind):
    with pytest.raises(CodecError) as error:
        codec.from_bytes(envelope(parsed, **other), LIMIT)
    assert error.value.kind == kind


@pytest.mark.parametrize("payload", [b"", b"\x00", b"hello", b"\x93\x01\x02\x03", b"\x91" * 100_000])
def test_what_is_no_envelope_is_damaged(payload):
    with pytest.raises(CodecError) as error:
        codec.from_bytes(payload, LIMIT)
    assert error.value.kind == "damaged"


def test_members_that_a_later_release_adds_do_no_harm(parsed):
    assert codec.from_bytes(envelope(parsed, later="member"), LIMIT).catalogue.digest == parsed.catalogue.digest


@pytest.mark.parametrize("path", sorted(SNAPSHOTS.glob("*.bin")), ids=lambda path: path.stem)
def test_what_past_releases_wrote_is_still_read(path):
    """Each file is named by its codec version, and holds BODY as the first release with that version wrote it."""
    assert path.stem == f"codec-{codec.CODEC_VERSION}", "an old version's file goes when the version does"
    back = codec.from_bytes(path.read_bytes(), LIMIT)
    assert back.catalogue.names() == ["Cat Facts", "Póké"]
    assert (back.report.rows, back.report.rejected.total) == (3, 1)

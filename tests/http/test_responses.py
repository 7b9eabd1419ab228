"""Names, encodings and validators are taken from requests as the standards say."""

import gzip

import pytest
import zstandard

from apidex.http.content_encoding import GZIP, IDENTITY, ZSTD, negotiate
from apidex.http.etag import matching_etag
from apidex.http.paths import is_single_segment, name_from_path
from apidex.http.problem_details import Problem


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        (b"", IDENTITY),
        (b"gzip", GZIP),
        (b"GZip", GZIP),
        (b"zstd", ZSTD),
        (b"gzip, deflate, br, zstd", ZSTD),
        (b"gzip;q=1, zstd;q=0.5", GZIP),
        (b"gzip;q=0.5, zstd;q=0.5", ZSTD),
        (b"*", ZSTD),
        (b"*;q=0.1, zstd;q=0", GZIP),
        (b"zstd;q=0, gzip;q=0", IDENTITY),
        (b"gzip;q=0.2, identity;q=0.9", IDENTITY),
        (b"identity", IDENTITY),
        (b"br", IDENTITY),
        (b"gzip;q=2", IDENTITY),
        (b"gzip ; q = 0.5", GZIP),
        (b"gzip;q=x, ,;;", IDENTITY),
        (b"\xff\x00", IDENTITY),
        pytest.param(b"gzip" + b",a" * 30_000, IDENTITY, id="too long"),
    ],
)
def test_the_encoding_is_the_one_that_the_client_prefers(header, encoding):
    assert negotiate(header) is encoding


def test_encoding_is_reversible_and_repeatable():
    body = b"Cat Facts " * 500
    assert gzip.decompress(GZIP.encode(body)) == body
    assert zstandard.ZstdDecompressor().decompress(ZSTD.encode(body)) == body
    assert GZIP.encode(body) == GZIP.encode(body)
    assert IDENTITY.encode(body) == body
    assert len({GZIP.suffix, ZSTD.suffix, IDENTITY.suffix}) == 3


@pytest.mark.parametrize(
    ("header", "etag"),
    [
        (b'"b"', b'"b"'),
        (b'W/"b"', b'"b"'),
        (b'"x", "a" ,"b"', b'"a"'),
        (b'"x","b"', b'"b"'),
        (b"*", b'"a"'),
        (b" * ", b'"a"'),
        (b'"x"', None),
        (b"b", None),
        (b'"x,b"', None),
        (b"", None),
    ],
)
def test_an_etag_matches_if_the_header_names_it(header, etag):
    assert matching_etag(header, (b'"a"', b'"b"')) == etag


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (b"/Cat", "Cat"),
        (b"/Songlink%20%2F%20Odesli", "Songlink / Odesli"),
        (b"/Pok%C3%A9", "Poké"),
        ("/Poké".encode(), "Poké"),
        (b"/a+b", "a+b"),
        (b"/%2e%2E", ".."),
        (b"/%", "%"),
        (b"/%zz", "%zz"),
        (b"/" + b"x" * 256, "x" * 256),
        (("/" + "é" * 256).encode(), "é" * 256),
    ],
)
def test_a_path_of_one_segment_is_a_name(path, name):
    assert is_single_segment(path)
    assert name_from_path(path) == name


@pytest.mark.parametrize("path", [b"/", b"", b"//", b"/Cat/", b"/a/b", b"*", b"//a"])
def test_other_paths_are_not_names(path):
    assert not is_single_segment(path)


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        (b"/%ff", "not valid UTF-8 at byte 0"),
        (b"/%ED%A0%80", "not valid UTF-8"),
        (b"/x%00", "control characters"),
        (b"/x%C2%85", "control characters"),
        (b"/%0A", "control characters"),
        (b"/" + b"x" * 257, "257 characters; at most 256"),
    ],
)
def test_a_name_that_no_entry_can_have_is_a_problem(path, detail):
    with pytest.raises(Problem, match=detail) as problem:
        name_from_path(path)
    assert problem.value.status == 400

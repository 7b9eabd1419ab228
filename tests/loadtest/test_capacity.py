"""What a load needs, predicted from points whose answer is known; and one point that is measured."""

from math import inf, isinf
from random import Random
from xml.etree import ElementTree

import msgspec
import pytest
from loadtest.__main__ import main
from loadtest.capacity import (
    MODELS,
    CapacityPoint,
    drawing,
    encoded,
    fit,
    measured,
    model_table,
    plan,
    read,
    sentences,
    sizes_for,
)

from processes import need


def point(entries: int, replicas: int = 1, cores: int = 1) -> CapacityPoint:
    """A machine whose costs are known: 20 µs and 1 µs more for each thousand entries, and so on."""
    size = entries / 1000
    figures = (20 + size, 80 + 0.5 * size, 120 + 3 * size, 0.09 * size, replicas, 0.5 + size * replicas / cores / 50)
    return CapacityPoint(entries, replicas, *figures, cores)


SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)
POINTS = [*map(point, SIZES), point(10_000, 2), point(10_000, 4)]
FITS = {name: fit(name, POINTS) for name in MODELS}


@pytest.mark.parametrize("name", MODELS)
def test_a_fit_finds_the_costs_that_the_points_were_made_from(name):
    fitted = FITS[name]
    assert fitted.error < 1e-6
    for other in (point(50_000), point(1_000_000), point(10_000, 8), point(10_000, 8, cores=8)):
        assert fitted.at(other) == pytest.approx(getattr(other, name))


@pytest.mark.parametrize("seed", range(5))
def test_the_error_is_about_as_large_as_the_noise(seed):
    random = Random(seed)
    points = [msgspec.structs.replace(each, cpu=each.cpu * random.uniform(0.9, 1.1)) for each in POINTS]
    fitted = fit("cpu", points)
    assert fitted.at(point(20_000)) == pytest.approx(40, rel=0.1)
    assert 0.001 < fitted.error < 0.3


def test_no_prediction_is_negative_where_figures_fall_by_chance():
    points = [
        msgspec.structs.replace(point(size), cpu=cpu) for size, cpu in ((1_000, 30.0), (2_000, 25.0), (3_000, 20.0))
    ]
    fitted = fit("cpu", points)
    assert fitted.slope == 0
    assert 20 < fitted.at(point(1_000_000)) < 30


def test_the_error_of_two_points_is_not_known():
    assert isinf(fit("cpu", POINTS[:2]).error)


@pytest.mark.parametrize(("rate", "replicas"), [(1, 2), (24_900, 2), (25_100, 3), (990_000, 41)])
def test_one_replica_more_than_the_load_needs_at_half_of_what_each_can_answer(rate, replicas):
    """20 µs and no entries to speak of: 50,000 a second at most, 25,000 as planned."""
    found = plan(FITS, rate, 1)
    assert found.replicas == replicas
    assert found.connections == pytest.approx(replicas)


def test_a_replica_gets_memory_for_the_adoption_of_a_catalogue_and_redis_for_two_catalogues():
    found = plan(FITS, 1_000, 100_000)
    peak = (120 + 3 * 100) * 1.25 * 1e6 / 2**20
    assert peak <= found.memory_limit < peak + 32
    assert found.redis == pytest.approx(2 * 9)
    assert found.activation == pytest.approx(0.5 + 100 / 50)


def said(check=None, entries: int = 20_000) -> str:
    return " ".join(sentences(FITS, POINTS, 1_000, entries, check))


def test_whether_a_prediction_was_checked_and_how_far_it_was_off_is_said():
    assert "has not been checked" in said()
    slower = msgspec.structs.replace(point(10_000, 8), activation=2 * point(10_000, 8).activation)
    assert "8 replicas has been checked, on 1 core: it differs from what was measured by 50% at most" in said(slower)
    assert " 50% |" in model_table(FITS, slower)


def test_a_catalogue_larger_than_what_was_measured_is_said():
    assert "outside" not in said()
    assert "200,000 entries are outside of what was measured: 1,000 to 100,000." in said(entries=200_000)


@pytest.mark.parametrize(("entries", "added"), [(1, []), (5_000, []), (400_000, [400_000]), (2_000_000, [])])
def test_a_size_above_the_others_is_measured_too(entries, added):
    assert sizes_for(entries) == sorted([*SIZES, *added])


def test_the_drawing_has_a_part_for_each_figure_and_one_for_the_answer():
    root = ElementTree.fromstring(drawing(FITS, POINTS, 1_000, 20_000))
    drawn = " ".join("".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text"))
    assert all(model.title in drawn for model in MODELS.values())
    assert "replicas for 20,000 entries" in drawn


def test_an_earlier_measurement_is_used_again(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("signal.signal", lambda *_: None)  # pytest's own stay
    file = tmp_path / "points.json"
    file.write_bytes(encoded(POINTS))
    assert read(file) == POINTS
    output = ["--output", str(tmp_path / "out")]
    assert (
        main(["capacity", "--points", str(file), "--requests-per-second", "50000", "--entries", "5000", *output]) == 0
    )
    assert "50,000 requests a second among 5,000 entries need 4 replicas" in capsys.readouterr().out
    assert read(tmp_path / "out/capacity.json") == POINTS
    assert (tmp_path / "out/capacity.svg").exists()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("nonsense", "holds no measurement"),
        ("[]", "two points at least"),
        (encoded([point(0), point(0, 2)]).decode(), "figures above 0"),
    ],
)
def test_a_file_without_a_measurement_is_refused_in_one_sentence(tmp_path, capsys, monkeypatch, content, what):
    monkeypatch.setattr("signal.signal", lambda *_: None)
    file = tmp_path / "points.json"
    file.write_text(content)
    assert main(["capacity", "--points", str(file), "--output", str(tmp_path)]) == 2
    assert what in capsys.readouterr().err


@pytest.mark.real
def test_a_small_catalogue_is_measured():
    need("redis-server", "wrk", "taskset")
    found = measured(500, 1)
    assert all(0 < getattr(found, name) < inf for name in MODELS)
    assert found.connections >= 1
    assert found.redis < 1 < 20 < found.memory <= found.peak < 1_000

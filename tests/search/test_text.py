"""Folding, words and highlights, of one name and of many at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apidex.search import text
from apidex.search.text import (
    every_span,
    fold,
    fold_batch,
    highlighted,
    separate,
    spans_beginning_with,
    to_ranges,
    words,
)
from strategies import texts


@given(texts)
def test_folding_twice_changes_nothing(text):
    assert fold(fold(text)) == fold(text)


@given(texts)
def test_the_words_of_a_text_are_the_text_without_what_folding_drops(text):
    assert "".join(map(fold, words(text))) == fold(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Pokéapi", "pokeapi"),
        ("Poke\u0301api", "POKÉAPI"),
        ("ＪＳＯＮ", "json"),
        ("Straße", "STRASSE"),
        ("Łódź", "lodz"),
        ("Smørrebrød", "smorrebrod"),
        ("ﬁle", "file"),
        ("İBB", "ibb"),
        ("Open-Weather_Map!", "open weather map"),
        ("½", "12"),
        ("天気", " 天 気 "),
    ],
)
def test_spellings_of_the_same_name_fold_to_the_same(one, other):
    assert fold(one) == fold(other) != ""


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("JSONPlaceholder", ["JSON", "Placeholder"]),
        ("OpenWeatherMap", ["Open", "Weather", "Map"]),
        ("What's on", ["What's", "on"]),
        ("Poke\u0301mon TCG", ["Poke\u0301mon", "TCG"]),
        ("IP2Location", ["IP", "2", "Location"]),
        ("Songlink / Odesli", ["Songlink", "Odesli"]),
        ("天気API", ["天気", "API"]),
        ("Hy\u00adphen\u200bation", ["Hy\u00adphen", "ation"]),
        ("!?", []),
    ],
)
def test_words_are_cut_where_people_see_them_begin(text, cut):
    assert words(text) == cut


@pytest.mark.parametrize(
    ("name", "start", "end", "ranges"),
    [
        ("Open Weather", 0, 11, [(0, 4), (5, 12)]),
        ("Pokéapi", 0, 4, [(0, 4)]),
        ("Poke\u0301mon", 3, 4, [(3, 5)]),
        ("Hy\u00adphen", 1, 4, [(1, 5)]),
        ("ﬁle", 1, 3, [(0, 2)]),
        ("🎉 Weather", 1, 8, [(2, 9)]),
        ("What's on", 0, 5, [(0, 4), (5, 6)]),
    ],
)
def test_highlights_are_ranges_of_code_points(name, start, end, ranges):
    assert to_ranges(highlighted(name, start, end)) == ranges


def test_invisible_characters_do_not_separate_words():
    assert separate("hy\u00adphen zero\u200bwidth") == ["hyphen", "zero", "width"]
    assert separate("\u200fמזג\u200e می\u200cخواهم") == ["מזג", "میخواهم"]


def test_a_word_in_quotation_marks_begins_with_its_first_letter():
    assert spans_beginning_with("a 'weather' map", {"w"}) == {(2, 11)}


@given(
    st.lists(
        st.sampled_from(["We", "At", "her", "wé", "API", "2", "'", "’", " ", "-", ".", "x" * 40]), max_size=12
    ).map("".join),
    st.sets(st.sampled_from(["we", "weat", "her", "api", "2", "apiwe", "wewe", ".we", "we"]), min_size=1),
)
def test_every_word_that_begins_so_is_found(given_text, beginnings):
    def begin_so(spans):
        return {(first, last) for first, last in spans if fold(given_text[first:last]).startswith(tuple(beginnings))}

    assert begin_so(spans_beginning_with(given_text, beginnings)) == begin_so(every_span(given_text))


def test_a_long_text_is_cut_only_where_words_may_begin_so(monkeypatch):
    cut = []
    monkeypatch.setattr(text, "every_span", lambda part: cut.append(part) or every_span(part))
    assert spans_beginning_with("word " * 800 + "OpenWeather's " + "word " * 10, {"weather"}) >= {(4004, 4013)}
    assert set(cut) == {"OpenWeather's"}


@pytest.mark.parametrize(("name", "length"), [("\ufdfa" * 256, 1020), ("ß" * 256, 512), ("é" + "ﬃ" * 255, 766)])
def test_a_folded_name_is_not_many_times_as_long(name, length):
    lines, flags, sizes = fold_batch([name, "b"])
    assert lines.decode() == f"\n{fold(name)[:length]}\nb"
    assert (len(flags), sizes) == (len(lines), [len(lines) - 2, 2])


mixed = st.lists(st.one_of(texts, st.text("ABCabc012 -_.'’éß", max_size=9)), max_size=9)


@given(mixed)
def test_a_batch_is_folded_like_each_name(names):
    text, begins, sizes = fold_batch(names)
    assert text.decode() == "".join("\n" + fold(name) for name in names)
    assert sizes == [len(line.encode()) + 1 for line in map(fold, names)]
    flags = ["\0" + "".join("\1" + "\0" * (len(fold(word).encode()) - 1) for word in words(name)) for name in names]
    assert begins.decode() == "".join(flags)

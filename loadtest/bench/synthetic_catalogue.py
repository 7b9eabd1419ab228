"""A catalogue of any size, in the format of api.publicapis.org, with plausible names; the same at every run.

python -m loadtest.bench.synthetic_catalogue COUNT FILE
"""

import sys
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from random import Random

import msgspec

from apidex.catalogue.entry import Entry

_FIRST = """
Open Global Public Smart Free Cloud Live Fast Simple Deep Royal United Digital Urban Civic Blue Green Nordic Baltic Pacific
Alpine Arctic Island Harbour Metro National Regional Daily Rapid Prime Micro Meta Hyper True Bright Silver Golden Solar
Lunar Astro Terra Aqua Poké Café Zürich São Łódź Kyōto
"""

_SUBJECT = """
Weather Transit Bike Train Flight Ferry Cat Dog Bird Fish Horse Forest River Mountain Ocean Recipe Coffee Beer Wine Menu
Book Library Poem Quote Film Music Song Radio Podcast Game Chess Sport Football Tennis Crypto Bank Stock Currency Tax
Invoice Payment Job Company Patent Law Court Vote Census Health Medicine Hospital Gene Protein Star Planet Satellite Map
Address Postcode Country Language Dictionary Translate Image Photo Colour Icon Font Video Face Text Mail Phone Message
Calendar Holiday Time Clock Barcode Parcel Shop Price Coupon Fashion Art Museum News Event Ticket Hotel Campus School
"""

_LAST = (
    "API Data Hub Feed Search Index Service Lookup Stats Tracker Explorer Finder Archive Atlas Base Box Kit Lab Net One"
)

_ABOUT = "a of and for with the from by in live past current free daily worldwide open official curated historic local"

_CATEGORIES = 50


def entries(count: int) -> Iterator[Entry]:
    """*count* entries. A few words are in many names, most in few; every name has a word of its own, so names are distinct."""
    random, about = Random(8), _ABOUT.split()
    parts = [words.split() for words in (_FIRST, _SUBJECT, _LAST)]
    weights = [list(accumulate(1 / rank for rank in range(1, len(words) + 1))) for words in parts]
    for number in range(count):
        drawn = [random.choices(words, cum_weights=share)[0] for words, share in zip(parts, weights, strict=True)]
        first, subject, last = drawn
        own = _own_word(number)
        yield Entry(
            name=f"{first} {subject} {own} {last}" if number % 3 else f"{own}{subject}",
            description=" ".join([subject, *random.choices(about, k=random.randint(4, 14)), own]),
            auth=("", "apiKey", "OAuth")[number % 3],
            https=number % 10 > 0,
            cors=("yes", "no", "unknown")[number % 3],
            link=f"https://{own.lower()}.example/{subject.lower()}/docs",
            category=parts[1][number * 7919 % _CATEGORIES],
        )


_CONSONANTS, _VOWELS = "bdfghjklmnprstvz", "aeiou"


def _own_word(number: int) -> str:
    """A pronounceable word, distinct for each number."""
    number = number * 7_368_787 % 2**30 + 2**20  # spreads neighbours
    word = ""
    while number:
        number, consonant = divmod(number, len(_CONSONANTS))
        number, vowel = divmod(number, len(_VOWELS))
        word += _CONSONANTS[consonant] + _VOWELS[vowel]
    return word.capitalize()


def write(count: int, file: Path) -> None:
    """Write the catalogue as an upstream would send it, entry by entry."""
    encode = msgspec.json.Encoder().encode
    with file.open("wb") as out:
        out.write(b'{"count":%d,"entries":[' % count)
        for number, entry in enumerate(entries(count)):
            out.write((b"," if number else b"") + encode(entry))
        out.write(b"]}")


if __name__ == "__main__":
    write(int(sys.argv[1]), Path(sys.argv[2]))

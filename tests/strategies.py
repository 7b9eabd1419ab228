"""What hypothesis draws: texts, names and entries that a catalogue may hold."""

from hypothesis import strategies as st

from apidex.catalogue.entry import Entry

texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=40)
names = texts.filter(str.strip)
entries = st.builds(Entry, names, texts, texts, st.booleans(), st.sampled_from(["yes", "no", "unknown"]), *[texts] * 3)

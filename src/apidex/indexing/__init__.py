"""From bytes to a catalogue that can be searched."""

"""What a catalogue is, and the formats it is read from. Pure."""

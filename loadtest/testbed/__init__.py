"""What a run brings along: an upstream that can be told to misbehave, and how each target is set up with it."""

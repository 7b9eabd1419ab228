"""The instrument, held to what it promises: a target that deserves it fails, and the fault is named."""

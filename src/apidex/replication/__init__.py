"""Keeping one catalogue fresh, and the same on all replicas."""

"""Benchmarks. They print figures, and judge nothing."""

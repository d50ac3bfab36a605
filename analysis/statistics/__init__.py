"""Intervals, tests and ranks of measured numbers."""

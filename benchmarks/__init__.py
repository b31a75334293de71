"""Measurements; each file opens with its claim."""

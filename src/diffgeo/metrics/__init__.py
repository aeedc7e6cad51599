"""Metrics on pictures: what they show."""

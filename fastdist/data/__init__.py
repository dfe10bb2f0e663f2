"""Bundled measurements, for the demo: see README.md beside this file."""

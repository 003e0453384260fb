"""Loggers, which record runs elsewhere than in the run directory, and the records that they are given."""

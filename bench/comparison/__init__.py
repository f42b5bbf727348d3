"""Modules of bench/compare and bench/scaling."""

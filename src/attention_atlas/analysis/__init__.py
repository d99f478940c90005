"""Figures, statistics and exports of an atlas."""

"""Sweeps: plan, jobs, searches by Optuna, report."""

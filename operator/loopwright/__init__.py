"""Loopwright: train, tune, register, serve, watch and retrain on Kubernetes."""

__version__ = "0.1.0"

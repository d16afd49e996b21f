"""Checks for the operators of a deployment."""

"""Outgoing requests: which addresses are allowed, and connections that only go there."""

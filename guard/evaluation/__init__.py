"""Protocols and statistics behind published figures."""

"""Pairwise evidence: do the pixels of a query show a reference, where, and how was it changed?

OpenCV is imported on first use, and never by importing this package.
"""

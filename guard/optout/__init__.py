"""Pictures that must not be made again, nor be trained on: who asked for it, until when, and lists for others.

What is in force lives in the index's overlay (guard.indexes.overlay), so that the next check of every process sees it.
"""

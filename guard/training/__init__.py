"""Training of the descriptor that ships in this package, from procedural pictures alone; extra `train`.

`python -m guard.training --out RUN` runs the whole of it. Nothing here is imported by the guard itself.
"""

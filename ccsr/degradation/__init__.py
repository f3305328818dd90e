"""Degradation of HR pictures to LR: what the networks are trained to undo.

A `Degradation` is a list of operations with all their parameters, drawn by a degradation model
from a random generator (`models`) and applied as a pure function (`operations`).
Training, the scores and the two commands, which write test sets and contact sheets, draw from it.
"""

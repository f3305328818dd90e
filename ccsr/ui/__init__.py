"""The page: one module a tab, and what both share.

It knows the model only as a `ccsr.events.Engine`, and takes every range, default and help text
from `ccsr.config`.
"""

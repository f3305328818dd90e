"""The page: one module a tab, and what both share.

It knows the model only as a `ccsr.inference.events.Engine`, and takes ranges, defaults and help
texts from `ccsr.config`.
"""

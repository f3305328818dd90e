"""The page: `page` lays it out, `tabs/` has a module a tab, `run_controller` the state of a run.

It uses a model through the protocol `ccsr.inference.events.Engine` only, and takes ranges, defaults
and help texts from `ccsr.config`. `app.py` serves it.
"""

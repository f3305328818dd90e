"""The tabs of the page, one module each: layout, how its values are read, its run, its endpoint.

A tab gets the engine, the picture and the settings from `ccsr.ui.page`, and a `TabRun` does its
work. Its results go to the components of the tab, and to programs through `ccsr.ui.api`.
"""

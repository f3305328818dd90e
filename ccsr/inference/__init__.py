"""From a picture to its super-resolved pictures: pipeline, sessions, engine.

Takes model folders or hub names and `Picture`s, gives results and progress as events.
The command line, the page, evaluation and training run models through it.
"""

"""The commands of `invid`, one thin file each; `__main__` is the table of them.

A file has a typed function `run`, or several by name in `ACTIONS`; options and help are made from their
parameters. Nothing here computes, and heavy imports stand inside the functions, so that help is quick.
"""

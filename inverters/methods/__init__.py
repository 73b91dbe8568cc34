"""Inversion methods, one a file: its settings, its presets with their sources, its steps.

`table` finds them by name; `common` has the base of their settings and numbers that several share.
What methods share in code belongs in `fitting` or `fields`. Importing this package loads no torch.
"""

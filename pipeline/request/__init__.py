"""What is asked for: settings, and a request made of them from words, files or mappings.

Here live the fields with their defaults and help, edits, paths of the user and the checks of a request.
Nothing here computes, and importing it loads neither torch nor Prefect.
"""

from pipeline.request.settings import Request, Settings

__all__ = ["Request", "Settings"]

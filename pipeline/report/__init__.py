"""What a finished job tells about itself: `manifest.json`, the page `report.html`, and its --out folder.

Reads a job's record, clip and output files. Nothing here computes a result or knows how a stage works;
numbers are shown as the manifest has them.
"""

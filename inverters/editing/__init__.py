"""Edits of an inversion: directions, how they are found and stored, smoothing, stitching.

Takes and returns codes and rendered crops.
No video and no compositing into frames: that is in `pipeline`.
"""

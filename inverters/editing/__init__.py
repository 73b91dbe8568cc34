"""Edits of an inversion: directions, how they are found and stored, smoothing, stitching.

Works on codes and renders. No video and no compositing into frames: that is in `pipeline`.
"""

"""`invid directions`: sample and label faces, fit directions of edits, draw what they do.

The methods themselves are in `inverters.editing`. Nothing here knows of clips.
"""

"""Faces in frames: detectors and landmark models behind one protocol, crop rule, camera fit, identity.

What is needed of one face at a time, over arrays and image files. No stage, no job, no cache; frames come
from `pipeline.video`.
"""

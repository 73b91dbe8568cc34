"""Inversion, rendering, edits and training of 3D GANs: everything that knows the generator.

Runs on torch, numpy and safetensors alone. No video, no face detection, no cache, no command line.
At most six files lie here; importing this package loads no torch.
"""

from inverters import threads

threads.limit_spinning()  # read when torch loads libgomp

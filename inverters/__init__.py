"""Everything that knows the generator: inversion, rendering, edits, training.

Runs on torch, numpy and safetensors alone. No video, no face detection, no cache, no command line.
At most six files lie here; importing this package loads no torch.
"""

"""3D GAN inversion: methods, what they share, generators and renderers. Runs on torch, numpy and safetensors.

Nothing here knows videos, files of a job, or the command line.
"""

from inverters.rendering import threads

threads.limit_spinning()  # read when torch loads libgomp

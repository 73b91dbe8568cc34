"""Video files: probing, reading and writing frames, sound, colour, and the geometry between frame and crop.

Arrays and files in, arrays and files out. Nothing of faces, settings or jobs.
"""
